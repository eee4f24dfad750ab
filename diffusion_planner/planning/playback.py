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
