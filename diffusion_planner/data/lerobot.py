"""LeRobot datasets of version 3: which file is where and what it must hold, for lerobot_import and lerobot_export."""
import json
import re
from dataclasses import dataclass
from pathlib import Path

VERSION = 'v3.0'
INFO, STATS, TASKS = 'meta/info.json', 'meta/stats.json', 'meta/tasks.parquet'
EXTRAS = 'meta/diffusion_planner.json'      # what LeRobot has no place for; its own programs leave the file alone
PLACE = 'chunk-{chunk_index:03d}/file-{file_index:03d}'
EPISODES, DATA, VIDEO = f'meta/episodes/{PLACE}.parquet', f'data/{PLACE}.parquet', f'videos/{{video_key}}/{PLACE}.mp4'
FILES_PER_CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200
IMAGES = 'observation.images.'
COUNTERS = {name: {'dtype': dtype, 'shape': [1], 'names': None} for name, dtype in (
    ('timestamp', 'float32'), ('frame_index', 'int64'), ('episode_index', 'int64'), ('index', 'int64'), ('task_index', 'int64'))}
NEEDED = 'episode_index', 'length', 'data/chunk_index', 'data/file_index'


class LeRobotError(ValueError):
    """A LeRobot dataset that cannot be used or written; the message names file or feature, what was found and what was expected."""


@dataclass(frozen=True)
class Dataset:
    """A dataset as its meta folder describes it. `episodes`: where each one is, LeRobot's own columns, without statistics."""

    folder: Path
    fps: float
    robot_type: str | None
    features: dict      # name -> {'dtype', 'shape', 'names', ...}
    data_path: str
    video_path: str | None
    episodes: list
    extras: dict        # of EXTRAS, {} where it is missing or of another state of the dataset

    def data_file(self, episode):
        return self.folder / self.data_path.format(chunk_index=episode['data/chunk_index'], file_index=episode['data/file_index'])

    def video_file(self, episode, feature):
        place = {name: episode[f'videos/{feature}/{name}'] for name in ('chunk_index', 'file_index')}
        return self.folder / (self.video_path or VIDEO).format(video_key=feature, **place)


def is_dataset(folder):
    """Tell whether a folder holds a LeRobot dataset, of whatever version."""
    return (Path(folder) / INFO).is_file()


def read(folder):
    """Read the meta folder of a dataset and check it: read(folder) -> Dataset. Raises LeRobotError."""
    folder = Path(folder)
    if not is_dataset(folder):
        raise LeRobotError(f'{folder}: has no {INFO}; expected the folder of a LeRobot dataset')
    info = _json(folder / INFO)
    _check_version(folder, info)
    for key, kind in (('features', dict), ('fps', (int, float))):
        if not isinstance(info.get(key), kind) or not info[key]:
            raise LeRobotError(f'{folder / INFO}: {key}: got {info.get(key)!r}, expected it as LeRobot {VERSION} writes it')
    episodes, extras = _with_extras(folder, _read_episodes(folder))
    return Dataset(folder, info['fps'], info.get('robot_type'), info['features'], info.get('data_path') or DATA, info.get('video_path'), episodes, extras)


def read_table(path, columns=None):
    """Read columns of a parquet file; LeRobotError where it is missing, cut off, or without them."""
    import pyarrow
    import pyarrow.parquet
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            missing = [name for name in columns or () if name not in file.schema_arrow.names]
            if missing:
                raise LeRobotError(f'{path}: has no column {missing[0]!r}; expected one of {", ".join(file.schema_arrow.names)}')
            return file.read(columns)
    except FileNotFoundError:
        raise LeRobotError(f'{path}: is missing; expected the file that {INFO} speaks of') from None
    except (pyarrow.ArrowException, OSError) as error:
        raise LeRobotError(unreadable(path, error)) from None


def unreadable(path, error):
    """Say in one line that a parquet file is broken."""
    return f'{path}: cannot be read ({str(error).splitlines()[0]}); expected a whole parquet file'


def names_of(feature):
    """List the names of a feature's numbers, however LeRobot's versions nest them: -> tuple, or None where there are none"""
    names = feature.get('names')
    if isinstance(names, dict):
        values = list(names.values())
        names = values[0] if values and isinstance(values[0], list) else sorted(names, key=names.get)
    return tuple(map(str, names)) if names else None


def _json(path):
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LeRobotError(f'{path}: cannot be read ({str(error).splitlines()[0]}); expected JSON') from None
    if not isinstance(found, dict):
        raise LeRobotError(f'{path}: got {type(found).__name__}, expected a JSON object')
    return found


def _check_version(folder, info):
    version = info.get('codebase_version')
    found = re.fullmatch(r'v?(\d+)\.(\d+)(\.\d+)?', str(version))
    if found and int(found[1]) == 2:
        raise LeRobotError(f'{folder}: codebase_version: got {version}, expected {VERSION}; convert it first with LeRobot: '
                           f'"python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME" (from v2.1, which v2.0 must become before)')
    if not found or int(found[1]) != 3:
        raise LeRobotError(f'{folder}: codebase_version: got {version}, expected {VERSION}')


def _read_episodes(folder):
    """Read where each episode is: -> list of mappings, in order"""
    paths = sorted(folder.glob('meta/episodes/*/*.parquet'))
    if not paths:
        raise LeRobotError(f'{folder}: has no meta/episodes/*/*.parquet; expected where each episode is')
    rows = []
    for path in paths:
        read_table(path, [*NEEDED])      # a column that is missing is said by name
        rows += read_table(path, _without_statistics(path)).to_pylist()
    rows.sort(key=lambda row: row['episode_index'])
    if not rows:
        raise LeRobotError(f'{paths[0]}: got no episode, expected at least one')
    return rows


def _without_statistics(path):
    import pyarrow.parquet
    return [name for name in pyarrow.parquet.read_schema(path).names if not name.startswith('stats/')]


def _with_extras(folder, episodes):
    """Add what lerobot_export left there, unless the dataset has been edited since: -> episodes, what holds for all of them"""
    extras = _json(folder / EXTRAS) if (folder / EXTRAS).exists() else {}
    rows = extras.pop('episodes', [])
    if [row['length'] for row in rows] != [episode['length'] for episode in episodes]:
        return episodes, {}
    return [row | episode for row, episode in zip(rows, episodes)], extras
