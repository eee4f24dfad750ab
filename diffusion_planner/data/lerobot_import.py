"""Reads a LeRobot dataset into the episode format."""
import itertools
import shutil

import numpy as np

from diffusion_planner.data import lerobot_grid as grid
from diffusion_planner.data import lerobot_mapping, store
from diffusion_planner.data.lerobot import LeRobotError, read, read_table
from diffusion_planner.data.lerobot_export import new_folder, progress
from diffusion_planner.data.lerobot_pictures import Embedded, Video
from diffusion_planner.messages import fit
from diffusion_planner.records import Episode

JOINT_HZ, CAMERA_HZ, PICTURE_SIZE = 20.0, 5.0, (96, 96)
SLACK_RAD = 0.1                      # beyond the limits, for encoders and for limits that are rounded
SHARD, SHARD_BYTES = 100, 2 ** 27    # episodes per shard, or pictures, whichever is reached first


def load(folder, out, robot, mapping=None):
    """Read a dataset into a new data folder, which appears once it is complete: -> Loaded

    Raises LeRobotError for a dataset that is not whole, not of this robot, or not in the units of the mapping.
    """
    out, part = new_folder(out)
    dataset = read(folder)
    mapping = mapping or lerobot_mapping.Mapping()
    columns = lerobot_mapping.resolve(dataset, mapping, robot)
    _check_files(dataset, columns)
    reader = Reader(dataset, columns, mapping, robot)
    part.mkdir(parents=True)
    try:
        with progress(len(dataset.episodes)) as advance:
            for number, episodes in enumerate(_shards(reader, advance)):
                store.write_shard(store.shard_path(part, number), episodes, reader.attributes())
                del episodes      # or they would stay while the next ones are read
        if not reader.loaded.episodes:
            raise LeRobotError(f'{folder}: all {len(dataset.episodes)} episodes are too short, expected two pictures each at {reader.camera_hz:g} Hz')
        part.rename(out)
    except BaseException:
        shutil.rmtree(part)
        raise
    finally:
        reader.close()
    return reader.loaded


def _check_files(dataset, columns):
    """Raise LeRobotError for a file that is missing, before the first is read."""
    for episode in dataset.episodes:
        paths = [dataset.data_file(episode)]
        for feature in columns.cameras.values():
            if dataset.features[feature]['dtype'] == 'video':
                if f'videos/{feature}/from_timestamp' not in episode:
                    raise LeRobotError(f'{dataset.folder}: meta/episodes has no videos/{feature}/from_timestamp; expected where each episode is')
                paths.append(dataset.video_file(episode, feature))
        for path in paths:
            if not path.is_file():
                raise LeRobotError(f'{path}: is missing; expected the file with episode {episode["episode_index"]}')


def _shards(reader, advance):
    """Collect episodes until they fill a shard: -> iterator of lists"""
    episodes, size = [], 0
    for episode in reader.read():
        advance()
        if episode is None:
            continue
        episodes.append(episode)
        size += episode.pixels.nbytes
        if len(episodes) == SHARD or size >= SHARD_BYTES:
            yield episodes
            episodes, size = [], 0
    if episodes:
        yield episodes


class Loaded:
    """What was read: counts, the range of each joint, and remarks."""

    def __init__(self, notes):
        self.notes, self.episodes, self.short, self.uneven, self.samples, self.rewarded = list(notes), 0, 0, 0, 0, 0
        self.low_rad, self.high_rad = np.inf, -np.inf

    def add(self, episode):
        self.episodes, self.samples = self.episodes + 1, self.samples + len(episode.stamp_s)
        self.rewarded += np.count_nonzero(episode.reward > 0.5)
        self.low_rad = np.minimum(self.low_rad, episode.position_rad.min(0))
        self.high_rad = np.maximum(self.high_rad, episode.position_rad.max(0))

    def lines(self, joint_names):
        """Say in a few lines what was read."""
        ranges = [f'{name} {low:.2f} to {high:.2f}' for name, low, high in zip(joint_names, self.low_rad, self.high_rad)]
        short = [f'{self.short} episodes with fewer than two pictures are left out'] if self.short else []
        uneven = [f'timestamps of {self.uneven} episodes are not even: resampled by their stamps'] if self.uneven else []
        return [f'{self.episodes} episodes, {self.samples} joint samples, {self.rewarded / self.samples:.1%} of them rewarded',
                f'range of the joints in rad: {", ".join(ranges)}', *self.notes, *short, *uneven]


