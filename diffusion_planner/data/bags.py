"""Bags of rosbag2: folders or single files, sqlite3 and mcap, compressed or not, whole or cut off.

Messages come raw: what nobody needs is never deserialised. `decode` makes objects of them that have the attributes of ROS messages,
so that diffusion_planner.messages reads both.
"""
import re
import shutil
import struct
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusion_planner.data.bags_common import ZSTD_MAGIC, BagError, Topic, merged, unzstd, zstandard
from diffusion_planner.data.bags_mcap import McapFile
from diffusion_planner.data.bags_sqlite import SqliteFile

__all__ = ['Bag', 'BagError', 'Topic', 'open_bag', 'stamp_ns']
KINDS = {'.mcap': McapFile, '.db3': SqliteFile}
HEADER_FIRST = re.compile(r'std_msgs/(msg/)?Header')
STAMP = {0: struct.Struct('>iI'), 1: struct.Struct('<iI')}


def open_bag(path):
    """Open a bag: a folder that `ros2 bag record` wrote, or one of its files. Raises BagError. Close it, or use it in `with`."""
    return Bag(Path(path))


class Bag:
    """A recording: `topics` name -> Topic, begin_ns and end_ns of the log times (None: empty), `notes` on what is wrong with it."""

    def __init__(self, path):
        self.path, self.notes, self._parts, self._scratch = path, [], [], None
        if not path.exists():
            raise BagError(f'{path}: is not there, expected a rosbag2 folder, or an .mcap or .db3 file')
        try:
            self._open(list(self._files()))
        except BaseException:
            self.close()
            raise
        self.topics = {name: topic for part in self._parts for name, topic in part.topics.items()}
        self.begin_ns = min((part.begin_ns for part in self._parts if part.begin_ns is not None), default=None)
        self.end_ns = max((part.end_ns for part in self._parts if part.end_ns is not None), default=None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for part in self._parts:
            part.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def messages(self, names=None):
        """Read the raw messages of some topics, or of all, by log time: -> (topic name, log time in ns, CDR bytes)

        Large messages are views of what was read; copy what is to be kept for long.
        """
        names = set(self.topics if names is None else names)
        for name, log_ns, data in merged((part.begin_ns or 0, part.messages, (names,)) for part in self._parts):
            if data[:4] == ZSTD_MAGIC:      # no CDR begins like that: compression_mode is `message`
                data = unzstd(data)
            yield name, log_ns, data
        self.notes += [note for part in self._parts for note in part.notes if note not in self.notes]

    def decode(self, name, data):
        """Deserialise a message of a topic. Raises BagError for a type that nobody describes, ValueError for bytes that are not one."""
        topic = self.topics[name]
        store, kind = _store(topic.type, topic.definition, topic.syntax)
        try:
            return store.deserialize_cdr(data, kind)
        except Exception as error:      # rosbags lets through what it trips over: IndexError, KeyError, its own errors
            raise ValueError(f'cannot be deserialised as {topic.type} ({" ".join(str(error).split()) or type(error).__name__})') from None

    def has_header(self, name):
        """Tell whether a topic's messages begin with a std_msgs/Header, whose stamp can be had without deserialising. Raises BagError."""
        fielddefs, kind = self.fields(name)
        fields = fielddefs[kind][1]
        return bool(fields) and HEADER_FIRST.fullmatch(str(fields[0][1][1])) is not None

    def fields(self, name):
        """Tell how a topic's messages are made: -> fields of all types, as rosbags has them, and the name of the topic's own. Raises BagError."""
        topic = self.topics[name]
        store, kind = _store(topic.type, topic.definition, topic.syntax)
        return store.fielddefs, kind

    # -- files

    def _files(self):
        """List the files of the recording, as its metadata or their names order them."""
        if self.path.is_file():
            return [self.path]
        there = sorted((path for path in self.path.iterdir() if _suffix(path) in KINDS), key=_natural)
        listed = self._listed(there)
        for name in listed:
            if not (self.path / name).exists():
                self.notes.append(f'{name} is missing: the other files are used')
        return [self.path / name for name in listed if (self.path / name).exists()] or there

    def _listed(self, there):
        """Read metadata.yaml: -> names of files, those that are there where it cannot be had"""
        import yaml
        try:
            found = yaml.safe_load((self.path / 'metadata.yaml').read_text())['rosbag2_bagfile_information']['relative_file_paths']
            return [Path(name).name for name in found]
        except FileNotFoundError:
            fault = 'is missing'
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
            fault = 'cannot be read'
        if there:
            self.notes.append(f'metadata.yaml {fault}: rebuilt from {len(there)} file{"s" * (len(there) > 1)}')
        return [path.name for path in there]

    def _open(self, files):
        if not files or any(_suffix(path) not in KINDS for path in files):
            raise BagError(f'{self.path}: not a bag, expected a folder with .mcap or .db3 files, or one such file')
        faults = []
        for path in files:
            try:
                self._parts.append(KINDS[_suffix(path)](self._unpacked(path)))
            except BagError as fault:
                faults.append(fault)
        if not self._parts:
            raise faults[0]
        self.notes += [*map(str, faults), *(note for part in self._parts for note in part.notes)]

    def _unpacked(self, path):
        """Unpack a file of compression_mode `file` to a scratch folder: -> path that can be read"""
        if path.suffix != '.zstd':
            return path
        self._scratch = self._scratch or TemporaryDirectory(prefix='diffusion_planner_bag_')
        plain = Path(self._scratch.name) / path.stem
        try:
            with zstandard().open(path, 'rb') as packed, plain.open('wb') as out:
                shutil.copyfileobj(packed, out, 1 << 20)
        except (EOFError, zstandard().ZstdError) as error:
            self.notes.append(f'{path.name} cannot be unpacked to its end ({error}): what came before is used')
        return plain


def _suffix(path):
    return Path(path.stem).suffix if path.suffix == '.zstd' else path.suffix


def _natural(path):
    """Order bag_10 after bag_9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.name)]


def stamp_ns(data):
    """Read the header's stamp of a CDR message that begins with a std_msgs/Header: -> nanoseconds, 0 where it was never set"""
    seconds, nanoseconds = STAMP[data[1] & 1].unpack_from(data, 4)
    return seconds * 1_000_000_000 + nanoseconds


@lru_cache(maxsize=256)
def _store(kind, definition, syntax):
    """Make a typestore that knows one type, by its definition or, where the bag has none, as ROS 2 has it: -> store, name of the type

    A store for each: definitions of several topics, in several languages, may differ in what does not matter.
    """
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
    known = get_typestore(Stores.ROS2_JAZZY)
    if not definition.strip():
        if kind not in known.fielddefs:
            raise BagError(f'type {kind}: the bag does not describe it, expected its definition or a common type')
        return known, kind
    try:
        found = get_types_from_msg(definition, kind) if syntax == 'ros2msg' else _from_idl(definition, get_types_from_idl)
        store = get_typestore(Stores.EMPTY)
        store.register({name: fields for name, fields in known.fielddefs.items() if name not in found} | found)
        return store, kind
    except Exception as error:          # of a parser that was given what somebody wrote
        raise BagError(f'type {kind}: its definition cannot be understood ({" ".join(str(error).split())[:120]})') from None


def _from_idl(text, parse):
    """Parse definitions in OMG IDL, several of them divided by a rule and a line that names each."""
    found = {}
    for part in re.split(r'^=+\n', text, flags=re.MULTILINE):
        if part.strip():
            found.update(parse(part.split('\n', 1)[1] if part.startswith('IDL: ') else part))
    return found
