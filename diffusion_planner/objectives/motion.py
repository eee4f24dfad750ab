"""Motion as objectives see it: where joints and fingertip are, how fast, and when; in torch, so that it has a gradient."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch


class Kinematics:
    """The fingertip of a robot, differentiable; device and dtype follow the inputs."""

    def __init__(self, robot):
        # Turned by an angle about z and then by a joint's rotation R, a point x becomes
        # cos (R diag(1, 1, 0) x) + sin (R spin x) + R diag(0, 0, 1) x: three constant matrices, applied as one.
        spin = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        split = np.diag([1.0, 1.0, 0.0]), spin, np.diag([0.0, 0.0, 1.0])
        turns = [np.concatenate([_rotation(frame.rpy_rad) @ matrix for matrix in split]) for frame in robot.chain]
        origins_m = [[0.0] * 6 + list(frame.xyz_m) for frame in robot.chain]
        self._exact = np.stack(turns), np.array(origins_m)[..., None], np.array(robot.tip.xyz_m)[:, None]
        self._cast = {}

    def tip_m(self, position_rad):
        """Compute the fingertip position in the base frame.

        tip_m(position_rad [..., J]) -> [..., 3]
        """
        return self._carry(position_rad)

    def tip_velocity_m_s(self, position_rad, velocity_rad_s):
        """Differentiate the fingertip position along the joint velocity: the product of Jacobian and velocity.

        tip_velocity_m_s(position_rad [..., J], velocity_rad_s [..., J]) -> [..., 3]
        """
        return self._carry(position_rad, velocity_rad_s)

    def _carry(self, position_rad, velocity_rad_s=None):
        """Carry the tip, or its velocity, from the last joint to the base: inwards, as a point and not as a rotation.

        Coordinates come first inside, [3, N], so that every product runs over neighbouring numbers.
        """
        turns, origins_m, tip_m = self._constants(position_rad)
        angle = position_rad.reshape(-1, len(turns)).T
        cosine, sine = angle.cos(), angle.sin()
        if velocity_rad_s is not None:
            speed, tip_velocity = velocity_rad_s.reshape(-1, len(turns)).T, torch.zeros_like(tip_m)
            onward, back = speed * cosine, -speed * sine
        for joint in range(len(turns) - 1, -1, -1):
            parts = torch.addmm(origins_m[joint], turns[joint], tip_m).view(3, 3, -1)
            if velocity_rad_s is not None:
                tip_velocity = _turn((turns[joint] @ tip_velocity).view(3, 3, -1), cosine[joint], sine[joint])
                tip_velocity = torch.addcmul(torch.addcmul(tip_velocity, parts[0], back[joint]), parts[1], onward[joint])
            tip_m = _turn(parts, cosine[joint], sine[joint])
        return (tip_m if velocity_rad_s is None else tip_velocity).T.reshape(*position_rad.shape[:-1], 3)

    def _constants(self, like):
        key = like.device, like.dtype
        if key not in self._cast:
            with torch.inference_mode(False):     # what is made in that mode can never be part of a gradient
                self._cast[key] = tuple(torch.tensor(value, dtype=like.dtype, device=like.device) for value in self._exact)
        return self._cast[key]


@dataclass(frozen=True, eq=False)
class Motion:
    """Candidate plans: position_rad [P, T, J], velocity_rad_s [P, T, J], offset_s [P, T]; point 0 is the present instant.

    What is computed from them is kept, with its graph: make a new Motion for every gradient.
    """

    position_rad: torch.Tensor
    velocity_rad_s: torch.Tensor
    offset_s: torch.Tensor
    kinematics: Kinematics
    per_stretch: int = 1     # points per stretch between the points it was made from, see dense

    @cached_property
    def tip_m(self):
        """The fingertip in the base frame: [P, T, 3]"""
        return self.kinematics.tip_m(self.position_rad)

    @cached_property
    def tip_speed_m_s(self):
        """The speed of the fingertip: [P, T]

        From the joint velocities, through the Jacobian: exact at every point. A difference between points would be the mean
        of the time between them, which hides a peak, and the last point would have none.
        """
        return torch.linalg.vector_norm(self.kinematics.tip_velocity_m_s(self.position_rad, self.velocity_rad_s), dim=-1)


@dataclass(frozen=True)
class Quantity:
    """A number that a motion has at every point: motion.<attribute>[..., index]"""

    name: str
    unit: str
    attribute: str
    index: int | None = None

    def signal(self, motion, temperature=None):
        values = getattr(motion, self.attribute)
        return values if self.index is None else values[..., self.index]


def quantities(joint_names):
    """List the quantities of a motion by the names that formulas use: -> {name: Quantity}"""
    known = [Quantity(f'tip_{axis}', 'm', 'tip_m', index) for index, axis in enumerate('xyz')]
    known += [Quantity('tip_speed', 'm/s', 'tip_speed_m_s'), Quantity('seconds', 's', 'offset_s')]
    known += [Quantity(name, 'rad', 'position_rad', index) for index, name in enumerate(joint_names)]
    known += [Quantity(f'{name}_speed', 'rad/s', 'velocity_rad_s', index) for index, name in enumerate(joint_names)]
    return {quantity.name: quantity for quantity in known}


def standing(position_rad, kinematics):
    """Make the motion of an arm that stands at one posture.

    standing(position_rad [J]) -> Motion with P = T = 1
    """
    position_rad = torch.as_tensor(np.asarray(position_rad), dtype=torch.float64)[None, None]
    return Motion(position_rad, torch.zeros_like(position_rad), position_rad.new_zeros(1, 1), kinematics)


def dense(motion, count):
    """Put `count` points into each stretch, on the cubic Hermite through its positions and velocities.

    dense(Motion of T points) -> Motion of 1 + (T - 1) count points

    The points are evenly spaced in time and the last of a stretch is its end: no point of the motion is lost.
    """
    share = torch.arange(1, count + 1, dtype=motion.position_rad.dtype, device=motion.position_rad.device) / count
    place, pace = _hermite(share)
    duration_s = motion.offset_s.diff(dim=1)[..., None]
    position, velocity = motion.position_rad, motion.velocity_rad_s
    knots = torch.stack([position[:, :-1], duration_s * velocity[:, :-1],
                         position[:, 1:], duration_s * velocity[:, 1:]], 2)                # [P, T - 1, 4, J]
    offset_s = motion.offset_s[:, :-1, None] + duration_s * share
    # Two points at one instant have no velocity between them that is finite.
    between = pace @ knots / duration_s.clamp(min=1e-9)[..., None]
    return Motion(torch.cat([position[:, :1], (place @ knots).flatten(1, 2)], 1),
                  torch.cat([velocity[:, :1], between.flatten(1, 2)], 1),
                  torch.cat([motion.offset_s[:, :1], offset_s.flatten(1)], 1), motion.kinematics, count)


def least(values, dim=-1, temperature=None):
    """Reduce to the least value; with a temperature to the soft one, which is less by at most temperature * log(count).

    least(values [..., N, ...]) -> [..., ...]; every value has a gradient under a temperature, in the unit of the values
    """
    if temperature is None:
        return values.amin(dim)
    return -temperature * torch.logsumexp(-values / temperature, dim)


def _turn(parts, cosine, sine):
    """Add up the three parts of a turned point: parts [3, 3, N], cosine [N], sine [N] -> [3, N]"""
    along, across, fixed = parts.unbind(0)
    return torch.addcmul(torch.addcmul(fixed, along, cosine), across, sine)


def _hermite(share):
    """Weights of (position, velocity, position, velocity), and their derivatives, at shares of a stretch: -> two of [N, 4]"""
    square, cube = share ** 2, share ** 3
    place = [2 * cube - 3 * square + 1, cube - 2 * square + share, 3 * square - 2 * cube, cube - square]
    pace = [6 * (square - share), 3 * square - 4 * share + 1, 6 * (share - square), 3 * square - 2 * share]
    return torch.stack(place, -1), torch.stack(pace, -1)


def _rotation(rpy_rad):
    """Turn about fixed x, then y, then z, as URDF does: -> [3, 3]"""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy_rad), np.sin(rpy_rad)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
