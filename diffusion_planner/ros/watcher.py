"""A node that hears all that simulator and planner say, checks every trajectory, and speaks for operators, rivals and faults."""
import time
from collections import Counter, deque

import numpy as np
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from diffusion_planner.evaluation.stages import Stages
from diffusion_planner.messages import read_stamp
from diffusion_planner.records import ActionChunk
from diffusion_planner.ros.monitor import Monitor, mapping
from diffusion_planner.safety import check_chunk
from diffusion_planner.sim.acceptance import DISTRIBUTIONS, acceptance_errors, nanoseconds

RIVAL = 'rival'           # frame_id of trajectories that are ours: nobody executes it
TEXTS = 30                # kept apart: texts carry numbers
REFUSED_S = 3.5           # a refusal counts as DEGRADED for 3 s: whoever still says so after this is planning
# What a planner that has recovered does not complain of; scenes that are strange or have no safe way stay what they are.
UNFIT = 'stale', 'dropped', 'nothing received', 'publishes trajectories too', 'nobody subscribes', 'waiting for'


class Watcher(Monitor):
    """A Monitor for hours: it keeps counts, not messages. `heard(report)` is called for every report of the simulator."""

    def __init__(self, domain, robot):
        self.robot, self.stages, self.facts = robot, Stages(), {}
        self.sent, self.planned_s, self.chunk = 0, float('-inf'), None         # the planner's trajectories; the newest, its time
        self.refused, self.exceeding = 0, 0                                    # by the contract, of limits
        self.refusals, self.excesses = Counter(), Counter()                    # the same by text
        self.speed_rad_s, self.in_force = 0.0, {}
        self.chunk_sent_ns, self._dates = 0, deque(maxlen=500)                 # system time; (that, the simulator's time) of joint states
        self.report, self.heard, self.faulted = {}, lambda report: None, False
        self.said = deque(maxlen=12)                                           # what the status was, and when
        super().__init__(domain, robot.joint_names)
        node = self.node
        node.create_subscription(JointTrajectory, 'joint_trajectory', self._hear_trajectory, 50)
        node.create_subscription(JointState, 'joint_states', self._hear_motion, qos_profile_sensor_data)
        self.orders = node.create_publisher(String, 'sim/inject', 10)
        self.holds = node.create_publisher(Bool, 'planner/hold', 10)
        self.guidance = node.create_client(SetBool, 'planner/set_guidance')
        self.planner_parameters = node.create_client(SetParameters, 'planner/set_parameters')
        self._rival = None

    def state(self):
        """-> what the planner's status says, without the reason"""
        return self.status.partition(':')[0]

    def is_fit(self, since_s):
        """Return whether the planner plans without complaint but of the scene, by something that came after an instant of the steady clock."""
        complains = self.state() != 'NOMINAL' and (self.state() != 'DEGRADED' or any(word in self.status for word in UNFIT))
        plans = self.planned_s > since_s or 'plan refused' in self.status and time.monotonic() > since_s + REFUSED_S
        return plans and not complains

    def simulated_s(self, sent_ns):
        """Return what the time was in the simulator when something was published, in system time, however late it was heard: -> seconds"""
        sent, stamps_s = zip(*self._dates)
        return float(np.interp((sent_ns - sent[0]) * 1e-9, (np.array(sent) - sent[0]) * 1e-9, stamps_s))

    def order(self, text):
        """Inject a fault into the simulator, or take it back."""
        self.orders.publish(String(data=text))

    def hold(self, wanted):
        self.holds.publish(Bool(data=wanted))

    def set_guidance(self, wanted):
        """Request: -> future"""
        return self.guidance.call_async(SetBool.Request(data=wanted))

    def set_objective(self, text):
        """Request: -> future"""
        message = Parameter('objective', value=text).to_parameter_msg()
        return self.planner_parameters.call_async(SetParameters.Request(parameters=[message]))

    def compete(self, wanted):
        """Be a second publisher on the trajectory topic, with messages that no controller takes, or stop it."""
        if wanted and self._rival is None:
            self._rival = self.node.create_publisher(JointTrajectory, 'joint_trajectory', 1)
        if not wanted and self._rival is not None:
            self.node.destroy_publisher(self._rival)
            self._rival = None
        if wanted:
            message = JointTrajectory(joint_names=list(self.robot.joint_names))
            message.header.frame_id = RIVAL
            self._rival.publish(message)

    def _hear_trajectory(self, message, info):
        if message.header.frame_id == RIVAL:
            return
        self.sent, self.planned_s = self.sent + 1, time.monotonic()
        self.chunk_sent_ns = info['source_timestamp']
        refusals, excesses, self.chunk = inspect(message, self.robot, self.stamp_s or 0.0)
        self.refused, self.exceeding = self.refused + bool(refusals), self.exceeding + bool(excesses)
        for counts, texts in ((self.refusals, refusals), (self.excesses, excesses)):
            counts.update(text if text in counts or len(counts) < TEXTS else 'further reasons' for text in texts)

    def _hear_motion(self, message, info):
        self._hear_joints(message)
        self._dates.append((info['source_timestamp'], read_stamp(message.header.stamp)))
        if len(message.velocity) == len(message.name) > 0:
            self.speed_rad_s = float(np.abs(message.velocity).max())

    def _hear_joints(self, message):
        if len(message.position) == len(message.name):     # the simulator may be told to send others
            super()._hear_joints(message)

    def _hear_episode(self, message):
        super()._hear_episode(message)
        self.report = mapping(message.data) or self.report
        self.in_force = self.report.get('faults', {})
        self.heard(self.report)

    def _hear_plan(self, message):
        self.planned_s = time.monotonic()
        self.stages.note(mapping(message.data).get('timing_ms', {}))

    def _hear_status(self, message):
        super()._hear_status(message)
        self.faulted |= self.state() == 'FAULT'
        self.said.append([time.monotonic(), self.status])

    def _hear_diagnosis(self, message):
        super()._hear_diagnosis(message)
        for status in message.status:
            if status.name.startswith('/planner'):
                self.facts = {pair.key: pair.value for pair in status.values}


def inspect(message, robot, now_s):
    """Look at a published trajectory as the controllers of all distributions do, and as the robot's limits demand.

    inspect(message, robot, now_s) -> why it would be refused, where it leaves the limits, the ActionChunk taken from it or None
    """
    refusals = {f'{error} ({name})' for name in DISTRIBUTIONS for error in acceptance_errors(message, robot.joint_names, now_s, name)}
    chunk = rebuilt(message, now_s)
    if chunk is None or list(message.joint_names) != list(robot.joint_names):
        return sorted(refusals | {'positions, velocities and accelerations of every joint are not all there'}), [], None
    ahead = [] if chunk.offset_s[0] > 0 else [f'first point at {chunk.offset_s[0]:g} s, expected after 0']
    return sorted(refusals) + ahead, check_chunk(chunk, robot), chunk


def rebuilt(message, origin_s):
    """Turn a trajectory back into the chunk that it was made of: -> ActionChunk beginning at origin_s, None where fields are missing"""
    rows = [[getattr(point, name) for point in message.points] for name in ('positions', 'velocities', 'accelerations')]
    if not message.points or any(len(row) != len(message.joint_names) for part in rows for row in part):
        return None
    offset_s = np.array([nanoseconds(point.time_from_start) for point in message.points]) * 1e-9
    return ActionChunk(origin_s, offset_s, *(np.array(part, dtype=np.float64) for part in rows))
