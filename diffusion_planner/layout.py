"""Which slice of a token is what. A token is one instant: joint positions, joint velocities, one latent per camera."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Slices of a token of width D = 2 J + V Z."""

    joints: int
    cameras: int
    latent: int

    @property
    def width(self):
        return 2 * self.joints + self.cameras * self.latent

    @property
    def position(self):
        return slice(0, self.joints)

    @property
    def velocity(self):
        return slice(self.joints, 2 * self.joints)

    @property
    def motion(self):
        """Positions and velocities: what the arm controls, and what guidance may move."""
        return slice(0, 2 * self.joints)

    @property
    def picture(self):
        return slice(2 * self.joints, self.width)

    def picture_of(self, camera):
        """The latent of one camera, by its number."""
        return slice(2 * self.joints + camera * self.latent, 2 * self.joints + (camera + 1) * self.latent)
