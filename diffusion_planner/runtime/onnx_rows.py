"""What blocks make of (level, second) pairs, remembered: most pairs come again in every plan, and they are a fifth of its work."""
from collections import OrderedDict

import numpy as np

CAPACITY = 1024      # rows; several times what one plan of the largest settings needs at once
BATCH = 16           # rows are made in multiples of this, so that buffers are needed for few sizes


def row_name(number):
    """Name the input of a graph that takes one of the K parts of the rows."""
    return f'row{number:02d}'


class Rows:
    """K tables of rows [N, E] for the graphs that imagine, the least recently used pair giving way to a new one.

    tables: {name of the input: table}. `version` grows when they change.
    """

    def __init__(self, conditions, capacity=CAPACITY):
        self._conditions, self._places = conditions, OrderedDict()
        count, _, width = conditions(level=np.zeros(BATCH, np.float32), offset_s=np.zeros(BATCH, np.float32))['rows'].shape
        self._table, self.capacity, self.version = np.zeros((count, capacity, width), np.float32), capacity, 0
        self.tables = {row_name(number): table for number, table in enumerate(self._table)}

    def find(self, level, offset_s):
        """Find the rows of pairs, making those that are new: level [...], offset_s [...] -> index [...] int64

        Raises ValueError for more different pairs than there are rows.
        """
        pairs = np.stack(np.broadcast_arrays(np.float32(level), np.float32(offset_s)), -1)
        flat, back = np.unique(np.ascontiguousarray(pairs).reshape(-1, 2).view(np.int64), return_inverse=True)     # both numbers as one
        if len(flat) > self.capacity:
            raise ValueError(f'{len(flat)} different levels and seconds, expected at most {self.capacity}')
        keys = flat.tolist()
        for key in keys:
            if key in self._places:
                self._places.move_to_end(key)
        self._make([key for key in keys if key not in self._places])
        found = np.array([self._places[key] for key in keys])
        return found[back].reshape(pairs.shape[:-1])

    def _make(self, keys):
        """Make the rows of new keys, in place of those least recently used where the table is full."""
        if not keys:
            return
        used = len(self._places)
        freed = [self._places.popitem(last=False)[1] for _ in range(used + len(keys) - self.capacity)]
        places = freed + list(range(used, used + len(keys) - len(freed)))
        pairs = np.zeros((-(-len(keys) // BATCH) * BATCH, 2), np.float32)
        pairs[:len(keys)] = np.array(keys, np.int64).view(np.float32).reshape(-1, 2)
        self._table[:, places] = self._conditions(level=pairs[:, 0], offset_s=pairs[:, 1])['rows'][:, :len(keys)]
        self._places.update(zip(keys, places))
        self.version += 1
