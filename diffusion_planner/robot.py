"""The robot as data: joint names, limits in SI units, control period and kinematic chain."""
from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class JointFrame:
    """Origin of one joint in its parent, as in URDF; the joint turns about its own z axis."""

    xyz_m: Vector
    rpy_rad: Vector


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
        count = len(self.joint_names)
        if len(set(self.joint_names)) != count:
            raise ValueError(f'joint_names: {list(self.joint_names)} has duplicates')
        for name in ('position_min_rad', 'position_max_rad', 'velocity_max_rad_s', 'acceleration_max_rad_s2',
                     'jerk_max_rad_s3', 'chain', 'home_rad'):
            if len(getattr(self, name)) != count:
                raise ValueError(f'{name}: got {len(getattr(self, name))} values, expected {count}, one per joint')
        if not np.all(np.array(self.position_min_rad) < self.position_max_rad):
            raise ValueError('position_min_rad must be below position_max_rad for every joint')
        for name in ('velocity_max_rad_s', 'acceleration_max_rad_s2', 'jerk_max_rad_s3'):
            if min(getattr(self, name)) <= 0:
                raise ValueError(f'{name}: got {min(getattr(self, name))}, expected positive limits')

    def tip_pose(self, position_rad):
        """Compute the fingertip pose in the base frame by forward kinematics.

        tip_pose(position_rad [..., J]) -> position_m [..., 3], rotation [..., 3, 3]
        """
        position_rad = np.asarray(position_rad, dtype=np.float64)
        rotation = np.broadcast_to(np.eye(3), position_rad.shape[:-1] + (3, 3))
        position_m = np.zeros(position_rad.shape[:-1] + (3,))
        for frame, angle in zip(self.chain, np.moveaxis(position_rad, -1, 0)):
            position_m = position_m + rotation @ np.array(frame.xyz_m)
            rotation = rotation @ _rotation_rpy(frame.rpy_rad) @ _rotation_z(angle)
        position_m = position_m + rotation @ np.array(self.tip.xyz_m)
        return position_m, rotation @ _rotation_rpy(self.tip.rpy_rad)

    def tip_m(self, position_rad):
        """Compute the fingertip position in the base frame.

        tip_m(position_rad [..., J]) -> position_m [..., 3]
        """
        return self.tip_pose(position_rad)[0]


def _rotation_z(angle):
    cosine, sine, zero = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    rows = [[cosine, -sine, zero], [sine, cosine, zero], [zero, zero, zero + 1]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _rotation_rpy(rpy_rad):
    (cr, cp, cy), (sr, sp, sy) = np.cos(rpy_rad), np.sin(rpy_rad)
    return np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                     [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                     [-sp, cp * sr, cp * cr]])
