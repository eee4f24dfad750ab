"""From messages at stamps of their own to the even grid of an episode."""
import numpy as np

from diffusion_planner.data.ingest_reward import HAIR_NS, Held
from diffusion_planner.data.ingest_streams import SECOND_NS
from diffusion_planner.records import Episode


def instants(begin_ns, end_ns, rate_hz):
    """List the instants of a grid from begin_ns to end_ns: -> [N] int64 in ns"""
    count = int((end_ns + HAIR_NS - begin_ns) * rate_hz // SECOND_NS) + 1
    return begin_ns + np.round(np.arange(count) * (SECOND_NS / rate_hz)).astype(np.int64)


def interpolated(rows, grid, origin_ns):
    """Interpolate rows of (stamp, values [K]) to a grid: -> [N, K] float64"""
    stamps_s = (np.array([stamp for stamp, *_ in rows], np.int64) - origin_ns) / SECOND_NS
    values = np.array([row[1] for row in rows])
    return np.stack([np.interp((grid - origin_ns) / SECOND_NS, stamps_s, column) for column in values.T], 1)


def with_velocities(rows):
    """Work out the velocities that a driver leaves out, each from the reading before, as the node does: rows of (stamp, position, velocity)"""
    filled, before = [], None
    for stamp, position_rad, velocity_rad_s in rows:
        if not np.isfinite(velocity_rad_s).all():
            moved = before is not None and stamp > before[0]
            velocity_rad_s = (position_rad - before[1]) / ((stamp - before[0]) / SECOND_NS) if moved else np.zeros_like(position_rad)
        filled.append((stamp, velocity_rad_s))
        before = stamp, position_rad
    return filled


class Commands(Held):
    """What the arm was told: trajectories (offset_s [P], position_rad [P, J]), or positions (None, position_rad [J]) good for hold_s."""

    def __init__(self, hold_s):
        super().__init__()
        self.hold_ns, self.missing = hold_s * SECOND_NS, 0

    def sample(self, grid, position_rad):
        """Say what was commanded at each instant; where nobody said, it is the next measured position: -> [N, J]"""
        command_rad = np.concatenate([position_rad[1:], position_rad[-1:]])
        for row, found in enumerate(self.at(grid)):
            told = self._told(*found) if found is not None else None
            if told is not None:
                command_rad[row] = told
            else:
                self.missing += 1
        return command_rad

    def _told(self, age_ns, payload):
        offset_s, position_rad = payload
        if offset_s is None:
            return position_rad if age_ns <= self.hold_ns else None
        if not len(offset_s):
            return None
        return np.array([np.interp(age_ns / SECOND_NS, offset_s, column) for column in position_rad.T])


def build(grid, frame_grid, joints, numbers, frames, reward, commands, seed, ended):
    """Make an Episode: joints rows of (stamp, position, velocity), numbers name -> rows, frames [M] of [V, Y, X, 3]."""
    begin_ns = int(grid[0])
    position_rad = interpolated(joints, grid, begin_ns)
    velocity_rad_s = interpolated(with_velocities(joints), grid, begin_ns)
    command_rad = commands.sample(grid, position_rad)
    terminal = np.zeros(len(grid), bool)
    terminal[-1] = ended
    return Episode(seed, ((grid - begin_ns) / SECOND_NS).astype(np.float32), position_rad.astype(np.float32), velocity_rad_s.astype(np.float32),
                   command_rad.astype(np.float32), reward.sample(grid, position_rad), terminal,
                   ((frame_grid - begin_ns) / SECOND_NS).astype(np.float32), np.stack(frames),
                   sensors={name: interpolated(rows, grid, begin_ns).astype(np.float32) for name, rows in numbers.items()})
