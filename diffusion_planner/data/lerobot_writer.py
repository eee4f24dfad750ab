"""Writes a LeRobot dataset, episode by episode: parquet, videos, and the meta folder once everything is there."""
import json

import numpy as np

from diffusion_planner.data import lerobot
from diffusion_planner.data.lerobot_pictures import Encoder, video_info
from diffusion_planner.data.lerobot_schema import schema_of, table_of, write_tasks
from diffusion_planner.data.lerobot_statistics import Numbers, Pictures

MB = 2 ** 20
EPISODES_AT_ONCE = 50


class Rolling:
    """Numbered files of about equal size: the next one is begun before one would grow beyond the limit.

    begin(path) -> an open file with `size()` in bytes and close().
    """

    def __init__(self, begin, path_of, limit_mb):
        self.begin, self.path_of, self.limit, self.number, self.file, self.rows = begin, path_of, limit_mb * MB, -1, None, 0

    def room_for(self, rows):
        """Return the open file that has room for so many rows more, to judge by those that it has."""
        full = self.file and self.rows and self.file.size() * (1 + rows / self.rows) >= self.limit
        if self.file is None or full:
            self.close()
            self.number, self.rows = self.number + 1, 0
            self.file = self.begin(self.path_of(**self.place()))
        self.rows += rows
        return self.file

    def place(self):
        return dict(zip(('chunk_index', 'file_index'), divmod(self.number, lerobot.FILES_PER_CHUNK)))

    def close(self):
        if self.file:
            self.file.close()


class Parquet:
    """A parquet file whose size is known while it is written; what is written at once can be read at once."""

    def __init__(self, path, schema):
        import pyarrow
        import pyarrow.parquet
        path.parent.mkdir(parents=True, exist_ok=True)
        self.sink = pyarrow.OSFile(str(path), 'wb')
        # A picture that is shown in several frames is stored once: the dictionary must have room for all of an episode.
        self.writer = pyarrow.parquet.ParquetWriter(self.sink, schema, compression='snappy', dictionary_pagesize_limit=256 * MB)

    def write(self, table):
        self.writer.write_table(table)

    def size(self):
        return self.sink.tell()

    def close(self):
        self.writer.close()
        self.sink.close()


class VideoFile:
    """A video whose size is known while it is written."""

    def __init__(self, path, fps, shape):
        self.encoder, self.fps = Encoder(path, fps, shape), fps

    def write(self, pixels, shown):
        """Append the pictures [M, Y, X, 3], row shown[i] as frame i: -> seconds where they begin and end in the file"""
        first = self.encoder.count
        for row in shown:
            self.encoder.add(pixels[row])
        return first / self.fps, self.encoder.count / self.fps

    def size(self):
        return self.encoder.bytes

    def close(self):
        self.encoder.close()


class Writer:
    """A dataset in the making. features: as in info.json, without counters; total: how many frames there will be."""

    def __init__(self, folder, fps, features, robot_type, task, total):
        self.folder, self.fps, self.robot_type, self.task, self.frames = folder, fps, robot_type, task, 0
        self.features = {**features, **lerobot.COUNTERS}
        self.cameras = [name for name, feature in features.items() if feature['dtype'] in ('image', 'video')]
        self.statistics = {name: Pictures() if name in self.cameras else Numbers(total) for name in self.features}
        self.schema = schema_of(self.features)
        self.data = Rolling(lambda path: Parquet(path, self.schema), self._path(lerobot.DATA), lerobot.DATA_MB)
        self.videos = {name: self._video(name) for name in self.cameras if features[name]['dtype'] == 'video'}
        self.meta, self.rows, self.extras, self.episodes = None, [], [], 0

    def add(self, columns, pictures, shown, extras):
        """Append one episode: columns name -> [N, K], pictures camera -> [M, Y, X, 3], shown [N] the picture of each frame."""
        count, index = len(shown), self.episodes
        frames = np.arange(count)
        columns = {**columns, 'timestamp': frames / self.fps, 'frame_index': frames, 'episode_index': np.full(count, index),
                   'index': self.frames + frames, 'task_index': np.zeros(count, int)}
        row = {'episode_index': index, 'tasks': [self.task], 'length': count}
        self.data.room_for(count).write(table_of(self.schema, columns, {name: (pictures[name], shown) for name in self.cameras}))
        row |= {f'data/{name}': value for name, value in self.data.place().items()}
        row |= {'dataset_from_index': self.frames, 'dataset_to_index': self.frames + count}
        for name, video in self.videos.items():
            begin, end = video.room_for(count).write(pictures[name], shown)
            row |= {f'videos/{name}/{key}': value for key, value in video.place().items()}
            row |= {f'videos/{name}/from_timestamp': begin, f'videos/{name}/to_timestamp': end}
        for name, statistics in self.statistics.items():
            found = statistics.add(pictures[name][np.unique(shown)] if name in self.cameras else columns[name].reshape(count, -1))
            row |= {f'stats/{name}/{key}': value for key, value in found.items()}
        self.rows.append(row)
        self.extras.append({'length': count, **extras})
        self.frames, self.episodes = self.frames + count, index + 1
        if len(self.rows) == EPISODES_AT_ONCE:
            self._write_rows()

    def finish(self, extras):
        """Close all files and write the meta folder, which makes a dataset of them."""
        self._write_rows()
        self.close()
        write_tasks(self.folder / lerobot.TASKS, [self.task])
        self._write_json(lerobot.STATS, {name: statistics.result() for name, statistics in self.statistics.items()})
        self._write_json(lerobot.EXTRAS, extras | {'episodes': self.extras})
        self._write_json(lerobot.INFO, self._info())

    def close(self):
        for files in (self.data, *self.videos.values(), *([self.meta] if self.meta else ())):
            files.close()
            files.file = None

    def _path(self, pattern, **values):
        return lambda **place: self.folder / pattern.format(**values, **place)

    def _video(self, name):
        return Rolling(lambda path: VideoFile(path, self.fps, self.features[name]['shape']),
                       self._path(lerobot.VIDEO, video_key=name), lerobot.VIDEO_MB)

    def _write_rows(self):
        """Write what is known of the last episodes; each row says, too, in which file it is."""
        import pyarrow
        if not self.rows:
            return
        if self.meta is None:
            row = self.rows[0] | {'meta/episodes/chunk_index': 0, 'meta/episodes/file_index': 0}
            schema = pyarrow.Table.from_pylist([row]).schema
            self.meta = Rolling(lambda path: Parquet(path, schema), self._path(lerobot.EPISODES), lerobot.DATA_MB)
        file = self.meta.room_for(len(self.rows))
        place = {f'meta/episodes/{name}': value for name, value in self.meta.place().items()}
        file.write(pyarrow.Table.from_pylist([row | place for row in self.rows], schema=file.writer.schema))
        self.rows = []

    def _info(self):
        features = {name: feature | ({'info': video_info(self.fps, feature['shape'])} if name in self.videos else {})
                    for name, feature in self.features.items()}
        return {'codebase_version': lerobot.VERSION, 'robot_type': self.robot_type, 'total_episodes': self.episodes,
                'total_frames': self.frames, 'total_tasks': 1, 'chunks_size': lerobot.FILES_PER_CHUNK,
                'data_files_size_in_mb': lerobot.DATA_MB, 'video_files_size_in_mb': lerobot.VIDEO_MB, 'fps': self.fps,
                'splits': {'train': f'0:{self.episodes}'}, 'data_path': lerobot.DATA, 'video_path': lerobot.VIDEO if self.videos else None,
                'features': features}

    def _write_json(self, name, value):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=4) + '\n')
