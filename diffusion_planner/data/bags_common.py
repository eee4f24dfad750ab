"""What the readers of bag files share."""
import heapq
from typing import NamedTuple

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class BagError(ValueError):
    """A bag that cannot be used; the message names the file and what was expected."""


class Topic(NamedTuple):
    """A topic of a bag: type such as sensor_msgs/msg/Image, its definition as the bag tells it, '' where it does not.

    syntax: ros2msg or ros2idl; encoding: cdr; qos: the YAML text of offered_qos_profiles.
    """

    name: str
    type: str
    definition: str = ''
    syntax: str = ''
    encoding: str = 'cdr'
    qos: str = ''


def merged(sources):
    """Merge rows (name, log time, data) of sources by log time, opening each when its time has come.

    merged(iterable of (begin_ns, read, arguments)) -> rows; of equal times those of the earlier source come first.
    """
    waiting = sorted(enumerate(sources), key=lambda item: (item[1][0], item[0]))[::-1]
    running = []      # (log time, source, row, iterator)
    while waiting or running:
        while waiting and (not running or waiting[-1][1][0] <= running[0][0]):
            number, (_, read, arguments) = waiting.pop()
            _push(running, number, iter(read(*arguments)))
        if running:
            _, number, row, rows = heapq.heappop(running)
            yield row
            _push(running, number, rows)


def _push(running, number, rows):
    row = next(rows, None)
    if row is not None:
        heapq.heappush(running, (row[1], number, row, rows))


def unzstd(data):
    """Unpack Zstandard data, as far as it goes where its end is missing. Raises ValueError."""
    zstd = zstandard()
    unpacker, found = zstd.ZstdDecompressor(), []
    try:
        found.append(unpacker.decompress(data))
        while unpacker.eof and unpacker.unused_data:       # another frame follows
            rest, unpacker = unpacker.unused_data, zstd.ZstdDecompressor()
            found.append(unpacker.decompress(rest))
    except zstd.ZstdError as error:
        raise ValueError(f'zstd: {error}') from None
    return found[0] if len(found) == 1 else b''.join(found)


def zstandard():
    """Return the module that unpacks Zstandard: Python's own, or the one that rosbags brings."""
    try:
        from compression import zstd
    except ImportError:
        from backports import zstd
    return zstd
