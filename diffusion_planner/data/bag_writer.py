"""Bags being written: rosbag2 folders with one mcap file, of which everything but the last second survives a kill."""
import os
import time
from pathlib import Path

SECURED_S = 1.0       # how much may be lost when the process is killed
OLDEST_READERS = 8    # version of the metadata: rosbag2 of humble and later reads it


class BagWriteError(ValueError):
    """A bag that cannot be written; the message names the path or the type and what was expected."""


class BagWriter:
    """Writes serialized messages. Use as a context manager; after it the bag has its index and metadata.yaml."""

    def __init__(self, path, compressed=True):
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
        self.path = Path(path)
        if self.path.exists():
            raise BagWriteError(f'{path}: is there already, expected the name of a new bag')
        self._writer = Writer(self.path, version=OLDEST_READERS, storage_plugin=StoragePlugin.MCAP)
        if compressed:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._types, self._connections, self._secured_s = MessageTypes(), {}, time.monotonic()
        self.bytes_written = 0

    def __enter__(self):
        self._writer.open()
        return self

    def __exit__(self, *_):
        self._writer.close()

    def add_topic(self, topic, msgtype, qos=()):
        """Announce a topic, once: qos is a list of rosbags.interfaces.Qos. Raises BagWriteError for a type without a definition."""
        definition, digest = self._types.definition(msgtype)
        self._connections[topic] = self._writer.add_connection(topic, msgtype, msgdef=definition, rihs01=digest, offered_qos_profiles=list(qos))

    def write(self, topic, stamp_ns, data):
        """Write one serialized message, received at stamp_ns."""
        self._writer.write(self._connections[topic], stamp_ns, data)
        self.bytes_written += len(data)
        self.secure_if_due()

    def secure_if_due(self):
        """Secure what was written, if that was not done in the last second."""
        if time.monotonic() - self._secured_s >= SECURED_S:
            self.secure()

    def secure(self):
        """Close the chunk that is being filled and hand it to the system: from here on a kill takes nothing of it.

        rosbags closes a chunk only when it holds a megabyte, which minutes of joint states do not fill.
        """
        storage = self._writer.storage
        if storage.chunk.bio.tell():
            storage.close_chunk()
        storage.bio.flush()
        self._secured_s = time.monotonic()


class MessageTypes:
    """Definitions of message types: those that ROS 2 comes with, and any whose .msg file is installed."""

    def __init__(self):
        from rosbags.typesys import Stores, get_typestore
        self.store = get_typestore(Stores.ROS2_JAZZY)

    def definition(self, msgtype):
        """Find a type's definition and hash: -> (text, 'RIHS01_...'). Raises BagWriteError."""
        self._learn(msgtype)
        text, _ = self.store.generate_msgdef(msgtype, ros_version=2)
        return text, self.store.hash_rihs01(msgtype)

    def _learn(self, msgtype):
        """Read the .msg file of a type that is not known yet, and those of its parts."""
        from rosbags.typesys import get_types_from_msg
        if msgtype in self.store.fielddefs:
            return
        found = get_types_from_msg(_definition_file(msgtype).read_text(), msgtype)
        for part in sorted(_parts(found[msgtype][1])):
            self._learn(part)
        self.store.register({name: fields for name, fields in found.items() if name not in self.store.fielddefs})


def _definition_file(msgtype):
    package, _, name = msgtype.split('/')
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        path = Path(prefix) / 'share' / package / 'msg' / f'{name}.msg'
        if prefix and path.exists():
            return path
    raise BagWriteError(f'{msgtype}: its definition is unknown, expected a type of ROS 2 itself, or share/{package}/msg/{name}.msg below AMENT_PREFIX_PATH')


def _parts(fields):
    """Name the message types that fields are made of: -> set of str"""
    from rosbags.interfaces import Nodetype
    found = set()
    for _, (kind, detail) in fields:
        if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            kind, detail = detail[0]
        if kind == Nodetype.NAME:
            found.add(detail)
    return found
