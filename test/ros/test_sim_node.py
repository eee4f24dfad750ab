"""The simulator node as a process: faults by topic, two arms on one clock, what it refuses at start."""
import json

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from diffusion_planner.messages import MessageError, read_image, read_joint_state
from diffusion_planner.ros.conversions import to_duration
from diffusion_planner.sim.scene import default_robot

ROBOT = default_robot()
AIRY = 36                 # a scene that begins high above the table: turning the hand touches nothing
TURN_S = 1.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


def stamp_s(message):
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


class Arm:
    """What one arm of the node says since `forget`, and what it is told."""

    def __init__(self, observer, namespace=''):
        self.see, prefix = observer, f'{namespace}/' if namespace else ''
        self.images, self.infos, self.joints, self.clock_s, self.episode = [], [], [], [], {}
        observer.create_subscription(Image, f'{prefix}camera/image', self.images.append, BEST_EFFORT)
        observer.create_subscription(CameraInfo, f'{prefix}camera/camera_info', self.infos.append, BEST_EFFORT)
        observer.create_subscription(JointState, f'{prefix}joint_states', self.joints.append, BEST_EFFORT)
        observer.create_subscription(Clock, '/clock', lambda message: self.clock_s.append(message.clock.sec + 1e-9 * message.clock.nanosec),
                                     BEST_EFFORT)
        observer.create_subscription(String, f'{prefix}sim/episode', self._hear, LATCHED)
        self._inject = observer.create_publisher(String, f'{prefix}sim/inject', 10)
        self._trajectory = observer.create_publisher(JointTrajectory, f'{prefix}joint_trajectory', 1)
        self.service = f'{prefix}sim/next_episode'

    def _hear(self, message):
        self.episode = json.loads(message.data)

    def forget(self):
        for heard in (self.images, self.infos, self.joints, self.clock_s):
            heard.clear()

    def ready(self):
        self.see.wait(lambda: self.joints and self.images and self.episode and self.clock_s)

    def order(self, text, in_force):
        """Inject, and wait until the node says what is in force."""
        self.see.wait(lambda: self._inject.get_subscription_count() == 1)
        self._inject.publish(String(data=text))
        self.see.wait(lambda: self.episode['faults'] == in_force)
        self.forget()

    def wait_heard(self, condition, seconds=0.4):
        """Wait until the condition holds of what is heard in so long, and of nothing that was under way before."""
        def heard():
            self.forget()
            self.see.spin(seconds)
            return condition()
        self.see.wait(heard)

    def hand_rad(self):
        self.see.wait(lambda: self.joints)
        return self.joints[-1].position[-1]

    def rest_rad(self):
        """Wait until the arm stands still: -> where the hand is then"""
        self.see.spin(0.2)
        self.see.wait(lambda: self.joints and np.abs(self.joints[-1].velocity).max() < 0.005)
        return self.hand_rad()

    def turn(self, by_rad, seconds=TURN_S):
        """Send a smooth turn of the hand from where it is: -> where it goes"""
        self.see.wait(lambda: self.joints)
        zeros = [0.0] * 7
        goal = np.array(self.joints[-1].position) + by_rad * np.eye(7)[-1]
        self._trajectory.publish(JointTrajectory(joint_names=list(ROBOT.joint_names), points=[JointTrajectoryPoint(
            positions=goal.tolist(), velocities=zeros, accelerations=zeros, time_from_start=to_duration(seconds))]))
        return goal[-1]

    def wait_listening(self, count):
        """Wait until so many simulators subscribe to trajectories, and this publisher knows all who do."""
        def listening():
            names = [info.node_name for info in self.see.get_subscriptions_info_by_topic(self._trajectory.topic_name)]
            return names.count('sim') == count and self._trajectory.get_subscription_count() == len(names)
        self.see.wait(listening)


@pytest.fixture
def arm(bench):
    bench.process = bench.start('sim', f'scene_seed:={AIRY}', 'inject:=true')
    arm = Arm(bench.observer)
    arm.ready()
    arm.wait_listening(1)
    return arm


def test_without_inject_nobody_listens_and_nothing_is_said(bench):
    bench.start('sim')
    arm = Arm(bench.observer)
    arm.ready()
    bench.observer.spin(0.5)
    assert arm._inject.get_subscription_count() == 0
    assert 'faults' not in arm.episode and 'injected' not in arm.episode
    assert set(arm.episode['largest']) == {'velocity', 'acceleration', 'jerk'}


def test_what_is_injected_is_said_and_a_bad_order_changes_nothing(bench, arm):
    assert arm.episode['faults'] == {} and arm.episode['injected'] == 0
    arm.order('camera delayed', {'camera': 'delayed 0.5'})
    arm._inject.publish(String(data='camera exploded'))
    arm.order('joint_states intermittent 0.25', {'camera': 'delayed 0.5', 'joint_states': 'intermittent 0.25'})
    assert arm.episode['injected'] == 2
    warnings = [line for line in bench.process.log.read_text().splitlines() if 'WARN' in line and 'inject' in line]
    assert len(warnings) == 1 and "inject: got 'camera exploded', expected one of the faults of camera: " in warnings[0]
    arm.order('none', {})
    assert arm.episode['injected'] == 2


