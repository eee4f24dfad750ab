"""What a plan needs only at its end, worked out beside it."""
from concurrent.futures import ThreadPoolExecutor


class Aside:
    """One more thread, made when it is first needed. Networks run outside Python's lock, so a second core takes them.

    initial: called by the thread when it begins, or None.
    """

    def __init__(self, initial=None):
        self._initial, self._pool = initial, None

    def begin(self, function, *arguments):
        """Begin to work something out: -> Inquiry"""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, 'aside', self._initial)
        return Inquiry(self._pool.submit(function, *arguments))


class Inquiry:
    """What is being worked out. As a context it is over before whoever asked goes on, however that ends."""

    def __init__(self, future):
        self._future = future

    def answer(self):
        """Wait for the answer. Raises what the function raised."""
        return self._future.result()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._future.exception()      # waits
