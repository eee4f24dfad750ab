"""What arrives: decoded, checked, stored in the history, and timed on the steady clock."""
import time
from collections import Counter, deque

from diffusion_planner.messages import MessageError, read_image, read_joint_state


class Source:
    """Receipts of one input: when the newest came and at which rate, all on the steady clock."""

    def __init__(self, steady):
        self._steady, self._receipts, self.stamp_s = steady, deque(maxlen=20), None
        self.rejected = Counter()

    def note(self, stamp_s):
        self.stamp_s = stamp_s
        self._receipts.append(self._steady())

    def age_s(self):
        return self._steady() - self._receipts[-1] if self._receipts else float('inf')

    def rate_hz(self):
        if len(self._receipts) < 2:
            return 0.0
        return (len(self._receipts) - 1) / max(self._receipts[-1] - self._receipts[0], 1e-9)


class Inputs:
    """Callbacks that only store. A bad message is dropped, counted by reason, and named to `warn` the first time."""

    JOINTS = 'joint_states'

    def __init__(self, history, joint_names, picture_shape, skew_limit_s, warn, steady=time.monotonic):
        self.history, self.joint_names, self.picture_shape = history, joint_names, tuple(picture_shape)
        self.skew_limit_s, self.warn = skew_limit_s, warn
        self.sources = {name: Source(steady) for name in (self.JOINTS, *history.cameras)}

    def take_joints(self, message, now_s):
        self._take(self.JOINTS, now_s, lambda: read_joint_state(message, self.joint_names))

    def take_image(self, message, camera, now_s):
        self._take(camera, now_s, lambda: self._read_image(message, camera))

    def _read_image(self, message, camera):
        frame = read_image(message, camera)
        if frame.pixels.shape != self.picture_shape:
            found, expected = frame.pixels.shape, self.picture_shape
            raise MessageError(f'size: got {found[1]}x{found[0]}, expected {expected[1]}x{expected[0]} as the model was trained')
        return frame

    def _take(self, name, now_s, read):
        source = self.sources[name]
        try:
            record = read()
            if abs(record.stamp_s - now_s) > self.skew_limit_s:
                raise MessageError(f'header.stamp: {record.stamp_s - now_s:+.1f} s from now, expected within {self.skew_limit_s:g} s')
        except MessageError as fault:
            field = str(fault).split(':')[0]
            if not source.rejected[field]:
                self.warn(f'{name} dropped: {fault}')
            source.rejected[field] += 1
            return
        if self.history.append(record):   # a repeated stamp is no news: a frozen sensor grows old
            source.note(record.stamp_s)

    def age_s(self, name, now_s, simulated):
        """Return how old an input is: by receipt, and in simulated time no older than that clock says, which may be paused."""
        source = self.sources[name]
        age_s = source.age_s()
        return age_s if not simulated or source.stamp_s is None else min(age_s, max(now_s - source.stamp_s, 0.0))
