"""One mcap file: its topics, and its messages in the order of their log times; what was cut off or spoilt is left out, and said.

Layout: https://mcap.dev/spec. The file's own index is used where it is whole; else the file is walked from its beginning.
"""
import struct
import zlib
from typing import NamedTuple

from diffusion_planner.data.bags_common import BagError, Topic, merged, unzstd

MAGIC = b'\x89MCAP0\r\n'
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0B, 0x0F
RECORD, MESSAGE_HEAD, CHUNK_HEAD = struct.Struct('<BQ'), struct.Struct('<HIQQ'), struct.Struct('<QQQI')
FOOTER_BYTES = RECORD.size + 20 + len(MAGIC)
RUN_BYTES = 1 << 20      # messages outside chunks are taken together up to this size


class Piece(NamedTuple):
    """Where some messages are: a chunk, or a run of messages outside chunks. Log times from begin_ns to end_ns."""

    begin_ns: int
    end_ns: int
    offset: int
    size: int
    is_chunk: bool


class McapFile:
    """Reads one file. `notes` says what was wrong with it; `topics` is name -> Topic. Raises BagError for what is no mcap file."""

    def __init__(self, path):
        self.path, self.notes, self.topics = path, [], {}
        self._schemas, self._channels, self._pieces = {}, {}, []
        self._file = open(path, 'rb')
        self._size = path.stat().st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            raise BagError(f'{path}: no mcap file, expected one that begins with its magic bytes')
        if not self._read_summary():
            self._walk()
        self._pieces.sort()
        self.begin_ns = min((piece.begin_ns for piece in self._pieces), default=None)
        self.end_ns = max((piece.end_ns for piece in self._pieces), default=None)

    def close(self):
        self._file.close()

    def messages(self, names):
        """Read the messages of some topics: -> (topic name, log time in ns, CDR bytes), in the order of their log times"""
        wanted = {number: topic.name for number, topic in self._channels.items() if topic.name in names}
        return merged((piece.begin_ns, self._read_piece, (piece, wanted)) for piece in self._pieces)

    def _read_piece(self, piece, wanted):
        self._file.seek(piece.offset)
        data = memoryview(self._file.read(piece.size))
        if piece.is_chunk:
            data = self._unpack_chunk(data, piece)
        found = [(log_ns, channel, body) for op, body in _records(data) if op == MESSAGE
                 for channel, _, log_ns, _ in (MESSAGE_HEAD.unpack_from(body),) if channel in wanted]
        found.sort(key=lambda row: row[0])
        for log_ns, channel, body in found:
            yield wanted[channel], log_ns, body[MESSAGE_HEAD.size:]

    def _unpack_chunk(self, body, piece):
        """Unpack a chunk's records, or what is left of them: -> bytes"""
        try:
            _, _, size, crc = CHUNK_HEAD.unpack_from(body)
            compression, at = _string(body, CHUNK_HEAD.size)
            data = decompress(compression, body[at + 8:at + 8 + struct.unpack_from('<Q', body, at)[0]])
        except (struct.error, ValueError) as error:
            self._note(f'chunk at byte {piece.offset} cannot be unpacked ({error}), left out')
            return b''
        if len(data) < size:
            self._note(f'chunk at byte {piece.offset} is cut off: {len(data)} of {size} bytes used')
        elif crc and zlib.crc32(data) != crc:
            self._note(f'chunk at byte {piece.offset} is spoilt (checksum), left out')
            return b''
        return data

    def _note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    # -- the index

    def _read_summary(self):
        """Take channels and chunks from the file's index: -> whether it has a whole one"""
        if self._size < FOOTER_BYTES + len(MAGIC):
            return False
        self._file.seek(self._size - FOOTER_BYTES)
        tail = self._file.read()
        start = struct.unpack_from('<Q', tail, RECORD.size)[0]
        if tail[-len(MAGIC):] != MAGIC or tail[0] != FOOTER or not len(MAGIC) < start < self._size:
            return False
        self._file.seek(start)
        count, indexed = None, []
        for op, body in _records(memoryview(self._file.read(self._size - FOOTER_BYTES - start))):
            if op == STATISTICS:
                count = struct.unpack_from('<Q', body)[0]
            elif op == CHUNK_INDEX:
                begin_ns, end_ns, offset, size = struct.unpack_from('<QQQQ', body)
                indexed.append(Piece(begin_ns, end_ns, offset + RECORD.size, size - RECORD.size, True))
            else:
                self._describe(op, body)
        if not indexed and count != 0 or not self._channels and count:    # messages outside chunks, or no names in the summary
            return False
        self._pieces = indexed
        return True

    def _walk(self):
        """Find channels and pieces without an index, from the beginning to where the file ends or breaks off."""
        at, run, ended = len(MAGIC), None, False
        while at + RECORD.size <= self._size:
            self._file.seek(at)
            op, size = RECORD.unpack(self._file.read(RECORD.size))
            body, end = at + RECORD.size, min(at + RECORD.size + size, self._size)
            if op == DATA_END:
                ended = True
                break
            if op == MESSAGE and end - body == size:
                run = self._add_to_run(run, at, end)
            elif op == CHUNK:
                self._add_chunk(body, end)
            elif op in (SCHEMA, CHANNEL) and end - body == size:
                self._describe(op, self._file.read(size))
            at = at + RECORD.size + size
        if not ended:
            self._note(f'{self.path.name} ends in the middle, at byte {self._size}: what is there is used')

    def _add_to_run(self, run, at, end):
        """Take a message outside chunks into the run of those before it: -> index of the run"""
        log_ns = MESSAGE_HEAD.unpack(self._file.read(MESSAGE_HEAD.size))[2]
        last = self._pieces[run] if run is not None else None
        if last is not None and last.offset + last.size == at and last.size < RUN_BYTES:
            self._pieces[run] = Piece(min(last.begin_ns, log_ns), max(last.end_ns, log_ns), last.offset, end - last.offset, False)
            return run
        self._pieces.append(Piece(log_ns, log_ns, at, end - at, False))
        return len(self._pieces) - 1

    def _add_chunk(self, offset, end):
        """Note a chunk, and the channels that are described in it."""
        head = self._file.read(end - offset)
        if len(head) < CHUNK_HEAD.size:
            return
        begin_ns, end_ns = CHUNK_HEAD.unpack_from(head)[:2]
        piece = Piece(begin_ns, end_ns, offset, end - offset, True)
        for op, body in _records(self._unpack_chunk(memoryview(head), piece)):
            if op in (SCHEMA, CHANNEL):
                self._describe(op, body)
        self._pieces.append(piece)

    def _describe(self, op, body):
        """Take in a schema or a channel."""
        if op == SCHEMA:
            name, at = _string(body, 2)
            encoding, at = _string(body, at)
            self._schemas[struct.unpack_from('<H', body)[0]] = name, encoding, _string(body, at)[0]
        elif op == CHANNEL:
            number, schema = struct.unpack_from('<HH', body)
            name, at = _string(body, 4)
            encoding, at = _string(body, at)
            kind, syntax, definition = self._schemas.get(schema, ('', '', ''))
            topic = Topic(name, kind, definition, syntax, encoding, _map(body, at).get('offered_qos_profiles', ''))
            self._channels[number] = self.topics[name] = topic


def _records(data):
    """Walk through records that are whole: -> (op, body)"""
    data, at = memoryview(data), 0
    while at + RECORD.size <= len(data):
        op, size = RECORD.unpack_from(data, at)
        at += RECORD.size + size
        if at > len(data):
            return
        yield op, data[at - size:at]


def _string(body, at):
    size = struct.unpack_from('<I', body, at)[0]
    return bytes(body[at + 4:at + 4 + size]).decode(errors='replace'), at + 4 + size


def _map(body, at):
    end, found = at + 4 + struct.unpack_from('<I', body, at)[0], {}
    at += 4
    while at < end:
        key, at = _string(body, at)
        found[key], at = _string(body, at)
    return found


def decompress(compression, data):
    """Unpack a chunk, as far as it goes where its end is missing. Raises ValueError."""
    if compression == '':
        return data
    if compression == 'zstd':
        return unzstd(data)
    if compression == 'lz4':
        import lz4.frame
        try:
            return lz4.frame.LZ4FrameDecompressor().decompress(bytes(data))
        except RuntimeError as error:
            raise ValueError(f'lz4: {error}') from None
    raise ValueError(f'compression {compression!r}, expected none, zstd or lz4')
