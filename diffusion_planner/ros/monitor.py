"""The session's own node: hears both nodes, and asks the simulator and the planner for the next episode."""
import json
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TRIGGERS = {'next_episode': 'sim/next_episode', 'stop': 'planner/stop', 'reset': 'planner/reset', 'resume': 'planner/resume'}


class NoAnswer(RuntimeError):
    """A service did not answer in time, or refused."""


class Monitor:
    """What the nodes said last. Nothing here runs in a thread of its own: `turn` lets one message in."""

    def __init__(self, domain, joint_names):
        self.joint_names = tuple(joint_names)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node('session', context=self.context, start_parameter_services=False)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.status, self.reason, self.film_topics, self.total_misses, self.diagnoses = '', '', [], 0, 0
        self.forget()
        self.node.create_subscription(String, 'sim/episode', self._hear_episode, LATCHED)
        self.node.create_subscription(String, 'planner/plan', self._hear_plan, 10)
        self.node.create_subscription(String, 'planner/status', self._hear_status, LATCHED)
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._hear_diagnosis, 10)
        self.triggers = {name: self.node.create_client(Trigger, service) for name, service in TRIGGERS.items()}
        self.parameters = self.node.create_client(SetParameters, 'sim/set_parameters')

    def forget(self, seed=None):
        """Forget what was heard of the last episode, and listen for that of another scene."""
        self.seed, self.episode, self.plans, self.picture, self.imagined = seed, None, [], None, None
        self.position_rad, self.stamp_s, self.begun_s = None, None, None
        self.heard_s, self.misses_before = time.monotonic(), self.total_misses

    @property
    def deadline_misses(self):
        """Plans that came too late in this episode."""
        return self.total_misses - self.misses_before

    @property
    def elapsed_s(self):
        """Simulated seconds since the episode began, by the newest joint state."""
        return 0.0 if None in (self.stamp_s, self.begun_s) else self.stamp_s - self.begun_s

    def turn(self, timeout_s=0.05):
        """Handle at most one message or answer."""
        self.executor.spin_once(timeout_sec=timeout_s)

    def ready(self):
        """Return whether every service of both nodes is there."""
        return all(client.service_is_ready() for client in (self.parameters, *self.triggers.values()))

    def watch_film(self, wanted):
        """Subscribe to what a film needs, or stop it: pictures that nobody wants cost the planner time."""
        if wanted and not self.film_topics:
            self.film_topics = [
                self.node.create_subscription(Image, 'camera/image', self._hear_picture, qos_profile_sensor_data),
                self.node.create_subscription(Image, 'planner/imagined/image', self._hear_imagined, qos_profile_sensor_data),
                self.node.create_subscription(JointState, 'joint_states', self._hear_joints, qos_profile_sensor_data)]
        while self.film_topics and not wanted:
            self.node.destroy_subscription(self.film_topics.pop())

    def set_scene(self, seed):
        """Request: set the scene of the simulator's next episode -> future"""
        message = Parameter('scene_seed', value=int(seed)).to_parameter_msg()
        return self.parameters.call_async(SetParameters.Request(parameters=[message]))

    def trigger(self, name):
        """Request: call one of TRIGGERS -> future"""
        return self.triggers[name].call_async(Trigger.Request())

    def _hear_episode(self, message):
        said = mapping(message.data)
        if said.get('seed') == self.seed is not None:
            self.episode, self.heard_s, self.begun_s = said, time.monotonic(), said['now_s'] - said['elapsed_s']

    def _hear_plan(self, message):
        said = mapping(message.data)
        self.plans += [said] if said else []

    def _hear_status(self, message):
        self.status = message.data

    def _hear_diagnosis(self, message):
        for status in message.status:
            facts = {pair.key: pair.value for pair in status.values}
            if status.name.startswith('/planner') and 'deadline_misses' in facts:
                self.total_misses = int(facts['deadline_misses'])
            if status.name.startswith('/planner'):
                self.reason, self.diagnoses = status.message, self.diagnoses + 1

    def _hear_picture(self, message):
        self.picture = pixels(message)

    def _hear_imagined(self, message):
        self.imagined = pixels(message)

    def _hear_joints(self, message):
        where = {name: index for index, name in enumerate(message.name)}
        if all(name in where for name in self.joint_names):
            self.position_rad = np.array([message.position[where[name]] for name in self.joint_names])
            self.stamp_s = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


def answer(name, future):
    """Return a finished request's answer. Raises NoAnswer where it says no."""
    result = future.result()
    said = result.results[0] if hasattr(result, 'results') else result
    if not (said.successful if hasattr(said, 'successful') else said.success):
        raise NoAnswer(f'{name} was refused: {getattr(said, "reason", None) or getattr(said, "message", "")}')
    return result


def pixels(message):
    """Read an rgb8 sensor_msgs/Image of our own nodes: -> [Y, X, 3] uint8, None for another encoding"""
    if message.encoding != 'rgb8':
        return None
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    return rows[:, :3 * message.width].reshape(message.height, message.width, 3).copy()


def mapping(text):
    """Read a JSON object, or an empty one where it is none: one bad message must not end a session."""
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
