"""One arm of the simulator node: its topics, its episodes, its controller, and what is wrong with them."""
import time
from dataclasses import replace

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float32, String, UInt32
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker

from diffusion_planner.ros import conversions
from diffusion_planner.sim.faults import Faults
from diffusion_planner.sim.task import REWARD_RADIUS_M

EPISODE_PERIOD_S = 0.5
BASE_FRAME = 'panda_link0'
REASONS = 30              # kept apart in an episode; they carry numbers, so a bad planner could think of new ones for hours
FURTHER = 'further reasons'
REFUSED = 'injected: the controller refuses every trajectory'


def best_effort(depth):
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


class SimArm:
    """An ArmEnv on topics below `namespace` ('': those of the node). The node says when time passes, and what time it is said to be."""

    def __init__(self, node, env, namespace, number):
        self.node, self.env, self.number = node, env, number
        self.faults = Faults((node.values['inject_seed'], number), node.clock)
        self._subscription, self._wanted_seed = None, node.values['scene_seed'] + number
        self._topic, self._own = (f'{namespace}/', f'{namespace}/{node.get_name()}/') if namespace else ('', '~/')
        self._make_publishers(node)
        node.create_service(Trigger, f'{self._own}next_episode', self._next_episode)
        if node.values['inject']:
            node.create_subscription(String, f'{self._own}inject', self._inject, 10)
        self._connect()
        self.begin_episode()

    def _make_publishers(self, node):
        image = node.create_publisher(Image, f'{self._topic}camera/image', best_effort(1))
        info = node.create_publisher(CameraInfo, f'{self._topic}camera/camera_info', best_effort(1))
        joints = node.create_publisher(JointState, f'{self._topic}joint_states', best_effort(10))
        self._publishers = {'camera': (image, info), 'joint_states': (joints,)}
        # What nobody plans with, and whoever records wants: the reward, which scene it is, and where it rewards.
        self._told = {name: node.create_publisher(kind, f'{self._topic}{name}', QoSProfile(depth=10))
                      for name, kind in (('reward', Float32), ('episode', UInt32), ('target', Marker))}
        self._view = node.create_publisher(Image, f'{self._own}view', best_effort(1))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._episode_out = node.create_publisher(String, f'{self._own}episode', latched)

    # -- episodes

    def want_seed(self, seed):
        """Set the seed of the next episode, by that of the first arm."""
        self._wanted_seed = seed + self.number

    def begin_episode(self):
        """Begin the next scene: that of the parameter scene_seed if it was set since, else the one after the last: -> seed"""
        seed = self.env.episode()['seed'] + 1 if self._wanted_seed is None else self._wanted_seed
        self._wanted_seed = None
        self.env.reset(seed, self.node.oddity or None)
        self._begun, self._accepted, self._rejected, self._said_done = self.env.steps, 0, {}, False
        self._trajectory_s = self.env.now_s - self.node.values['lock_step_period_s']   # one is due at once
        self._waiting_since, self._timeouts = None, 0
        self.faults.streams['controller'].begin_anew(self.env.now_s)    # no trajectory of the last scene in this one
        self._observe()
        self.tell()
        return seed

    def _next_episode(self, _request, response):
        response.success, response.message = True, f'scene {self.begin_episode()}'
        self.node.align()
        return response

    def tell(self):
        """Report the episode."""
        self._told_s = self.env.now_s
        faults = {'faults': self.faults.in_force(), 'injected': self.faults.injected} if self.node.values['inject'] else {}
        self._episode_out.publish(conversions.to_json({
            **self.env.episode(), 'now_s': self.env.now_s, 'trajectories': self._accepted, 'rejected': self._rejected,
            'lock_step_timeouts': self._timeouts, **faults}))

    # -- the controller

    def _connect(self):
        """Subscribe to trajectories, or stop it, as the controller's fault wants; and let the controller follow them, or not."""
        fault = self.faults.streams['controller'].fault
        if fault == 'off' and self._subscription is not None:
            self.node.destroy_subscription(self._subscription)
            self._subscription = None
        if fault != 'off' and self._subscription is None:
            self._subscription = self.node.create_subscription(JointTrajectory, f'{self._topic}joint_trajectory', self._take,
                                                               QoSProfile(depth=1))
        if fault in ('off', 'stuck'):
            self.env.hold()
        else:
            self.env.release()

    def _take(self, message):
        self._trajectory_s = self.env.now_s
        self._follow(self.faults['controller'].take(message, self.env.now_s))

    def _follow(self, messages):
        for message in messages:
            refused = self.faults.streams['controller'].fault == 'garbage'
            reasons = [REFUSED] if refused else self.env.controller.accept(message, self.env.now_s)
            self._accepted += not reasons
            for reason in reasons:
                kept = reason if reason in self._rejected or len(self._rejected) < REASONS else FURTHER
                self._rejected[kept] = self._rejected.get(kept, 0) + 1
                self.node.get_logger().warning(f'trajectory rejected: {reason}')

    # -- faults

    def _inject(self, message):
        try:
            self.faults.order(message.data, self.env.now_s)
        except ValueError as error:
            self.node.get_logger().warning(str(error))
            return
        self._connect()
        self.node.tell()    # everybody: the clock is everybody's

    # -- time

    def advance(self, steps):
        """Let simulated time pass."""
        for _ in range(steps):
            self.env.step()
            self._observe()

    def tell_if_due(self):
        """Report the episode twice a second and as soon as it is done."""
        done = self.env.episode()['done']
        if self.env.now_s - self._told_s >= EPISODE_PERIOD_S - 1e-9 or done and not self._said_done:
            self.tell()
        self._said_done = done

    def is_waiting(self):
        """Return whether a trajectory is due; nobody waits longer than lock_step_timeout_s for one."""
        now_s, values = time.monotonic(), self.node.values
        if self.env.now_s - self._trajectory_s < values['lock_step_period_s'] - 1e-9:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now_s
        if now_s - self._waiting_since > values['lock_step_timeout_s']:
            self.node.get_logger().warning(f'no trajectory within {values["lock_step_timeout_s"]:g} s, going on without')
            self._trajectory_s, self._waiting_since, self._timeouts = self.env.now_s, None, self._timeouts + 1
            return False
        return True

    # -- sensors

    def _observe(self):
        """Publish what is due at this physics step, and what a fault kept back until now."""
        steps, settings, now_s = self.env.steps - self._begun, self.env.settings, self.env.now_s
        if steps % settings.joint_every == 0:
            # Without a stamp, it is dated by what comes around it, and must not seem late.
            self._told['reward'].publish(Float32(data=self.env.reward()))
            self._publish('joint_states', self.faults['joint_states'].take(self._joint_state(), now_s))
        if steps % settings.frame_every == 0:
            self._last_picture = self._picture()
            self._publish('camera', self.faults['camera'].take(self._last_picture, now_s))
            self._told['episode'].publish(UInt32(data=self.env.scene.seed))
            self._told['target'].publish(conversions.to_ball(self.env.scene.target_m, REWARD_RADIUS_M, self.node.said(now_s), BASE_FRAME))
            if self._view.get_subscription_count():
                self._show()
        for part in self._publishers:
            self._publish(part, self.faults[part].due(now_s))
        self._follow(self.faults['controller'].due(now_s))

    def _publish(self, part, items):
        for item in items:
            for publisher, message in zip(self._publishers[part], item):
                publisher.publish(message)

    def _joint_state(self):
        reading = self.env.joints()
        return (conversions.to_joint_state(replace(reading, stamp_s=self.node.said(reading.stamp_s)), self.env.robot.joint_names),)

    def _picture(self):
        frame, info = self.env.render(), self.env.camera_info()
        stamp_s = self.node.said(frame.stamp_s)
        return conversions.to_image(frame.pixels, stamp_s, info['frame_id']), conversions.to_camera_info(info, stamp_s)

    def _show(self):
        size_px = self.node.values['view_height_px']
        pixels = np.asarray(self.env.render_large(size_px, size_px))
        self._view.publish(conversions.to_image(pixels, self.node.said(self.env.now_s), self.env.camera_info()['frame_id']))

    def repeat(self):
        """Say again what a planner that has just begun, or begun anew, has missed."""
        for part, item in (('joint_states', self._joint_state()), ('camera', self._last_picture)):
            self._publish(part, self.faults[part].again(item, self.env.now_s))

    def stop(self):
        self.env.close()
