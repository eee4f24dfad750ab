"""Episodes on disk: HDF5 shards, each written whole or not at all, pictures compressed losslessly with Zstandard."""
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

FORMAT = 'diffusion_planner/episodes/1'
JOINT_FIELDS = ('stamp_s', 'position_rad', 'velocity_rad_s', 'command_rad', 'reward', 'terminal')
FRAME_FIELDS = ('frame_stamp_s', 'pixels')


class StoreError(ValueError):
    """A data folder that cannot be used; the message names the file and what was expected."""


def shard_path(folder, index):
    return Path(folder) / f'episodes-{index:05d}.h5'


def write_shard(path, episodes, attributes):
    """Write episodes to one shard; a cut-off write leaves only a .part file, which readers pass over."""
    path = Path(path)
    part = path.with_suffix('.part')
    with h5py.File(part, 'w') as file:
        file.attrs['format'] = FORMAT
        for key, value in attributes.items():
            file.attrs[key] = value
        for name in JOINT_FIELDS:
            file[name] = np.concatenate([getattr(episode, name) for episode in episodes])
        file['frame_stamp_s'] = np.concatenate([episode.frame_stamp_s for episode in episodes])
        pixels = np.concatenate([episode.pixels for episode in episodes])
        file.create_dataset('pixels', data=pixels, chunks=(min(16, len(pixels)), *pixels.shape[1:]),
                            compression=hdf5plugin.Zstd(clevel=3))
        file['joint_count'] = [len(episode.stamp_s) for episode in episodes]
        file['frame_count'] = [len(episode.frame_stamp_s) for episode in episodes]
        file['seed'] = [episode.seed for episode in episodes]
        for name in episodes[0].sensors:
            file[f'sensors/{name}'] = np.concatenate([episode.sensors[name] for episode in episodes]).astype(np.float32)
        for name in episodes[0].privileged:
            file[f'privileged/{name}'] = np.stack([episode.privileged[name] for episode in episodes])
    os.replace(part, path)


class ShardWriter:
    """Writes episodes one by one into the shards of a folder, each whole as soon as it is full; at the end call close()."""

    def __init__(self, folder, attributes, episodes=100, size_bytes=1 << 24):
        self.folder, self.attributes, self.count = Path(folder), attributes, 0
        self._most, self._size_bytes, self._waiting, self._shards = episodes, size_bytes, [], 0

    def add(self, episode):
        self._waiting.append(episode)
        self.count += 1
        if len(self._waiting) == self._most or sum(waiting.pixels.nbytes for waiting in self._waiting) >= self._size_bytes:
            self.close()

    def close(self):
        """Write what waits."""
        if self._waiting:
            write_shard(shard_path(self.folder, self._shards), self._waiting, self.attributes)
            self._shards, self._waiting = self._shards + 1, []


def shards(folder):
    """List the finished shards of a data folder in order. Raises StoreError where there is none."""
    found = sorted(Path(folder).glob('episodes-*.h5'))
    if not found:
        raise StoreError(f'{folder}: holds no episodes-*.h5; expected a folder written by "diffusion-planner demos" or "ingest"')
    return found


@dataclass(frozen=True)
class Episodes:
    """Many episodes end to end. Joint rows [N], pictures [M]; episode e owns joint_start[e]:joint_start[e + 1] and
    frame_start[e]:frame_start[e + 1]."""

    stamp_s: np.ndarray
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray
    reward: np.ndarray
    frame_stamp_s: np.ndarray
    joint_start: np.ndarray
    frame_start: np.ndarray
    seed: np.ndarray
    privileged: dict
    attributes: dict
    paths: tuple
    sensors: dict         # name -> values [N, K]

    def __len__(self):
        return len(self.seed)


def read(folder, limit=None):
    """Read everything but the pictures: read(folder, limit=None episodes) -> Episodes. Raises StoreError."""
    columns, privileged, sensors, attributes, paths = {}, {}, {}, {}, []
    for path in shards(folder):
        with _open(path) as file:
            attributes = attributes or _described(file)
            _check_same(path, _described(file), attributes)
            for name in file.get('sensors', {}):
                sensors.setdefault(name, []).append(file[f'sensors/{name}'][:])
            for name in (*JOINT_FIELDS, 'frame_stamp_s', 'joint_count', 'frame_count', 'seed'):
                columns.setdefault(name, []).append(file[name][:])
            for name in file.get('privileged', {}):
                privileged.setdefault(name, []).append(file[f'privileged/{name}'][:])
        paths.append(path)
        if limit and sum(map(len, columns['seed'])) >= limit:
            break
    columns = {name: np.concatenate(parts) for name, parts in columns.items()}
    starts = [np.concatenate([[0], np.cumsum(columns[name])]) for name in ('joint_count', 'frame_count')]
    return Episodes(*(columns[name] for name in ('stamp_s', 'position_rad', 'velocity_rad_s', 'reward', 'frame_stamp_s')),
                    *starts, columns['seed'], {name: np.concatenate(parts) for name, parts in privileged.items()},
                    attributes, tuple(paths), {name: np.concatenate(parts) for name, parts in sensors.items()})


def _described(file):
    """Read what a shard says of itself, and the sizes of its sensors: -> dict"""
    return {**file.attrs, 'sensor_sizes': {name: values.shape[1] for name, values in file.get('sensors', {}).items()}}


def _check_same(path, found, expected):
    """Raise StoreError for a shard of other data than the first one's; `demos` of old did not note the pictures' shape."""
    for name in ('joint_names', 'cameras', 'picture_shape', 'sensor_sizes'):
        ours, theirs = (value if isinstance(value, dict) else list(value) for value in (found.get(name, ()), expected.get(name, ())))
        if ours != theirs:
            raise StoreError(f'{path}: {name} {ours}, expected {theirs} as in the first shard')


def read_pictures(path):
    """Read one shard's pictures: -> pixels [M, V, Y, X, 3], uint8."""
    with _open(path) as file:
        return file['pixels'][:]


def frame_total(path):
    """Return how many pictures a shard holds."""
    with _open(path) as file:
        return len(file['frame_stamp_s'])


def read_column(path, name):
    """Read one column of one shard's joint samples, such as 'command_rad'."""
    with _open(path) as file:
        return file[name][:]


def _open(path):
    try:
        file = h5py.File(path, 'r')
    except OSError as error:
        raise StoreError(f'{path}: cannot be read ({str(error).splitlines()[0]}); '
                         'delete it and run "diffusion-planner demos" again, which writes only what is missing') from None
    if file.attrs.get('format') != FORMAT:
        raise StoreError(f'{path}: format {file.attrs.get("format")!r}, expected {FORMAT!r}')
    return file