def test_faults_of_the_camera(arm):
    see, before = arm.see, arm.images[-1]
    arm.order('camera stuck', {'camera': 'stuck'})
    goal = arm.turn(1.0)
    see.wait(lambda: abs(arm.hand_rad() - goal) < 0.01)
    arm.wait_heard(lambda: len(arm.images) >= 3 and {bytes(image.data) for image in arm.images} == {bytes(before.data)}, 1.0)
    assert np.all(np.diff([stamp_s(image) for image in arm.images]) > 0.1)
    arm.order('camera garbage', {'camera': 'garbage'})
    see.wait(lambda: len(arm.images) >= 10 and len(arm.infos) >= 10)
    said, skews = set(), [stamp_s(image) - arm.clock_s[-1] for image in arm.images]
    for image in arm.images:
        try:
            said |= {(frame := read_image(image, 'camera')).pixels.shape, float(frame.pixels.mean())}
        except MessageError as error:
            said.add(str(error).split(':')[0])
    assert said >= {'data', 'step', 'encoding', (48, 96, 3), 0.0, 255.0}
    assert min(skews) < -1 and max(skews) > 5
    arm.order('camera off', {'camera': 'off'})
    arm.wait_heard(lambda: not arm.images and not arm.infos and arm.joints, 0.6)
    arm.order('camera none', {})
    see.wait(lambda: arm.images and arm.infos)


def test_faults_of_the_joint_states(arm):
    arm.order('joint_states garbage', {'joint_states': 'garbage'})
    arm.wait_heard(lambda: len(arm.joints) >= 8 and not any(usable(message, arm.clock_s[-1]) for message in arm.joints))
    arm.order('joint_states shuffled', {'joint_states': 'shuffled'})
    arm.wait_heard(lambda: len(arm.joints) >= 8 and {len(message.name) for message in arm.joints} == {8})
    assert all(usable(message, arm.clock_s[-1]) for message in arm.joints)
    assert len({tuple(message.name) for message in arm.joints}) > 3
    arm.order('joint_states off', {'joint_states': 'off'})
    arm.wait_heard(lambda: not arm.joints and arm.clock_s)
    arm.order('joint_states delayed 2', {'joint_states': 'delayed 2'})
    arm.wait_heard(lambda: arm.joints and all(1.5 < arm.clock_s[-1] - stamp_s(message) < 4.0 for message in arm.joints))


def usable(message, now_s):
    """Whether a reading is of this arm and of now."""
    try:
        reading = read_joint_state(message, ROBOT.joint_names)
        return abs(reading.position_rad).max() < 10 and abs(reading.stamp_s - now_s) < 2
    except MessageError:
        return False


def test_faults_of_the_clock(arm):
    see = arm.see
    see.wait(lambda: arm.clock_s[-1] > 6.0)
    arm.order('clock stuck', {'clock': 'stuck'})
    arm.wait_heard(lambda: len(arm.clock_s) > 5 and len(set(arm.clock_s)) == 1 and stamp_s(arm.joints[-1]) > arm.clock_s[-1] + 0.2)
    arm.order('clock off', {'clock': 'off'})
    arm.wait_heard(lambda: not arm.clock_s and len(arm.joints) > 5)
    arm.order('clock garbage', {'clock': 'garbage'})
    arm.wait_heard(lambda: len(arm.clock_s) > 5 and len(arm.joints) > 5)
    late_s = arm.episode['now_s'] - arm.clock_s[0]
    assert 3.5 < late_s < 6.5 and 3.5 < arm.episode['now_s'] - stamp_s(arm.joints[0]) < 6.5    # by the newest report, twice a second
    assert np.all(np.diff(arm.clock_s) > 0)
    arm.order('clock none', {})
    see.wait(lambda: arm.clock_s and arm.clock_s[-1] > arm.episode['now_s'] - 0.1)


def test_a_controller_that_is_off_leaves_the_arm_where_it_was(arm):
    see = arm.see
    goal = arm.turn(1.0, 3.0)
    see.wait(lambda: abs(arm.joints[-1].velocity[-1]) > 0.3)
    arm.order('controller off', {'controller': 'off'})
    arm.wait_listening(0)
    rest = arm.rest_rad()
    assert abs(rest - goal) > 0.05
    arm.turn(0.5)                     # nobody hears it, then or later
    arm.order('controller none', {})
    arm.wait_listening(1)
    see.spin(1.0)
    assert abs(arm.hand_rad() - rest) < 0.005 and arm.episode['trajectories'] == 1
    goal = arm.turn(-0.3)
    see.wait(lambda: abs(arm.hand_rad() - goal) < 0.01)
    moved_s = stamp_s(arm.joints[-1])
    see.wait(lambda: arm.episode['now_s'] > moved_s)
    assert arm.episode['trajectories'] == 2 and arm.episode['limit_violations'] == 0


