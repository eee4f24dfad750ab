"""A fixed pinhole camera: where it stands, and where points in the world fall on its picture."""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with square pixels, looking from `eye_m` at `look_at_m` in the robot's base frame."""

    name: str = 'camera'
    eye_m: tuple[float, float, float] = (1.30, 0.0, 1.05)
    look_at_m: tuple[float, float, float] = (0.42, 0.0, 0.08)
    fov_deg: float = 44.0
    height_px: int = 96
    width_px: int = 96

    def focal_px(self, height_px):
        """Return the focal length in pixels of a picture `height_px` rows high."""
        return height_px / 2 / np.tan(np.radians(self.fov_deg) / 2)

    def project(self, points_m, height_px=None, width_px=None):
        """Project points of the base frame onto the picture.

        project(points_m [N, 3]) -> pixels [N, 2] as (x, y); outside the picture where the point is.
        """
        height_px, width_px = height_px or self.height_px, width_px or self.width_px
        forward = np.subtract(self.look_at_m, self.eye_m)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        down = np.cross(forward, right)
        ray = np.asarray(points_m, float) - self.eye_m
        plane = ray @ np.stack([right, down], -1) / np.maximum(ray @ forward, 1e-6)[:, None]
        return plane * self.focal_px(height_px) + (width_px / 2, height_px / 2)

    def intrinsics(self):
        """Return the camera matrix K of sensor_msgs/CameraInfo, row by row [9]."""
        focal = float(self.focal_px(self.height_px))
        return [focal, 0.0, self.width_px / 2, 0.0, focal, self.height_px / 2, 0.0, 0.0, 1.0]
