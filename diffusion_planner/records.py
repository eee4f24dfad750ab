"""What crosses module borders: plain frozen records of numpy arrays in SI units."""
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class JointReading:
    """Joint state at one instant, in the robot's joint order: position_rad [J], velocity_rad_s [J]."""

    stamp_s: float
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray


@dataclass(frozen=True)
class Frame:
    """One picture of one camera: pixels [Y, X, 3], uint8, RGB."""

    stamp_s: float
    camera: str
    pixels: np.ndarray


@dataclass(frozen=True)
class SensorReading:
    """What one further sensor measured at one instant, a wrench say: values [K] in SI units."""

    stamp_s: float
    sensor: str
    values: np.ndarray


@dataclass(frozen=True)
class MotionState:
    """State of a motion reference at one instant: position_rad, velocity_rad_s, acceleration_rad_s2, each [J]."""

    stamp_s: float
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray
    acceleration_rad_s2: np.ndarray


@dataclass(frozen=True)
class Observation:
    """Context for one plan. Row C - 1 is the origin (offset 0), where the new plan takes over.

    offset_s [C], position_rad [C, J], velocity_rad_s [C, J], pictures [C, V, Y, X, 3] uint8,
    picture_stamp_s [C, V], level [C] in [0, 1]: 0 trusted, 1 nothing known at that instant. picture_level [C, V]: the same for each
    picture by its age at its row's instant; None: all are trusted. sensors [C, K]: the readings of all further sensors side by side, in
    the model's order, in SI units; None for models without. sensor_level [C, S]: as picture_level, per sensor.
    """

    origin_s: float
    offset_s: np.ndarray
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray
    pictures: np.ndarray
    picture_stamp_s: np.ndarray
    level: np.ndarray
    picture_level: np.ndarray | None = None
    sensors: np.ndarray | None = None
    sensor_level: np.ndarray | None = None


@dataclass(frozen=True)
class Goal:
    """What to ask of a plan. Scale 0 takes the reward heads out of the plan altogether.

    position_rad [J]: the rewarded position, for models that are told of it instead of reading it off pictures.
    objective: an objectives.spec.Objective that plans must satisfy beside the reward, or None.
    """

    guidance_scale: float = 1.0
    candidates_only: bool = False   # best of N unguided plans: heads choose, no gradient
    position_rad: np.ndarray | None = None
    objective: object | None = None


@dataclass(frozen=True)
class ImaginedPlan:
    """A chosen plan: offset_s [T] > 0 from its origin, position_rad [T, J], velocity_rad_s [T, J], the last being the far token.

    Sliding joints have metres for radians, as in sensor_msgs/JointState. `level` [T] is the noise that a deadline left in each
    token, 0 in a finished plan; `steps` are the sampling steps that each stage took, and the settings that a deadline changed.
    """

    origin_s: float
    offset_s: np.ndarray
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray
    latent: np.ndarray                                # [T, V Z + K], network space: what cameras see and sensors feel
    breakdown: dict = field(default_factory=dict)     # objective name -> value of the chosen plan
    rejected: dict = field(default_factory=dict)      # reason -> number of candidates
    timing_ms: dict = field(default_factory=dict)     # stage -> milliseconds
    level: np.ndarray | None = None
    steps: dict = field(default_factory=dict)


@dataclass(frozen=True)
class ActionChunk:
    """Commands from origin_s on: offset_s [H] strictly increasing, position, velocity, acceleration [H, J]; ends at rest."""

    origin_s: float
    offset_s: np.ndarray
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray
    acceleration_rad_s2: np.ndarray

    @property
    def end_s(self):
        return self.origin_s + float(self.offset_s[-1])


@dataclass(frozen=True)
class Episode:
    """One recorded episode: N joint samples, M pictures of V cameras, and what was rewarded.

    stamp_s [N], position_rad velocity_rad_s command_rad [N, J], reward [N], terminal [N] bool,
    frame_stamp_s [M], pixels [M, V, Y, X, 3] uint8. `privileged` holds what the learner never sees (for probes only);
    `sensors` whatever else was measured at the joint samples, such as a wrench: name -> values [N, K] in SI units.
    """

    seed: int
    stamp_s: np.ndarray
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray
    command_rad: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    frame_stamp_s: np.ndarray
    pixels: np.ndarray
    privileged: dict = field(default_factory=dict)
    sensors: dict = field(default_factory=dict)
