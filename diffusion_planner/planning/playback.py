"""What a running chunk commands at an instant."""
import numpy as np

from diffusion_planner.records import MotionState
from diffusion_planner.splines import quintic_at


def sample(chunk, now_s):
    """Return the state that a controller executing the chunk has at `now_s`, by the controller's own quintic formula.

    sample(chunk: ActionChunk, now_s) -> MotionState. Before the chunk's origin: its first point. After its end: its last
    position, at rest.
    """
    offset_s = max(now_s - chunk.origin_s, float(chunk.offset_s[0]))
    position, velocity, acceleration = quintic_at(
        chunk.offset_s, chunk.position_rad, chunk.velocity_rad_s, chunk.acceleration_rad_s2, np.array([offset_s]))
    return MotionState(now_s, position[0], velocity[0], acceleration[0])


def positions(chunk, before, at_s):
    """Return where a controller has the arm at instants that executes a chunk after the one before it: at_s [N] -> position_rad [N, J]

    before: ActionChunk, or None where the arm stood at the chunk's first point.
    """
    parts = [quintic_at(part.offset_s, part.position_rad, part.velocity_rad_s, part.acceleration_rad_s2,
                        np.maximum(at_s - part.origin_s, part.offset_s[0]))[0] for part in (chunk, before or chunk)]
    return np.where((at_s >= chunk.origin_s)[:, None], *parts)
