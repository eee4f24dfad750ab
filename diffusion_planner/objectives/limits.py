"""Limits on a motion: places to keep out of, distance to joint limits, slowness near people. At least 0 where kept.

All take motions of P plans and give [P], the least over the motion's points; with a temperature the soft least.
"""
import torch

from diffusion_planner.objectives.motion import least
from diffusion_planner.objectives.written import Person, Zone, check_numbers

__all__ = ['Person', 'Zone', 'check_numbers', 'clearance', 'joint_margins', 'keep_out', 'slow_near']

NO_DIRECTION_M = 1e-6     # this near to the centre of a sphere there is no way out but an arbitrary one: up


def keep_out(motion, zone, temperature=None):
    """Measure how far the fingertip stays from a zone, beyond the zone's margin; negative inside.

    keep_out(motion) -> m [P]; inside, the gradient points out through the nearest face
    """
    return least(clearance(motion, zone), 1, temperature)


def clearance(motion, zone):
    """Measure the same at every point of a motion: -> m [P, T]"""
    signed = _box_m if zone.radius_m is None else _sphere_m
    return signed(motion.tip_m, zone) - zone.margin_m


def joint_margins(motion, robot, margin_rad, temperature=None):
    """Measure how far the joints stay from their position limits, beyond a wanted margin.

    joint_margins(motion, margin_rad [J]) -> rad [P]; a margin of -inf leaves a joint out
    """
    position_rad = motion.position_rad
    low_rad, high_rad, wanted_rad = [position_rad.new_tensor(tuple(values))
                                     for values in (robot.position_min_rad, robot.position_max_rad, margin_rad)]
    inside_rad = torch.minimum(position_rad - low_rad, high_rad - position_rad)
    return least((inside_rad - wanted_rad).flatten(1), 1, temperature)


def slow_near(motion, person, temperature=None):
    """Measure by how much the fingertip stays below the speed allowed near a person; where it is not near, it counts as still.

    slow_near(motion) -> m/s [P], the allowed speed itself if never near

    The temperature is also the width in m of the soft edge of what is near, so that leaving has a gradient beside slowing down.
    """
    depth_m = -_sphere_m(motion.tip_m, person)
    near = (depth_m >= 0).to(depth_m) if temperature is None else torch.sigmoid(depth_m / temperature)
    return least(person.speed_m_s - near * motion.tip_speed_m_s, 1, temperature)


def _sphere_m(tip_m, sphere):
    """Signed distance to a sphere: tip_m [..., 3] -> [...]"""
    away_m = tip_m - tip_m.new_tensor(sphere.centre_m)
    lost = torch.linalg.vector_norm(away_m.detach(), dim=-1, keepdim=True) < NO_DIRECTION_M
    away_m = away_m + lost * tip_m.new_tensor((0.0, 0.0, NO_DIRECTION_M))
    return torch.linalg.vector_norm(away_m, dim=-1) - sphere.radius_m


def _box_m(tip_m, box):
    """Signed distance to a box: tip_m [..., 3] -> [...]"""
    away_m = tip_m - tip_m.new_tensor(box.centre_m)
    # abs() without its flat spot: at the very centre too there is a way out.
    beyond_m = torch.where(away_m >= 0, away_m, -away_m) - tip_m.new_tensor(box.half_m)
    return torch.linalg.vector_norm(beyond_m.clamp(min=0), dim=-1) + beyond_m.amax(-1).clamp(max=0)
