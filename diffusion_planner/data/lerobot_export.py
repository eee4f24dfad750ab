"""Writes recorded episodes as a LeRobot dataset."""
import shutil
from pathlib import Path

import numpy as np

from diffusion_planner.data import lerobot_grid as grid
from diffusion_planner.data import store
from diffusion_planner.data.lerobot import IMAGES, LeRobotError
from diffusion_planner.data.lerobot_mapping import ACTION, DONE, REWARD, STATE, VELOCITY
from diffusion_planner.data.lerobot_writer import Writer

RESERVED = 'state', 'velocity', 'images', 'image'


def export(data, out, video=True, fps=None, task='play'):
    """Write a data folder as a LeRobot dataset into a new folder: -> numbers of episodes and frames

    Frames come at `fps`, or at the rate of the joints; each shows the newest picture. The folder appears once it is complete.
    Raises LeRobotError, StoreError.
    """
    out, part = new_folder(out)
    source = Source(data, fps)
    part.mkdir(parents=True)
    writer = Writer(part, source.fps, source.features(video), str(source.episodes.attributes.get('robot', 'unknown')), task, source.total())
    try:
        with progress(len(source.episodes)) as advance:
            for columns, pictures, shown, extras in source.read():
                writer.add(columns, pictures, shown, extras)
                advance()
        writer.finish(source.extras())
        part.rename(out)
    except BaseException:
        writer.close()
        shutil.rmtree(part)
        raise
    return writer.episodes, writer.frames


def new_folder(out):
    """Choose where to work until all is there: -> the folder, and the one to work in, which does not exist

    Raises LeRobotError where the folder is there already.
    """
    out = Path(out)
    if out.exists():
        raise LeRobotError(f'--out: got {out}, which is there already, expected a new folder')
    part = out.with_name(f'{out.name}.part')
    shutil.rmtree(part, ignore_errors=True)      # of a run that was killed
    return out, part


def progress(total):
    """Show how many episodes are done: a context that gives a function to call after each."""
    from contextlib import contextmanager

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    @contextmanager
    def shown():
        with Progress(TextColumn('episodes'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bars:
            bar = bars.add_task('episodes', total=total)
            yield lambda: bars.advance(bar)
    return shown()


class Source:
    """A data folder, read episode by episode onto the frames of a LeRobot dataset."""

    def __init__(self, data, fps):
        self.episodes = store.read(data)
        self.joint_hz, self.camera_hz = (_rate(getattr(self.episodes, name)) for name in ('stamp_s', 'frame_stamp_s'))
        self.fps = fps or round(self.joint_hz)
        if not fps and abs(self.joint_hz - self.fps) > 1e-3 * self.fps:
            raise LeRobotError(f'{data}: joints at {self.joint_hz:g} Hz, expected a whole number, which LeRobot wants; choose one with --fps')
        clash = [name for name in self.episodes.sensors if name in RESERVED]
        if clash:
            raise LeRobotError(f'{data}: sensor {clash[0]!r}, expected none of {", ".join(RESERVED)}, which LeRobot uses itself')
        self.joints = [str(name) for name in self.episodes.attributes['joint_names']]
        self.cameras = [IMAGES + str(name) for name in self.episodes.attributes['cameras']]

    def total(self):
        """Count the frames that there will be."""
        return sum(grid.count((count - 1) / self.joint_hz, self.fps) for count in np.diff(self.episodes.joint_start))

    def features(self, video):
        """Describe the features as info.json does."""
        def numbers(count, names, dtype='float32'):
            return {'dtype': dtype, 'shape': [count], 'names': names}
        features = {name: numbers(len(self.joints), self.joints) for name in (STATE, VELOCITY, ACTION)}
        for name, values in self.episodes.sensors.items():
            features[f'observation.{name}'] = numbers(values.shape[1], [f'{name}_{index}' for index in range(values.shape[1])])
        features |= {REWARD: numbers(1, None), DONE: numbers(1, None, 'bool')}
        picture = {'dtype': 'video' if video else 'image', 'shape': [int(size) for size in self.episodes.attributes['picture_shape']],
                   'names': ['height', 'width', 'channels']}
        return features | {name: dict(picture) for name in self.cameras}

    def extras(self):
        """Tell what LeRobot has no place for."""
        return {'joint_hz': round(self.joint_hz, 6), 'camera_hz': round(self.camera_hz, 6)}

    def read(self):
        """Read episodes: -> iterator of columns, pictures, the picture of each frame, and what only our own reader asks for"""
        index = 0
        for path in self.episodes.paths:
            pixels, command, terminal = store.read_pictures(path), store.read_column(path, 'command_rad'), store.read_column(path, 'terminal')
            first, last = index, index + len(store.read_column(path, 'seed'))
            for index in range(first, last):
                rows = slice(*self.episodes.joint_start[[index, index + 1]])
                own = slice(*(self.episodes.joint_start[[index, index + 1]] - self.episodes.joint_start[first]))
                frames = slice(*(self.episodes.frame_start[[index, index + 1]] - self.episodes.frame_start[first]))
                yield self._episode(index, rows, command[own], terminal[own], pixels[frames])
            index = last

    def _episode(self, index, rows, command, terminal, pixels):
        stamp_s, reward = np.arange(rows.stop - rows.start) / self.joint_hz, self.episodes.reward[rows]
        place = grid.places(stamp_s, self.fps, self.joint_hz)
        now = grid.newest(place)
        columns = {STATE: grid.between(self.episodes.position_rad[rows], place), ACTION: grid.between(command, place),
                   VELOCITY: grid.between(self.episodes.velocity_rad_s[rows], place),
                   # LeRobot's reward is that of the state which an action leads to.
                   REWARD: reward[np.append(now[1:], now[-1])], DONE: _ended(terminal, now)}
        columns |= {f'observation.{name}': grid.between(values[rows], place) for name, values in self.episodes.sensors.items()}
        shown = np.minimum((place / self.joint_hz * self.camera_hz + grid.EXACT).astype(int), len(pixels) - 1)
        pictures = {name: pixels[:, camera] for camera, name in enumerate(self.cameras)}
        return columns, pictures, shown, {'seed': int(self.episodes.seed[index]), 'first_reward': float(reward[0])}


def _ended(terminal, now):
    """Mark the frames that end an episode: terminal [N], the sample of each frame now [F] -> [F] bool"""
    ended = np.zeros(len(now), bool)
    ended[np.minimum(np.searchsorted(now, np.flatnonzero(terminal)), len(now) - 1)] = True
    return ended


def _rate(stamp_s):
    """Work out the rate of a grid from the stamps of the first episode."""
    if len(stamp_s) < 2 or stamp_s[1] <= stamp_s[0]:
        raise LeRobotError(f'stamps: got {stamp_s[:2].tolist()}, expected at least two in the first episode')
    return 1 / float(np.round(stamp_s[1] - stamp_s[0], 6))
