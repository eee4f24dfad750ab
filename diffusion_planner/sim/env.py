"""An arm that follows a trajectory controller, a camera, a task: what stands in for the real thing."""
from dataclasses import dataclass

import numpy as np

from diffusion_planner.records import Frame, JointReading
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.camera import Camera
from diffusion_planner.sim.controller import TrajectoryController
from diffusion_planner.sim.task import Touch, reward
from diffusion_planner.sim.world import World


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


class ArmEnv:
    """Physics, controller and task of one episode after another. Nothing resets by itself; time never goes back."""

    def __init__(self, settings=None, robot=None, gui=False):
        self.settings = settings or SimSettings()
        self.robot = robot or scenes.default_robot()
        self.world = World(self.settings.period_s, gui)
        self.controller = TrajectoryController(self.robot.joint_names, self.settings.period_s,
                                               self.settings.distribution, self.settings.interpolate_from_desired_state)
        self.steps = 0
        self.scene = None

    @property
    def period_s(self):
        return self.settings.period_s

    @property
    def now_s(self):
        """Simulated seconds since the start of the simulation, resets included."""
        return self.steps * self.settings.period_s

    def reset(self, scene_seed):
        """Begin the episode of a scene: equal seeds give equal episodes."""
        self.scene = scenes.draw_scene(self.world, self.robot, scene_seed)
        self.world.set_target(self.scene.target_m)
        self.world.set_joints(self.scene.start_rad)
        self.controller.reset(np.array(self.scene.start_rad))
        self.begun, self.touch = self.steps, Touch()
        self.contacts, self.was_touching, self.violations, self.last_velocity = 0, False, 0, None

    def step(self):
        """Advance the physics by one period, following the controller."""
        self.steps += 1
        position_rad, velocity_rad_s, acceleration_rad_s2 = self.controller.reference(self.now_s)
        self.world.drive(position_rad, velocity_rad_s)
        self.world.step()
        self.violations += self._outside_limits(position_rad, velocity_rad_s, acceleration_rad_s2)
        touching = self.world.touching()
        self.contacts += touching and not self.was_touching
        self.was_touching = touching
        self.touch.update(self.elapsed_s, self.reward() > 0)

    def _outside_limits(self, position_rad, velocity_rad_s, acceleration_rad_s2):
        """Return whether reference or encoders leave the robot's limits in this step.

        The reference counts with its acceleration from step to step, so that jumps of velocity count too.
        """
        robot, tolerance = self.robot, 1e-6
        measured_rad, measured_rad_s = self.world.joint_state()
        # A jump of the reference's velocity between two steps is an acceleration that no spline formula shows.
        jump = 0 if self.last_velocity is None else np.abs(velocity_rad_s - self.last_velocity) / self.period_s
        self.last_velocity = np.array(velocity_rad_s)
        fastest = np.array(robot.velocity_max_rad_s) + tolerance
        return bool(any((
            np.any(measured_rad < robot.position_min_rad), np.any(measured_rad > robot.position_max_rad),
            np.any(position_rad < robot.position_min_rad), np.any(position_rad > robot.position_max_rad),
            np.any(np.abs(velocity_rad_s) > fastest), np.any(np.abs(measured_rad_s) > fastest),
            np.any(np.maximum(np.abs(acceleration_rad_s2), jump) > np.array(robot.acceleration_max_rad_s2) + tolerance))))

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
        return Frame(self.now_s, self.settings.camera.name, self.world.render(self.settings.camera))

    def render_large(self, height_px, width_px):
        """Take a larger picture from the same place, for people: -> pixels [Y, X, 3]"""
        return self.world.render(self.settings.camera, height_px, width_px, shadow=True)

    def project(self, points_m, height_px=None, width_px=None):
        return self.settings.camera.project(points_m, height_px, width_px)

    def camera_info(self):
        camera = self.settings.camera
        return {'width': camera.width_px, 'height': camera.height_px, 'K': camera.intrinsics(), 'frame_id': f'{camera.name}_optical'}

    def episode(self):
        """Report the running episode."""
        done = self.touch.success or self.elapsed_s >= self.settings.time_limit_s - 1e-9
        return {'seed': self.scene.seed, 'success': self.touch.success, 'time_to_target_s': self.touch.time_to_target_s,
                'contacts': int(self.contacts), 'limit_violations': int(self.violations), 'reward': self.reward(),
                'elapsed_s': self.elapsed_s, 'done': bool(done)}

    def close(self):
        self.world.close()
