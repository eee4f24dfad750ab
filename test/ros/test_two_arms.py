"""Two planners in namespaces of their own on one simulator: each moves its own arm, and the end of one is nothing to the other."""
import json
import signal

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rigs import AIRY, AT_REST_RAD_S, AUTOSTART, RESTING, stamp_s
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
SIDES = ('left', 'right')


class Side:
    """One arm, its planner, and what both say since `forget`."""

    def __init__(self, bench, name):
        self.see, self.name = bench.observer, name
        self.planner = bench.start('swing', *AUTOSTART, namespace=name)
        self.status, self.joints, self.trajectories, self.episode = '', [], [], {}
        self.see.create_subscription(String, f'{name}/planner/status', self._hear_status, LATCHED)
        self.see.create_subscription(String, f'{name}/sim/episode', self._hear_episode, LATCHED)
        self.see.create_subscription(JointState, f'{name}/joint_states', self.joints.append, BEST_EFFORT)
        self.see.create_subscription(JointTrajectory, f'{name}/joint_trajectory', self.trajectories.append, 10)

    def _hear_status(self, message):
        self.status = message.data

    def _hear_episode(self, message):
        self.episode = json.loads(message.data)

    def wait_planning(self):
        """Wait for three more trajectories and for the arm to follow them."""
        self.forget()
        self.see.wait(lambda: len(self.trajectories) >= 3 and self.moved_rad() > 0.2, 30)

    def forget(self):
        self.joints.clear()
        self.trajectories.clear()

    def moved_rad(self):
        return np.ptp([message.position for message in self.joints], axis=0).max() if self.joints else 0.0

    def wait_resting(self):
        self.see.wait(lambda: len(self.joints) >= RESTING and max(np.abs(message.velocity).max() for message in self.joints[-RESTING:]) < AT_REST_RAD_S)

    def check(self):
        at_s = stamp_s(self.joints[-1])
        self.see.wait(lambda: self.episode['now_s'] > at_s)
        assert self.episode['limit_violations'] == 0 and self.episode['rejected'] == {}


@pytest.fixture(scope='module')
def sides(module_bench):
    module_bench.start('sim', f'scene_seed:={AIRY}', 'namespaces:=left,right')
    made = [Side(module_bench, name) for name in SIDES]
    for side in made:
        side.see.wait(lambda: side.status == 'NOMINAL', 60)
    yield made
    for side in made:
        side.check()


def publishers(see, topic):
    return [f'{info.node_namespace}/{info.node_name}' for info in see.get_publishers_info_by_topic(topic)]


def test_both_plan_at_once_each_for_its_own_arm(sides):
    for side in sides:
        side.wait_planning()
        side.check()
    left, right = sides
    assert left.episode['seed'] == AIRY and right.episode['seed'] == AIRY + 1
    assert left.joints[-1].position != right.joints[-1].position
    for side in sides:
        assert publishers(side.see, f'/{side.name}/joint_trajectory') == [f'/{side.name}/planner']
        start_rad, around = np.array(side.trajectories[-1].points[0].positions), [np.array(message.position) for message in side.joints]
        assert min(np.abs(start_rad - position_rad).max() for position_rad in around) < 0.1      # on its own arm's path
    assert publishers(left.see, '/joint_trajectory') == [] and publishers(left.see, '/clock') == ['//sim']


def test_stopping_one_leaves_the_other_in_motion(sides):
    left, right = sides
    assert left.see.call('left/planner/stop').success
    left.see.wait(lambda: left.status.startswith('BRAKING'))
    right.wait_planning()
    left.forget()
    left.wait_resting()
    right.wait_planning()
    assert left.trajectories == [] and left.moved_rad() < 0.01 and right.status == 'NOMINAL'
    left.see.call('left/planner/resume')
    left.wait_planning()


def test_killing_one_leaves_the_other_in_motion(sides):
    left, right = sides
    right.wait_planning()
    right.planner.send_signal(signal.SIGKILL)
    right.planner.wait(5)
    left.wait_planning()
    right.forget()
    right.wait_resting()
    left.wait_planning()
    assert right.trajectories == [] and left.status == 'NOMINAL'