def test_a_stuck_controller_takes_trajectories_and_follows_none(arm):
    see = arm.see
    goal = arm.turn(1.0, 3.0)
    see.wait(lambda: abs(arm.joints[-1].velocity[-1]) > 0.3)
    arm.order('controller stuck', {'controller': 'stuck'})
    rest = arm.rest_rad()
    assert abs(rest - goal) > 0.05
    arm.turn(0.5)
    see.wait(lambda: arm.episode['trajectories'] == 2)
    arm.order('none', {})
    see.spin(1.0)
    assert abs(arm.hand_rad() - rest) < 0.005
    goal = arm.turn(0.3)
    see.wait(lambda: abs(arm.hand_rad() - goal) < 0.01 and arm.episode['trajectories'] == 3)
    assert arm.episode['limit_violations'] == 0 and arm.episode['rejected'] == {}


def test_a_controller_that_refuses_loses_or_is_late(arm):
    see, begin = arm.see, arm.hand_rad()
    arm.order('controller garbage', {'controller': 'garbage'})
    arm.turn(0.3)
    see.wait(lambda: arm.episode['rejected'] == {'injected: the controller refuses every trajectory': 1})
    arm.order('controller intermittent 1', {'controller': 'intermittent 1'})
    arm.turn(0.3)
    see.spin(1.0)
    assert arm.hand_rad() == pytest.approx(begin, abs=0.005) and arm.episode['trajectories'] == 0
    arm.order('controller delayed 2', {'controller': 'delayed 2'})
    see.wait(lambda: arm.clock_s)
    sent_s, goal = arm.clock_s[-1], arm.turn(0.3)
    see.wait(lambda: abs(arm.hand_rad() - goal) < 0.01)
    assert arm.clock_s[-1] - sent_s > 2.0 + 0.5 * TURN_S
    see.wait(lambda: arm.episode['trajectories'] == 1)
    assert arm.episode['limit_violations'] == 0


@pytest.fixture
def two(bench):
    bench.process = bench.start('sim', f'scene_seed:={AIRY}', 'inject:=true', 'namespaces:=left,right')
    arms = [Arm(bench.observer, name) for name in ('left', 'right')]
    for arm in arms:
        arm.ready()
        arm.wait_listening(1)
    return arms


def test_two_arms_move_apart_on_one_clock(two):
    (left, right), see = two, two[0].see
    assert [arm.episode['seed'] for arm in two] == [AIRY, AIRY + 1]
    assert see.count_publishers('/clock') == 1 and see.count_publishers('joint_states') == 1     # the observer's own
    assert left.joints[-1].position != right.joints[-1].position
    before, goal = right.hand_rad(), left.turn(0.4)
    see.wait(lambda: abs(left.hand_rad() - goal) < 0.01 and left.episode['trajectories'] == 1)
    assert abs(right.hand_rad() - before) < 0.005 and right.episode['trajectories'] == 0
    left.order('camera off', {'camera': 'off'})
    right.order('clock stuck', {'clock': 'stuck'})
    see.wait(lambda: left.episode['faults'] == {'camera': 'off', 'clock': 'stuck'})       # the clock is everybody's
    left.wait_heard(lambda: not left.images and len(set(left.clock_s)) == 1, 0.6)
    right.wait_heard(lambda: right.images and len(set(right.clock_s)) == 1, 0.6)
    assert see.call(right.service, Trigger).message == f'scene {AIRY + 2}'
    see.wait(lambda: right.episode['seed'] == AIRY + 2)
    assert left.episode['seed'] == AIRY
    assert see.set_parameter('sim', 'scene_seed', 100).successful
    assert [see.call(arm.service, Trigger).message for arm in two] == ['scene 100', 'scene 101']


def test_in_lock_step_each_arm_is_waited_for(bench):
    bench.start('sim', f'scene_seed:={AIRY}', 'namespaces:=left,right', 'inject:=true', 'lock_step:=true', 'lock_step_timeout_s:=60.0')
    (left, right), see = (two := [Arm(bench.observer, name) for name in ('left', 'right')]), bench.observer
    for arm in two:
        arm.ready()
        arm.wait_listening(1)
    for text, in_force in (('clock stuck', {'clock': 'stuck'}), ('none', {})):
        right.order(text, in_force)
        see.wait(lambda: left.episode['faults'] == in_force)        # at once: time stands still
    left.turn(0.1)
    see.wait(lambda: left.episode['now_s'] == 0.0 and len(left.joints) > 20)      # said again and again meanwhile
    assert {stamp_s(message) for arm in two for message in arm.joints} == {0.0}
    right.turn(0.1)
    see.wait(lambda: left.clock_s[-1] == pytest.approx(0.5, abs=0.01))
    left.wait_heard(lambda: left.clock_s and max(left.clock_s) < 0.51)


@pytest.mark.parametrize('text', ['left,,right', 'left,left', '7up', '/left', ','])
def test_bad_namespaces_are_refused_in_one_line(bench, text):
    process = bench.start('sim', f"namespaces:='{text}'")
    assert process.wait(30) == 2
    lines = process.log.read_text().splitlines()
    assert lines == [f'sim_node.py: parameter namespaces: got {text!r}, expected different ROS names with commas between them, as left,right']
