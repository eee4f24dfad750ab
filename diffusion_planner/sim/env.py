"""An arm that follows a trajectory controller, a camera, a task: what stands in for the real thing."""
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from diffusion_planner.records import Frame, JointReading
from diffusion_planner.sim import oddities
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.camera import Camera
from diffusion_planner.sim.controller import TrajectoryController
from diffusion_planner.sim.excess import Excess
from diffusion_planner.sim.task import Touch, reward
from diffusion_planner.sim.world import World
from diffusion_planner.sim.zones import inside

HOLD_SHARE = 0.9     # of the robot's limits: at all of them, rounding alone would break them


@dataclass(frozen=True)
class SimSettings:
    """Rates and limits of the simulation; periods are whole numbers of physics steps."""

    period_s: float = 1 / 240
    frame_every: int = 48
    joint_every: int = 5
    time_limit_s: float = 10.0
    distribution: str = 'jazzy'
    interpolate_from_desired_state: bool = True
    camera: Camera = Camera()


class Instant(NamedTuple):
    """What is known of one instant of an episode: fingertip [3], reward, and the joints as measured [J]."""

    now_s: float
    tip_m: np.ndarray
    reward: float
    position_rad: np.ndarray
    velocity_rad_s: np.ndarray


class ArmEnv:
    """Physics, controller and task of one episode after another. Nothing resets by itself; time never goes back.

    `zones`: regions (see sim.zones) whose entries by the fingertip are counted; may be set at any time.
    `trace`: None, or a list to which step() appends an Instant every `joint_every` steps.
    """

    def __init__(self, settings=None, robot=None, gui=False, zones=()):
        self.settings = settings or SimSettings()
        self.robot = robot or scenes.default_robot()
        self.world = World(self.settings.period_s, gui)
        self.controller = TrajectoryController(self.robot.joint_names, self.settings.period_s,
                                               self.settings.distribution, self.settings.interpolate_from_desired_state)
        self.excess = Excess(self.robot, self.settings.period_s)
        self.steps = 0
        self.scene = self.oddity = self.spoil = self.trace = None
        self.camera, self.zones = self.settings.camera, zones

    @property
    def period_s(self):
        return self.settings.period_s

    @property
    def now_s(self):
        """Simulated seconds since the start of the simulation, resets included."""
        return self.steps * self.settings.period_s

    def reset(self, scene_seed, oddity=None):
        """Begin the episode of a scene, ordinary or with one of sim.oddities: equal arguments give equal episodes.

        Raises ConfigError for an unknown oddity.
        """
        oddities.check(oddity)
        self.world.clear_extras()
        self.camera, self.spoil, self.oddity = self.settings.camera, None, oddity
        self.scene = scenes.draw_scene(self.world, self.robot, scene_seed)
        self.world.set_target(self.scene.target_m)
        self.world.set_joints(self.scene.start_rad)
        self.world.shut_fingers()   # a collision may have forced them open
        oddities.apply(self, oddity, scene_seed)
        self.controller.reset(np.array(self.scene.start_rad))
        self.begun, self.touch = self.steps, Touch()
        self.excess.reset(np.array(self.scene.start_rad))
        self.contacts, self.was_touching, self.violations = 0, False, 0
        self.zone_entries, self.was_outside = 0, False
        if self.trace is not None:
            self.trace.clear()

    def step(self):
        """Advance the physics by one period, following the controller."""
        self.steps += 1
        reference = self.controller.reference(self.now_s, None if self.controller.from_desired else self.joints())
        if np.isfinite(reference).all():      # anything else would stay in PyBullet's physics for good
            self.world.drive(*reference[:2])
        self.world.step()
        measured = self.world.joint_state()
        self.violations += self.excess.outside(reference, measured)
        touching = self.world.touching()
        self.contacts += touching and not self.was_touching
        self.was_touching = touching
        tip_m = self.world.tip_m()
        rewarded = float(reward(tip_m, self.scene.target_m))
        self.touch.update(self.elapsed_s, rewarded > 0)
        within = any(inside(tip_m, zone) for zone in self.zones)
        self.was_outside |= not within     # an arm that begins inside has not entered
        self.zone_entries += within and self.was_outside
        if self.trace is not None and (self.steps - self.begun) % self.settings.joint_every == 0:
            self.trace.append(Instant(self.now_s, tip_m, rewarded, *measured))

    def hold(self):
        """Let the controller stop the arm within its limits and follow nothing until release()."""
        self.controller.hold(HOLD_SHARE * np.array(self.robot.acceleration_max_rad_s2), HOLD_SHARE * np.array(self.robot.jerk_max_rad_s3))

    def release(self):
        """Let the controller follow trajectories again, from the next one on."""
        self.controller.release()

    @property
    def elapsed_s(self):
        return (self.steps - self.begun) * self.settings.period_s

    def reward(self):
        return float(reward(self.world.tip_m(), self.scene.target_m))

    def joints(self):
        """Read the encoders: -> JointReading"""
        return JointReading(self.now_s, *self.world.joint_state())

    def render(self):
        """Take the camera's picture: -> Frame"""
        pixels = self.world.render(self.camera)
        return Frame(self.now_s, self.camera.name, pixels if self.spoil is None else self.spoil(pixels))

    def render_large(self, height_px, width_px):
        """Take a larger picture from the same place, for people, so never darkened: -> pixels [Y, X, 3]"""
        return self.world.render(self.camera, height_px, width_px, shadow=True)

    def project(self, points_m, height_px=None, width_px=None):
        return self.camera.project(points_m, height_px, width_px)

    def camera_info(self):
        camera = self.camera
        return {'width': camera.width_px, 'height': camera.height_px, 'K': camera.intrinsics(), 'frame_id': f'{camera.name}_optical'}

    def episode(self):
        """Report the running episode; `largest` are shares of the robot's limits that the reference came to."""
        done = self.touch.success or self.elapsed_s >= self.settings.time_limit_s - 1e-9
        return {'seed': self.scene.seed, 'success': self.touch.success, 'time_to_target_s': self.touch.time_to_target_s,
                'contacts': int(self.contacts), 'limit_violations': int(self.violations), 'reward': self.reward(),
                'elapsed_s': self.elapsed_s, 'done': bool(done), 'zone_entries': self.zone_entries, 'tip_m': self.world.tip_m().tolist(),
                'largest': self.excess.largest()}

    def close(self):
        self.world.close()
