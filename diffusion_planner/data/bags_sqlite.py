"""One sqlite3 file of rosbag2: its topics, and its messages in the order of their log times."""
import sqlite3
from contextlib import suppress

from diffusion_planner.data.bags_common import BagError, Topic

MAGIC = b'SQLite format 3\x00'


class SqliteFile:
    """Reads one file. `notes` says what was wrong with it; `topics` is name -> Topic. Raises BagError for what is no bag."""

    def __init__(self, path):
        self.path, self.notes, self.topics = path, [], {}
        self.begin_ns = self.end_ns = None
        if path.stat().st_size < 100 or path.open('rb').read(len(MAGIC)) != MAGIC:
            raise BagError(f'{path}: no sqlite3 file, expected one that begins with its magic bytes')
        # A recorder that was killed may have left messages in the journal beside the file, which immutable would pass over.
        journal = path.with_name(path.name + '-wal')
        mode = 'mode=ro' if journal.exists() and journal.stat().st_size else 'mode=ro&immutable=1'
        self._database = sqlite3.connect(f'file:{_quoted(path)}?{mode}', uri=True)
        try:
            self._database.execute('PRAGMA writable_schema = ON')      # else a file that was cut off is refused as a whole
            self._read_topics()
        except sqlite3.DatabaseError as error:
            raise BagError(f'{path}: cannot be read ({error}), expected the topics and messages of rosbag2') from None
        self._read_span()

    def close(self):
        self._database.close()

    def messages(self, names):
        """Read the messages of some topics: -> (topic name, log time in ns, CDR bytes), in the order of their log times"""
        wanted = {number: name for number, name in self._numbers.items() if name in names}
        # Without an index, sorting would need all messages at once.
        order = 'timestamp, id' if self._indexed else 'id'
        try:
            rows = self._database.execute(f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({",".join("?" * len(wanted))}) '
                                          f'ORDER BY {order}', tuple(wanted))
            for number, log_ns, data in rows:
                yield wanted[number], log_ns, data
        except sqlite3.DatabaseError as error:
            self._note(f'{self.path.name} cannot be read to its end ({error}): what came before is used')

    def _note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def _columns(self, table):
        return [row[1] for row in self._database.execute(f'PRAGMA table_info({table})')]

    def _read_topics(self):
        columns = self._columns('topics')
        if 'name' not in columns or 'timestamp' not in self._columns('messages'):
            raise BagError(f'{self.path}: no bag, expected the tables "topics" and "messages" of rosbag2')
        definitions = {}
        if 'encoded_message_definition' in self._columns('message_definitions'):
            definitions = {name: (text, syntax) for name, syntax, text in self._database.execute(
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions')}
        qos = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
        self._numbers = {}
        for number, name, kind, encoding, profiles in self._database.execute(
                f'SELECT id, name, type, serialization_format, {qos} FROM topics ORDER BY id'):
            self.topics[name] = Topic(name, kind, *definitions.get(kind, ('', '')), encoding, profiles)
            self._numbers[number] = name

    def _read_span(self):
        """Find the first and last log time, and whether messages can be had in their order."""
        try:
            plan = self._database.execute('EXPLAIN QUERY PLAN SELECT * FROM messages ORDER BY timestamp, id').fetchall()
            self.begin_ns, = self._database.execute('SELECT min(timestamp) FROM messages').fetchone()
            self.end_ns, = self._database.execute('SELECT max(timestamp) FROM messages').fetchone()
            self._indexed = not any('TEMP B-TREE' in row[-1] for row in plan)
        except sqlite3.DatabaseError as error:
            self._indexed = False
            self._note(f'{self.path.name} is damaged ({error}): what can be read is used')
            with suppress(sqlite3.DatabaseError):
                first = self._database.execute('SELECT timestamp FROM messages ORDER BY id LIMIT 1').fetchone()
                self.begin_ns = self.end_ns = first[0] if first else None


def _quoted(path):
    from urllib.parse import quote
    return quote(str(path.resolve()))
