"""Where episodes begin and end: as long as every input is there and nothing says that another one has begun."""
from collections import Counter

import numpy as np

from diffusion_planner.data import ingest_grid as grids
from diffusion_planner.data.ingest_reward import HAIR_NS
from diffusion_planner.data.ingest_streams import SECOND_NS, Sample

JUMP_RAD, FASTEST_RAD_S, AGREEING = 0.2, 5.0, 3     # as in planning/history.py: an arm that jumps was put there
FIRST_PERIODS = 2


class Cutter:
    """Takes what the streams of one bag say in the order of their stamps, and makes episodes of it."""

    def __init__(self, mapping, cameras, streams, reward, number=0):
        self.mapping, self.cameras, self.reward, self.number = mapping, cameras, reward, number
        self.steady = [stream for stream in streams if stream.name == 'joint_states' or stream.steady]
        self.rows = {stream.name: [] for stream in self.steady}      # (stamp, payload...) of what is not over yet
        self.views = {stream.name: stream for stream in streams if stream.name.startswith('cameras.')}
        self.gap_ns = {stream.name: round(stream.gap_ns) for stream in self.steady}
        self.commands = grids.Commands(mapping.joint_gap_s)
        self.left_out, self.ends, self.unused_s, self.picture_age_s = Counter(), Counter(), 0.0, Sample()
        self.suspects, self.value, self.calling = [], None, False
        self.begin_ns, self.frames = None, []

    def advance(self, until_ns, events, over):
        """Take events up to until_ns; over: the recording ends, or its clock begins anew. Yields (Episode, begin_ns, why it ended)."""
        for stamp, _, stream, payload in events:
            yield from self._take(stamp, stream, payload)
        limit_ns = until_ns + HAIR_NS if over else min([until_ns, *(stamp - 1 for stamp, *_ in self.suspects[:1])])
        yield from self._grow(limit_ns)
        if over:
            yield from self._close(limit_ns, 'end of the recording')
            self._forget(limit_ns)
            self.reward.clear()
            self.commands.clear()

    def _take(self, stamp, stream, payload):
        name = stream.name
        if name == 'joint_states':
            yield from self._take_joints(stamp, payload, stream)
        elif name in self.views:
            self.rows[name].append([stamp, payload, None])
        elif name in self.rows:
            yield from self._take_numbers(stamp, payload, name)
        elif name == 'episodes':
            if payload != self.value:
                yield from self._cut(stamp, 'another episode')
            self.value = payload
        elif name == 'calls':
            yield from self._cut(stamp, 'service call', during_call=self.calling and not payload)
            self.calling = payload
        else:
            {'command': self.commands, 'reward': self.reward}[name].add(stamp, payload)

    def _take_numbers(self, stamp, payload, name):
        rows = self.rows[name]
        if rows and stamp - rows[-1][0] > self.gap_ns[name]:
            yield from self._cut(stamp, f'gap in {name}')
        self.rows[name].append((stamp, payload))

    def _take_joints(self, stamp, payload, stream):
        """Take a reading, unless it jumps as no arm can: it is held back until several agree. Then the arm was put there."""
        rows, doubted = self.rows['joint_states'], self.suspects
        seen = [*rows[-1:], *doubted[-1:]]
        if seen and stamp - seen[-1][0] > self.gap_ns['joint_states']:
            stream.rejected['position: jumped for a moment'] += len(doubted)
            doubted.clear()
            yield from self._cut(stamp, 'gap in joint_states')
        elif rows and _jumps(rows[-1], payload[0], doubted[0][0] if doubted else stamp):
            if doubted and _jumps(doubted[-1], payload[0], stamp):
                stream.rejected['position: jumped for a moment'] += len(doubted)
                doubted.clear()
            doubted.append((stamp, *payload))
            if len(doubted) == AGREEING:
                yield from self._cut(doubted[0][0], 'jump of the joints')
            return
        else:
            stream.rejected['position: jumped for a moment'] += len(doubted)
            doubted.clear()
        self.rows['joint_states'].append((stamp, *payload))

    # -- growing

    def _grow(self, limit_ns):
        """Go on up to limit_ns, by when everything is known: choose pictures, and end what has become too long or blind."""
        while True:
            if self.begin_ns is None and not self._begin(limit_ns):
                return
            longest_ns = self.begin_ns + round(self.mapping.episodes.longest_s * SECOND_NS)
            blind = self._choose(min(limit_ns, longest_ns - 1 + HAIR_NS))
            silent = next((name for name, rows in self.rows.items() if limit_ns - rows[-1][0] > self.gap_ns[name]), None)
            if blind is not None:
                at_ns, name = blind
                yield from self._close(at_ns - 2 * HAIR_NS, f'no usable picture of {name}')
                self._forget(at_ns)
            elif limit_ns >= longest_ns:
                yield from self._close(longest_ns - 2 * HAIR_NS, 'longest_s', goes_on=True)
                self.begin_ns = longest_ns
                self._spare(longest_ns)
            elif silent is not None:
                yield from self._close(limit_ns, f'gap in {silent}')
                self._forget(limit_ns)
            else:
                return

    def _begin(self, limit_ns):
        """Begin an episode where every input is there: -> whether it has begun"""
        for name, stream in self.views.items():
            rows = self.rows[name]
            while rows and rows[0][0] <= limit_ns and not self._decoded(stream, rows[0]):
                rows.pop(0)
        firsts = [rows[0][0] if rows else limit_ns + 1 for rows in self.rows.values()]
        if max(firsts) > limit_ns:
            self._spare(limit_ns)
            return False
        self.begin_ns = max(firsts)
        return True

    def _choose(self, limit_ns):
        """Choose the pictures of the grid up to limit_ns: -> None, or (instant, camera) of the first for which there is none"""
        while True:
            at_ns = self.begin_ns + round(len(self.frames) * SECOND_NS / self.mapping.camera_hz)
            if at_ns + HAIR_NS > limit_ns:
                return None
            found = {name: self._newest(stream, at_ns) for name, stream in self.views.items()}
            for name, row in found.items():
                if row is None or at_ns - row[0] > self.gap_ns[name]:
                    return at_ns, name
            self.picture_age_s.add(max(at_ns - row[0] for row in found.values()) / SECOND_NS)
            self.frames.append(np.stack([row[2] for row in found.values()]))

    def _newest(self, stream, at_ns):
        """Find the newest usable picture at an instant, and forget those before it: -> row or None"""
        rows = self.rows[stream.name]
        last = next((index for index in range(len(rows) - 1, -1, -1)
                     if rows[index][0] <= at_ns + HAIR_NS and self._decoded(stream, rows[index])), None)
        if last is None:
            return None
        # What is newer and yet not chosen was looked at, and is of no use.
        self.rows[stream.name] = [rows[last], *(row for row in rows[last + 1:] if row[0] > at_ns + HAIR_NS)]
        return rows[last]

    def _decoded(self, stream, row):
        """Decode a picture, once: -> whether it can be used"""
        if row[2] is None and row[1] is not None:
            row[2], row[1] = self.cameras.decode(stream, row[0], row[1]), None
        return row[2] is not None

    # -- ending

    def _cut(self, at_ns, why, during_call=False):
        """End the episode before at_ns, and keep what belongs to the next."""
        yield from self._grow(at_ns - 1)
        if during_call:
            self.left_out['during a service call'] += self.begin_ns is not None
        else:
            yield from self._close(at_ns - 2 * HAIR_NS, why)
        self._forget(at_ns)

    def _close(self, end_ns, why, goes_on=False):
        """Make an episode of what there is from its beginning to end_ns, if it is long enough; goes_on: what came after belongs to it."""
        if self.begin_ns is None:
            return
        kept = {name: [row for row in rows if goes_on or row[0] <= end_ns] for name, rows in self.rows.items()}
        end_ns = min([end_ns, *(rows[-1][0] + (self.gap_ns[name] if name in self.views else 0) if rows else self.begin_ns for name, rows in kept.items())])
        grid = grids.instants(self.begin_ns, end_ns, self.mapping.joint_hz)
        frames = self.frames[:len(grids.instants(self.begin_ns, end_ns, self.mapping.camera_hz))]
        length_s = (len(grid) - 1) / self.mapping.joint_hz
        self.frames = []
        if len(grid) < FIRST_PERIODS or not frames or length_s < self.mapping.episodes.shortest_s - 1e-9:
            self.left_out['shorter than shortest_s'] += len(grid) >= FIRST_PERIODS
            self.unused_s += max(length_s, 0.0)
            return
        frame_grid = grids.instants(self.begin_ns, end_ns, self.mapping.camera_hz)[:len(frames)]
        numbers = {name.removeprefix('sensors.'): rows for name, rows in kept.items() if name.startswith('sensors.')}
        seed = int(self.value) if isinstance(self.value, (int, np.integer)) else self.number
        self.number += 1
        self.ends[why] += 1
        yield grids.build(grid, frame_grid, kept['joint_states'], numbers, frames, self.reward, self.commands, seed, not goes_on), self.begin_ns, why

    def _forget(self, at_ns):
        """Begin anew with what there is from at_ns on."""
        self.begin_ns, self.frames = None, []
        self.rows['joint_states'] += self.suspects
        self.suspects = []
        for name, rows in self.rows.items():
            self.rows[name] = [row for row in rows if row[0] >= at_ns]

    def _spare(self, at_ns):
        """Forget what was before at_ns but the last of each, which still holds then."""
        for name, rows in self.rows.items():
            last = max((index for index, row in enumerate(rows) if row[0] <= at_ns), default=0)
            del rows[:last]
        for held in (self.reward, self.commands):
            held.forget(at_ns - HAIR_NS)


def _jumps(before, position_rad, until_ns):
    """Return whether an arm cannot have moved so far since a reading."""
    far_rad = np.abs(position_rad - before[1]).max()
    return far_rad > JUMP_RAD + FASTEST_RAD_S * (until_ns - before[0]) / SECOND_NS