class Reader:
    """Reads episodes in order, each file once and forward."""

    def __init__(self, dataset, columns, mapping, robot):
        self.dataset, self.columns, self.mapping, self.robot = dataset, columns, mapping, robot
        self.factor, self.loaded, self.open = np.float32(lerobot_mapping.UNITS[mapping.units]), Loaded(columns.notes), {}
        self.joint_hz = mapping.joint_hz or dataset.extras.get('joint_hz', JOINT_HZ)
        self.camera_hz = mapping.camera_hz or dataset.extras.get('camera_hz', CAMERA_HZ)
        self.picture_shape = (*(mapping.picture_size or self._size()), 3)

    def attributes(self):
        return {'joint_names': list(self.robot.joint_names), 'cameras': list(self.columns.cameras), 'robot': self.robot.name,
                'picture_shape': self.picture_shape, 'source': f'LeRobot {self.dataset.folder.resolve().name}', 'source_hz': self.dataset.fps}

    def read(self):
        """Read every episode: -> iterator of Episode, or None where one is too short"""
        for path, episodes in itertools.groupby(self.dataset.episodes, self.dataset.data_file):
            table = read_table(path, self.columns.numbers())
            index = table['episode_index'].to_numpy()
            for episode in episodes:
                rows = np.flatnonzero(index == episode['episode_index'])
                if not len(rows) or len(rows) != episode['length'] or rows[-1] - rows[0] != len(rows) - 1:
                    raise LeRobotError(f'{path}: holds {len(rows)} rows of episode {episode["episode_index"]}, '
                                       f'expected {episode["length"]} in one piece')
                yield self._episode(episode, path, rows[0], table.slice(rows[0], len(rows)))

    def close(self):
        for source in self.open.values():
            source[1].close()

    def _size(self):
        """Choose the size of pictures: that of the data which the dataset was made from, if it was made from any."""
        shapes = {tuple(self.dataset.features[feature]['shape'][:2]) for feature in self.columns.cameras.values()}
        return shapes.pop() if self.dataset.extras and len(shapes) == 1 else PICTURE_SIZE

    def _episode(self, episode, path, first, table):
        where = f'{path}: episode {episode["episode_index"]}'
        stamp_s = self._stamps(table, where)
        place, frame_place = (grid.places(stamp_s, rate, self.dataset.fps) for rate in (self.joint_hz, self.camera_hz))
        if len(place) < 2 or len(frame_place) < 2:
            self.loaded.short += 1
            return None
        position_rad, velocity_rad_s = self._motion(table, stamp_s, where)
        position_rad, velocity_rad_s = grid.between(position_rad, place), grid.between(velocity_rad_s, place)
        command_rad = (grid.between(self._joints(table, self.columns.action, self.columns.action_index, where), place)
                       if self.columns.action else np.concatenate([position_rad[1:], position_rad[-1:]]))
        sensors = {name: grid.between(self._numbers(table, feature, where), place) for name, feature in self.columns.sensors.items()}
        made = Episode(episode.get('seed', episode['episode_index']), (np.arange(len(place)) / self.joint_hz).astype(np.float32),
                       position_rad, velocity_rad_s, command_rad, self._reward(episode, table, where)[grid.newest(place)],
                       self._terminal(table, stamp_s, len(place), where), (np.arange(len(frame_place)) / self.camera_hz).astype(np.float32),
                       self._pixels(episode, path, first, grid.newest(frame_place), stamp_s), sensors=sensors)
        self.loaded.add(made)
        return made

    def _stamps(self, table, where):
        stamp_s = table['timestamp'].to_numpy().astype(np.float64)
        stamp_s = stamp_s - stamp_s[0]
        if not np.isfinite(stamp_s).all() or (np.diff(stamp_s) <= 0).any():
            raise LeRobotError(f'{where}: timestamp: got values that do not rise, expected each frame after the one before')
        self.loaded.uneven += not grid.is_even(stamp_s, self.dataset.fps)
        return stamp_s

    def _motion(self, table, stamp_s, where):
        """Read positions and velocities: -> position_rad, velocity_rad_s [N, J]"""
        position_rad = self._joints(table, self.columns.state, self.columns.state_index, where)
        self._check_limits(position_rad, where)
        if self.columns.velocity:
            return position_rad, self._joints(table, self.columns.velocity, self.columns.velocity_index, where)
        return position_rad, _slope(position_rad, stamp_s)

    def _joints(self, table, feature, index, where):
        return self._numbers(table, feature, where)[:, index] * self.factor

    def _numbers(self, table, feature, where):
        return _numbers(table[feature], int(np.prod(self.dataset.features[feature]['shape'])), f'{where}: {feature}')

    def _check_limits(self, position_rad, where):
        low, high = np.array(self.robot.position_min_rad), np.array(self.robot.position_max_rad)
        beyond = np.maximum(low - position_rad, position_rad - high)
        row, joint = np.unravel_index(beyond.argmax(), beyond.shape)
        if beyond[row, joint] > SLACK_RAD:
            raise LeRobotError(f'{where}: {self.robot.joint_names[joint]}: got {position_rad[row, joint] / self.factor:g} {self.mapping.units}, expected '
                               f'{low[joint] / self.factor:g} to {high[joint] / self.factor:g}, the limits of {self.robot.name}; --units says what the '
                               'dataset is in: rad or deg (what is normalised to -100..100 must be turned into one of them first)')

    def _reward(self, episode, table, where):
        """Read the reward of each frame's own state: LeRobot has that of the state which the action leads to."""
        if not self.columns.reward:
            return np.zeros(len(table), np.float32)
        reward = self._numbers(table, self.columns.reward, where)[:, 0]
        if self.mapping.reward_above is not None:
            reward = (reward > self.mapping.reward_above).astype(np.float32)
        if reward.min() < 0 or reward.max() > 1:
            raise LeRobotError(f'{where}: {self.columns.reward}: got {reward.min():g} to {reward.max():g}, expected 0 to 1; '
                               'reward_above says which are rewarded')
        return np.concatenate([[np.float32(episode.get('first_reward', reward[0]))], reward[:-1]])

    def _terminal(self, table, stamp_s, count, where):
        terminal = np.zeros(count, bool)
        done = self._numbers(table, self.columns.done, where)[:, 0] > 0.5 if self.columns.done else np.arange(len(stamp_s)) == len(stamp_s) - 1
        terminal[np.minimum(np.ceil(stamp_s[done] * self.joint_hz - grid.EXACT).astype(int), count - 1)] = True
        return terminal

    def _pixels(self, episode, path, first, rows, stamp_s):
        """Read the pictures of some of an episode's rows: -> [M, V, Y, X, 3]"""
        pixels = np.empty((len(rows), len(self.columns.cameras), *self.picture_shape), np.uint8)
        for camera, feature in enumerate(self.columns.cameras.values()):
            if self.dataset.features[feature]['dtype'] == 'video':
                source = self._source(feature, self.dataset.video_file(episode, feature), lambda path: Video(path, self.dataset.fps))
                found = source.take(stamp_s[rows] + episode[f'videos/{feature}/from_timestamp'])
            else:
                found = self._source(feature, path, lambda path, feature=feature: Embedded(path, feature)).take(first + rows)
            for row, picture in enumerate(found):
                pixels[row, camera] = fit(picture, self.picture_shape)
        return pixels

    def _source(self, feature, path, begin):
        """Return the open file with a camera's pictures; episodes come in order, so that one per camera is enough."""
        if feature not in self.open or self.open[feature][0] != path:
            if feature in self.open:
                self.open.pop(feature)[1].close()
            self.open[feature] = path, begin(path)
        return self.open[feature][1]


def _slope(position_rad, stamp_s):
    """Differentiate positions, at the ends too by a parabola: -> velocity_rad_s [N, J]"""
    return np.gradient(position_rad.astype(np.float64), stamp_s, axis=0, edge_order=min(2, len(stamp_s) - 1)).astype(np.float32)


def _numbers(column, size, where):
    """Read a column as numbers: -> [N, K] float32"""
    import pyarrow
    column = column.combine_chunks()
    values = column.flatten() if pyarrow.types.is_nested(column.type) else column
    try:
        values = values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), size)
    except (ValueError, TypeError):
        raise LeRobotError(f'{where}: got {len(values)} values of type {column.type} in {len(column)} frames, expected {size} numbers in each') from None
    if not np.isfinite(values).all():
        raise LeRobotError(f'{where}: got a number that is missing or not finite in frame '
                           f'{int(np.argmin(np.isfinite(values).all(1)))}, expected numbers only')
    return values
