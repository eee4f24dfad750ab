"""What the planner node publishes: chunks to the controller, and to people what was imagined and how it stands."""
import threading

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from diffusion_planner.planning.playback import sample
from diffusion_planner.ros import conversions
from diffusion_planner.ros.diagnostics import State, asked, guidance, to_diagnostics

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def best_effort(depth):
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def publisher(node, kind, topic, qos):
    return node.create_publisher(kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies())


class Plans:
    """The publishers of a configured planner; with `shadow` its chunks go where no controller listens."""

    def __init__(self, node, engine, frame, shadow):
        self.node, self.engine, self.frame = node, engine, frame
        self.trajectory = publisher(node, JointTrajectory, '~/shadow/joint_trajectory' if shadow else 'joint_trajectory', RELIABLE)
        self._plan = publisher(node, String, '~/plan', RELIABLE)
        self._picture = publisher(node, Image, '~/imagined/image', best_effort(1))
        self._path = publisher(node, MarkerArray, '~/imagined/path', best_effort(1))
        self.entities = [self.trajectory, self._plan, self._picture, self._path]

    def send(self, chunk):
        """Publish a chunk. Raises ValueError when it is too late for its first point."""
        self.trajectory.publish(conversions.to_joint_trajectory(chunk, self.engine.robot.joint_names, self.engine.hooks.now_s()))

    def flush(self):
        """Let what was sent get out, before the middleware goes."""
        self.trajectory.wait_for_all_acked(Duration(seconds=0.5))

    def report(self, plan, goal, seed):
        """Show people what was imagined; called from the planning thread, after the chunk is out."""
        chunk = self.engine.cycle.running
        start = plan.position_rad[:1] if chunk is None else sample(chunk, plan.origin_s).position_rad[None]
        points_m = self.engine.robot.tip_m(np.concatenate([start, plan.position_rad]))
        self._plan.publish(conversions.to_json({
            'seed': seed, 'origin_s': plan.origin_s, 'timing_ms': plan.timing_ms, 'breakdown': plan.breakdown,
            'rejected': plan.rejected, 'points_m': points_m, 'arrival_s': float(plan.offset_s[-1]), 'steps': plan.steps, 'level': plan.level,
            'offset_s': plan.offset_s, 'position_rad': plan.position_rad, 'guidance': guidance(plan, goal),
            **({'made_from': made_from.facts()} if (made_from := self.engine.circumstances) else {}),
            **({'objective': asked(plan, goal)} if goal.objective is not None else {})}))
        if self._path.get_subscription_count():
            self._path.publish(conversions.to_path_markers(points_m, plan.origin_s, self.frame))
        if self._picture.get_subscription_count():
            self._picture.publish(conversions.to_image(self.engine.planner.imagined_picture(plan), plan.origin_s, 'imagined'))

    def listeners(self):
        return self.trajectory.get_subscription_count()

    def rivals(self):
        """Name the other publishers on the trajectory topic, by node: -> list of str"""
        ours = self.node.get_fully_qualified_name()
        names = [f'{info.node_namespace.rstrip("/")}/{info.node_name}'
                 for info in self.node.get_publishers_info_by_topic(self.trajectory.topic_name)]
        if ours in names:
            names.remove(ours)      # once: another node of the same name is another node
        return names


class Standing:
    """Status and diagnostics, from the node's first moment on."""

    def __init__(self, node):
        self.node, self.said, self._seen, self.warnings, self._lock = node, None, None, 0, threading.Lock()     # two threads tell
        self._status = publisher(node, String, '~/status', LATCHED)
        self._diagnostics = publisher(node, DiagnosticArray, '/diagnostics', QoSProfile(depth=10))

    def tell(self, state, reason, asked=None):
        """Say how it stands where that is news: -> whether the state has changed since this was last asked

        asked: `warnings` when the caller began to look; all is not well where somebody has warned since then.
        """
        with self._lock:
            if state is State.NOMINAL and asked not in (None, self.warnings):
                return False
            self._say(state, reason)
            before, self._seen = self._seen, state
        if before == state:
            return False
        self.node.get_logger().info(f'{state.value}: {reason}' if reason else state.value)
        return True

    def warn(self, reason):
        """Say that what comes next is doubtful, unless worse is in force or that is said already; `tell` hears of it."""
        with self._lock:
            self.warnings += 1
            state, said = self.said or (State.NOMINAL, '')
            if state in (State.NOMINAL, State.DEGRADED) and reason not in said:
                self._say(State.DEGRADED, f'{said}; {reason}' if said else reason)

    def _say(self, state, reason):
        if self.said != (state, reason):
            self.said = state, reason
            self._status.publish(String(data=f'{state.value}: {reason}' if reason else state.value))

    def diagnose(self, model, facts, alarm=False):
        """Publish diagnostics; `alarm` makes an error of them whatever the state."""
        if self.said is not None:
            self._diagnostics.publish(to_diagnostics(self.node.get_fully_qualified_name(), model, *self.said, facts,
                                                     self.node.get_clock().now().nanoseconds * 1e-9, alarm))
