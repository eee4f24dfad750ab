"""Pictures of a LeRobot dataset: embedded in parquet or in videos, read forward, so that memory stays flat."""
import os
from fractions import Fraction

import numpy as np

from diffusion_planner.data.lerobot import LeRobotError, unreadable

# What LeRobot encodes with, so that its tools can join datasets: AV1, every second frame a key frame.
ENCODER = {'codec': 'libsvtav1', 'pixels': 'yuv420p', 'g': 2, 'crf': 30, 'preset': 12}
SMALLEST_PX = 64      # what the encoder takes
BATCH = 16            # rows of a parquet file at once


def to_png(pixels):
    """Compress a picture losslessly: to_png(pixels [Y, X, 3] RGB) -> bytes"""
    import cv2
    return cv2.imencode('.png', pixels[..., ::-1])[1].tobytes()


class Embedded:
    """One camera's pictures in one parquet file, taken in order."""

    def __init__(self, path, feature):
        self.path, self.feature = path, feature
        self.first, self.cells, self.batches = 0, [], self._read()

    def take(self, rows):
        """Decode rows of the file, in ascending order: -> iterator of pixels [Y, X, 3]"""
        if rows[0] < self.first:      # an episode that stands before the one with the number below
            self.first, self.cells, self.batches = 0, [], self._read()
        for row in rows:
            while row >= self.first + len(self.cells):
                self.first += len(self.cells)
                self.cells = next(self.batches, None)
                if self.cells is None:
                    raise LeRobotError(f'{self.path}: {self.feature}: ends after {self.first} pictures, expected picture {row}')
            yield self._decode(self.cells[int(row - self.first)].as_py(), row)

    def close(self):
        self.batches.close()

    def _read(self):
        import pyarrow
        import pyarrow.parquet
        try:
            with pyarrow.parquet.ParquetFile(self.path, buffer_size=1 << 20) as file:
                for group in range(file.num_row_groups):      # read as one, they would all stay in memory
                    for batch in file.iter_batches(BATCH, [group], [self.feature], use_threads=False):
                        yield batch.column(0)
        except (pyarrow.ArrowException, OSError) as error:
            raise LeRobotError(unreadable(self.path, error)) from None

    def _decode(self, cell, row):
        import cv2
        data = (cell or {}).get('bytes')
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if pixels is None:
            raise LeRobotError(f'{self.path}: {self.feature}, row {row}: got {len(data or b"")} bytes, expected an encoded picture')
        return pixels[..., ::-1]


class Video:
    """One video file with episodes end to end."""

    def __init__(self, path, fps):
        import av
        self.path, self.half_s = path, 0.5 / fps
        try:
            self.container = av.open(str(path))
            self.stream = self.container.streams.video[0]
        except FileNotFoundError:
            raise LeRobotError(f'{path}: is missing; expected the video that meta/episodes speaks of') from None
        except (av.FFmpegError, IndexError) as error:
            raise LeRobotError(f'{path}: cannot be read ({error or "no video in it"}); expected a whole video') from None
        self.stream.thread_type = 'AUTO'

    def take(self, seconds):
        """Decode the frames at given seconds of the file, in ascending order: -> iterator of pixels [Y, X, 3]"""
        frames, at, pixels = self._from(seconds[0]), -np.inf, None
        for second in seconds:
            while at < second - self.half_s:
                frame = next(frames, None)
                if frame is None:
                    raise LeRobotError(f'{self.path}: ends before {second:.2f} s; expected the frames that meta/episodes speaks of')
                at, pixels = float(frame.pts * self.stream.time_base), None
            if at > second + self.half_s:
                raise LeRobotError(f'{self.path}: has no frame at {second:.3f} s, only at {at:.3f} s; expected one for every timestamp')
            if pixels is None:
                pixels = frame.to_ndarray(format='rgb24')
            yield pixels

    def close(self):
        self.container.close()

    def _from(self, second):
        """Decode frames from the key frame before a second on."""
        import av
        try:
            self.container.seek(max(0, round((second - self.half_s) / self.stream.time_base)), stream=self.stream)
            yield from (frame for frame in self.container.decode(self.stream) if frame.pts is not None)
        except av.FFmpegError as error:
            raise LeRobotError(f'{self.path}: cannot be decoded from {second:.2f} s on ({error}); expected a whole video') from None


class Encoder:
    """Writes one video file, one picture after the other."""

    def __init__(self, path, fps, shape):
        import av
        if min(shape[:2]) < SMALLEST_PX or shape[0] % 2 or shape[1] % 2:
            raise LeRobotError(f'picture_shape: got {list(shape[:2])}, expected even numbers of at least {SMALLEST_PX} for video; '
                               'write images instead (--images)')
        os.environ.setdefault('SVT_LOG', '1')      # the encoder is talkative
        path.parent.mkdir(parents=True, exist_ok=True)
        self.container, self.fps, self.count, self.bytes = av.open(str(path), 'w'), fps, 0, 0
        self.stream = self.container.add_stream(ENCODER['codec'], fps, options={name: str(ENCODER[name]) for name in ('g', 'crf', 'preset')})
        self.stream.height, self.stream.width, self.stream.pix_fmt = shape[0], shape[1], ENCODER['pixels']
        self.stream.time_base = Fraction(1, fps)

    def add(self, pixels):
        import av
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
        frame.pts, frame.time_base = self.count, Fraction(1, self.fps)
        self.count += 1
        self._write(self.stream.encode(frame))

    def close(self):
        self._write(self.stream.encode())
        self.container.close()

    def _write(self, packets):
        self.bytes += sum(packet.size for packet in packets)
        self.container.mux(packets)


def video_info(fps, shape):
    """Describe videos as LeRobot does in info.json."""
    return {'video.height': shape[0], 'video.width': shape[1], 'video.codec': 'av1', 'video.pix_fmt': ENCODER['pixels'], 'video.fps': fps,
            'video.channels': 3, 'has_audio': False, 'video.g': ENCODER['g'], 'video.crf': ENCODER['crf'], 'video.preset': ENCODER['preset'],
            'video.fast_decode': 0, 'video.video_backend': 'pyav', 'video.extra_options': {}, 'is_depth_map': False}
