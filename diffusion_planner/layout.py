"""Which slice of a token is what, and what a model's weights mean.

A token is one instant: joint positions, joint velocities, one latent per camera, the readings of each further sensor.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Slices of a token of width D = 2 J + V Z + K; `sensors` are the (name, size) of those whose numbers add up to K."""

    joints: int
    cameras: int
    latent: int
    sensors: tuple = ()

    @property
    def width(self):
        return self.picture.stop + sum(size for _, size in self.sensors)

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
        return slice(2 * self.joints, 2 * self.joints + self.cameras * self.latent)

    @property
    def sensor(self):
        return slice(self.picture.stop, self.width)

    @property
    def seen(self):
        """Pictures and sensors: all that is not the arm's motion."""
        return slice(2 * self.joints, self.width)

    def picture_of(self, camera):
        """The latent of one camera, by its number."""
        return slice(2 * self.joints + camera * self.latent, 2 * self.joints + (camera + 1) * self.latent)

    def sensor_of(self, number):
        """The readings of one sensor, by its number."""
        start = self.picture.stop + sum(size for _, size in self.sensors[:number])
        return slice(start, start + self.sensors[number][1])


@dataclass(frozen=True)
class ModelConfig:
    """What the weights mean. Lives in the checkpoint and nowhere else."""

    joint_names: tuple[str, ...]
    cameras: tuple[str, ...] = ()
    picture_shape: tuple[int, int, int] = (96, 96, 3)
    context_offset_s: tuple[float, ...] = (-1.2, -0.4, 0.0)
    horizon_s: float = 4.0
    latent: int = 32
    width: int = 144
    depth: int = 4
    heads: int = 4
    familiarity_octaves: int = 0
    transition: bool = False  # whether there is a head that judges steps and arrivals
    transition_width: int = 192
    panel: int = 0            # reward heads that guide beside the first, each trained on other episodes
    genuineness: bool = False  # whether there is a head that tells imagined steps from those of play
    strangeness: bool = False  # whether it is known what pictures of play look like
    goal: str = 'pictures'    # who says what is rewarded: the pictures of the context, or a goal 'position' [J] that is given
    sensors: tuple[tuple[str, int], ...] = ()     # (name, how many numbers) of what is measured beside joints and pictures, in SI units

    def __post_init__(self):
        if self.goal not in ('pictures', 'position') or (self.goal == 'pictures') != bool(self.cameras):
            raise ValueError(f"goal: got {self.goal!r} with cameras {list(self.cameras)}; expected 'pictures' with cameras "
                             "or 'position' without")
        if self.picture_shape != (96, 96, 3):
            raise ValueError(f'picture_shape: got {self.picture_shape}, expected (96, 96, 3), the only size the encoder knows')
        names = ['joint_states', *self.cameras, *(name for name, _ in self.sensors)]
        if len(set(names)) < len(names):
            raise ValueError(f'cameras, sensors: got {names[1:]}, expected names that differ from one another and from joint_states')
        for name, size in self.sensors:
            if size < 1:
                raise ValueError(f'sensors: {name}: got {size} numbers, expected at least 1')

    @property
    def layout(self):
        return Layout(len(self.joint_names), len(self.cameras), self.latent, self.sensors)
