"""The simulated arm as a node: camera, joints and /clock out, joint trajectories in."""
import os
import sys
import time

import numpy as np
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from diffusion_planner import config
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions, parameters
from diffusion_planner.ros.spin import run_node
from diffusion_planner.ros.wishes import locate, read_zones
from diffusion_planner.sim.env import ArmEnv, SimSettings

TICK_STEPS = 2            # physics steps between messages on /clock: 120 Hz
FASTEST_TICK_S = 0.001    # a timer without a pause would take a core just to wait
EPISODE_PERIOD_S = 0.5
REPEAT_S = 0.05           # while waiting in lock-step, say where everything stands this often (steady clock)
BEHIND_S = 0.1            # farther behind the wall clock than this, the simulation lets the time go


def best_effort(depth):
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


class SimNode(Node):
    """Everything runs in the executor's thread: a steady timer advances the physics, callbacks come in between."""

    def __init__(self, env=None):
        super().__init__('sim')
        parameters.declare(self, parameters.SIM, self._change)
        self.over, self.values = False, parameters.values(self, parameters.SIM)
        self._require_sense()
        self._wanted_seed, self._oddity = None, self.values['oddity']
        self.env = env or self._make_env()
        self._image = self.create_publisher(Image, 'camera/image', best_effort(1))
        self._info = self.create_publisher(CameraInfo, 'camera/camera_info', best_effort(1))
        self._joints = self.create_publisher(JointState, 'joint_states', best_effort(10))
        self._view = self.create_publisher(Image, '~/view', best_effort(1))
        self._clock_out = self.create_publisher(Clock, '/clock', best_effort(1))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._episode_out = self.create_publisher(String, '~/episode', latched)
        self.create_subscription(JointTrajectory, 'joint_trajectory', self._take, QoSProfile(depth=1))
        self.create_service(Trigger, '~/next_episode', self._next_episode)
        self._begin_episode(self.values['scene_seed'])
        factor = self.values['real_time_factor']
        period_s = TICK_STEPS * self.env.period_s / factor if factor else FASTEST_TICK_S
        self.create_timer(period_s, self._tick, clock=RosClock(clock_type=ClockType.STEADY_TIME))

    def _require_sense(self):
        if self.values['gui'] and sys.platform == 'linux' and not os.environ.get('DISPLAY'):
            raise config.ConfigError('parameter gui: got true, but DISPLAY is not set; expected a running X display')
        if self.values['real_time_factor'] == 0 and not self.values['lock_step']:
            raise config.ConfigError('parameter real_time_factor: got 0, expected above 0 unless lock_step is true')

    def _make_env(self):
        settings = SimSettings(distribution=self.values['distribution'],
                               interpolate_from_desired_state=self.values['interpolate_from_desired_state'])
        robot = config.load(Robot, locate(self.values['robot']))
        return ArmEnv(settings, robot, self.values['gui'], read_zones(self.values['objective'], robot))

    # -- episodes

    def _begin_episode(self, seed):
        self.env.reset(seed, self._oddity or None)
        self._begun, self._accepted, self._rejected, self._said_done = self.env.steps, 0, {}, False
        self._trajectory_s = self.env.now_s - self.values['lock_step_period_s']   # one is due at once
        self._waiting_since, self._timeouts = None, 0
        self._align()
        self._observe()
        self._tell_episode()

    def _align(self):
        """Let simulated time count from the wall clock's now."""
        self._wall_s, self._sim_s = time.monotonic(), self.env.now_s

    def _next_episode(self, _request, response):
        """Begin the next scene: that of the parameter scene_seed if it was set since, else the one after the last."""
        seed = self.env.episode()['seed'] + 1 if self._wanted_seed is None else self._wanted_seed
        self._wanted_seed = None
        self._begin_episode(seed)
        response.success, response.message = True, f'scene {seed}'
        return response

    def _change(self, changes):
        self._wanted_seed = changes.get('scene_seed', self._wanted_seed)
        self._oddity = changes.get('oddity', self._oddity)   # unlike the seed it stays until it is set again

    def _tell_episode(self):
        self._episode_s = self.env.now_s
        self._episode_out.publish(conversions.to_json({
            **self.env.episode(), 'now_s': self.env.now_s, 'trajectories': self._accepted, 'rejected': self._rejected,
            'lock_step_timeouts': self._timeouts}))

    # -- the controller

    def _take(self, message):
        reasons = self.env.controller.accept(message, self.env.now_s)
        self._trajectory_s = self.env.now_s
        if not reasons:
            self._accepted += 1
        for reason in reasons:
            self._rejected[reason] = self._rejected.get(reason, 0) + 1
            self.get_logger().warning(f'trajectory rejected: {reason}')

    # -- time

    def _tick(self):
        """Advance as far as the wall clock, or in lock-step as far as the last trajectory, allows."""
        if self.values['lock_step'] and self._is_waiting():
            self._align()
            return
        factor = self.values['real_time_factor']
        if factor == 0:
            self._advance()
            return
        behind_s = (time.monotonic() - self._wall_s) * factor - (self.env.now_s - self._sim_s)
        if behind_s > BEHIND_S:
            self.get_logger().warning(f'{behind_s:.2f} s behind real time', throttle_duration_sec=5.0)
            self._align()
        period_s = TICK_STEPS * self.env.period_s
        for _ in range(min(int(behind_s / period_s), int(BEHIND_S / period_s))):
            self._advance()

    def _advance(self):
        for _ in range(TICK_STEPS):
            self.env.step()
            self._observe()
        self._clock_out.publish(conversions.to_clock(self.env.now_s))
        done = self.env.episode()['done']
        if self.env.now_s - self._episode_s >= EPISODE_PERIOD_S - 1e-9 or done and not self._said_done:
            self._tell_episode()
        self._said_done = done

    def _is_waiting(self):
        """Return whether a trajectory is due; nobody waits longer than lock_step_timeout_s for one."""
        now_s = time.monotonic()
        if self.env.now_s - self._trajectory_s < self.values['lock_step_period_s'] - 1e-9:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = self._repeated_s = now_s
        if now_s - self._waiting_since > self.values['lock_step_timeout_s']:
            self.get_logger().warning(f'no trajectory within {self.values["lock_step_timeout_s"]:g} s, going on without')
            self._trajectory_s, self._waiting_since, self._timeouts = self.env.now_s, None, self._timeouts + 1
            return False
        if now_s - self._repeated_s >= REPEAT_S:
            self._repeated_s = now_s
            self._repeat()
        return True

    # -- sensors

    def _observe(self):
        """Publish what is due at this physics step."""
        steps, settings = self.env.steps - self._begun, self.env.settings
        if steps % settings.joint_every == 0:
            self._joints.publish(conversions.to_joint_state(self.env.joints(), self.env.robot.joint_names))
        if steps % settings.frame_every == 0:
            frame, info = self.env.render(), self.env.camera_info()
            self._last_image = conversions.to_image(frame.pixels, frame.stamp_s, info['frame_id'])
            self._image.publish(self._last_image)
            self._info.publish(conversions.to_camera_info(info, frame.stamp_s))
            if self._view.get_subscription_count():
                self._show(info['frame_id'])

    def _show(self, frame_id):
        size_px = self.values['view_height_px']
        self._view.publish(conversions.to_image(np.asarray(self.env.render_large(size_px, size_px)), self.env.now_s, frame_id))

    def _repeat(self):
        """Say again what a planner that has just begun, or begun anew, has missed."""
        self._clock_out.publish(conversions.to_clock(self.env.now_s))
        self._joints.publish(conversions.to_joint_state(self.env.joints(), self.env.robot.joint_names))
        self._image.publish(self._last_image)

    def stop(self):
        self.env.close()


def main(arguments=None):
    return run_node(SimNode, arguments)


if __name__ == '__main__':
    sys.exit(main())
