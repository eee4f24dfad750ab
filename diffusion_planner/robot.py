"""The robot as data: joint names, limits in SI units, control period and kinematic chain."""
import math
from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]
POSITIVE = ('velocity_max_rad_s', 'acceleration_max_rad_s2', 'jerk_max_rad_s3')
PER_JOINT = ('position_min_rad', 'position_max_rad', *POSITIVE, 'home_rad')


@dataclass(frozen=True)
class JointFrame:
    """Origin of one joint in its parent, as in URDF; the joint turns about its own z axis."""

    xyz_m: Vector
    rpy_rad: Vector

    @classmethod
    def of(cls, xyz_m, rotation):
        """Write a pose, xyz_m [3] and rotation [3, 3], as URDF does, without the last digits that arithmetic leaves behind."""
        lean = math.hypot(rotation[0, 0], rotation[1, 0])
        if lean > 1e-9:
            roll, yaw = math.atan2(rotation[2, 1], rotation[2, 2]), math.atan2(rotation[1, 0], rotation[0, 0])
        else:                               # pitched straight up or down, roll and yaw are one
            roll, yaw = math.atan2(-rotation[1, 2], rotation[1, 1]), 0.0
        rpy_rad = roll, math.atan2(-rotation[2, 0], lean), yaw
        return cls(*(tuple(round(float(value), 12) + 0.0 for value in vector) for vector in (xyz_m, rpy_rad)))


@dataclass(frozen=True)
class Robot:
    """An arm of J revolute joints; every per-joint tuple follows the order of `joint_names`."""

    name: str
    joint_names: tuple[str, ...]
    position_min_rad: tuple[float, ...]
    position_max_rad: tuple[float, ...]
    velocity_max_rad_s: tuple[float, ...]
    acceleration_max_rad_s2: tuple[float, ...]
    jerk_max_rad_s3: tuple[float, ...]
    control_period_s: float
    chain: tuple[JointFrame, ...]
    tip: JointFrame
    home_rad: tuple[float, ...]

    def __post_init__(self):
        self._check_joints()
        self._check_numbers()
        for row in zip(self.joint_names, self.position_min_rad, self.position_max_rad, self.home_rad):
            _check_range(*row)
        for limit in POSITIVE:
            for joint, value in zip(self.joint_names, getattr(self, limit)):
                if value <= 0:
                    raise ValueError(f'{joint}: {limit}: got {value}, expected positive limits')
        if self.control_period_s <= 0:
            raise ValueError(f'control_period_s: got {self.control_period_s}, expected a positive period')

    def _check_joints(self):
        """Raise ValueError unless there are joints, each named once, with one value of everything."""
        names, count = list(self.joint_names), len(self.joint_names)
        if not names or not all(names):
            raise ValueError(f'joint_names: got {names}, expected one joint at least, each with a name')
        if len(set(names)) != count:
            raise ValueError(f'joint_names: {names} has duplicates')
        for name in (*PER_JOINT, 'chain'):
            if len(getattr(self, name)) != count:
                raise ValueError(f'{name}: got {len(getattr(self, name))} values, expected {count}, one per joint')

    def _check_numbers(self):
        """Raise ValueError for what is not finite: no comparison would ever catch a NaN."""
        values = [(f'{joint}: {name}', value) for name in PER_JOINT for joint, value in zip(self.joint_names, getattr(self, name))]
        for where, frame in (*((f'{joint}: chain', frame) for joint, frame in zip(self.joint_names, self.chain)), ('tip', self.tip)):
            values += [(f'{where}: {name}', value) for name in ('xyz_m', 'rpy_rad') for value in getattr(frame, name)]
        for where, value in (*values, ('control_period_s', self.control_period_s)):
            if not math.isfinite(value):
                raise ValueError(f'{where}: got {value}, expected a finite number')

    def tip_pose(self, position_rad):
        """Compute the fingertip pose in the base frame by forward kinematics.

        tip_pose(position_rad [..., J]) -> position_m [..., 3], rotation [..., 3, 3]
        """
        position_rad = np.asarray(position_rad, dtype=np.float64)
        rotation = np.broadcast_to(np.eye(3), position_rad.shape[:-1] + (3, 3))
        position_m = np.zeros(position_rad.shape[:-1] + (3,))
        for frame, angle in zip(self.chain, np.moveaxis(position_rad, -1, 0)):
            position_m = position_m + rotation @ np.array(frame.xyz_m)
            rotation = rotation @ rotation_rpy(frame.rpy_rad) @ _rotation_z(angle)
        position_m = position_m + rotation @ np.array(self.tip.xyz_m)
        return position_m, rotation @ rotation_rpy(self.tip.rpy_rad)

    def tip_m(self, position_rad):
        """Compute the fingertip position in the base frame.

        tip_m(position_rad [..., J]) -> position_m [..., 3]
        """
        return self.tip_pose(position_rad)[0]


def _check_range(joint, low_rad, high_rad, home_rad):
    """Raise ValueError for position limits that leave nothing, or that home is not within."""
    if not low_rad < high_rad:
        raise ValueError(f'{joint}: position_min_rad must be below position_max_rad, got {low_rad} and {high_rad}')
    if not low_rad <= home_rad <= high_rad:
        raise ValueError(f'{joint}: home_rad: got {home_rad}, expected {low_rad} to {high_rad}')


def _rotation_z(angle):
    cosine, sine, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    rows = [[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, zero + 1]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def rotation_rpy(rpy_rad):
    """Turn about the fixed x, then y, then z axis, as URDF does: rotation_rpy(rpy_rad [3]) -> rotation [3, 3]"""
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy_rad), np.sin(rpy_rad)
    return np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                     [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                     [-sp, cp * sr, cp * cr]])
