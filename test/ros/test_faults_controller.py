"""Faults of controller and operator, by the rows of the contract: who executes trajectories, who else sends some, who holds the arm."""
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from rigs import SEAM, Pair, seam
from std_msgs.msg import Bool, Float64
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

FAR = 'keep_out:\n  - {name: cellar, centre_m: [0, 0, -9], radius_m: 1.0}'


@pytest.fixture(scope='module')
def module_pair(module_bench):
    made = Pair(module_bench)
    for objective in (FAR, ''):     # loads what a real planner has loaded long before: torch takes a second, and callbacks wait
        made.see.set_parameter('planner', 'objective', objective)
    return made


@pytest.fixture
def pair(module_pair):
    module_pair.begin()
    yield module_pair
    module_pair.end()


def hold_and_go_on(pair, hold, go_on, text):
    """Hold planning in motion, and see that it goes on from where the arm was measured."""
    hold()
    pair.wait(lambda: pair.heard('BRAKING', text))
    pair.wait_resting()
    assert pair.is_silent()
    sent, rest_rad = len(pair.see.trajectories), pair.see.joints[-1].position
    go_on()
    pair.wait_moving()
    first = pair.see.trajectories[sent].points[0]
    assert np.allclose(first.positions, rest_rad, atol=0.02) and not np.any(first.velocities)


def test_row_17_a_controller_that_does_not_follow_is_a_fault(pair):
    pair.inject('controller off')
    pair.wait(lambda: pair.heard('FAULT', '3 trajectories in a row moved nothing: is the controller active, the brake released?'), 40)
    pair.wait_resting()
    assert pair.is_silent()
    pair.inject('none')
    assert pair.is_silent()                             # until the operator says so


def test_row_17_nobody_subscribes_is_said_at_activation_and_after(pair):
    pair.inject('controller off')
    pair.see.destroy_subscription(pair.see.listener)    # or the test itself would be somebody
    pair.wait(lambda: pair.heard('DEGRADED', 'nobody subscribes to the trajectory'))
    pair.change('DEACTIVATE', 'ACTIVATE')
    pair.wait(lambda: 'nobody subscribes to /joint_trajectory yet' in pair.planner.log.read_text())
    pair.see.listener = pair.see.create_subscription(JointTrajectory, 'joint_trajectory', pair.see.trajectories.append, 10)


def test_row_18_a_controller_that_restarts_gets_no_old_chunk(pair):
    pair.see.call('planner/stop')
    pair.wait_resting()
    taken, hand_rad, late = pair.see.episode['trajectories'], pair.hand_rad(), []
    pair.inject('controller off')
    volatile, latched = QoSProfile(depth=10), QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listeners = [pair.see.create_subscription(JointTrajectory, 'joint_trajectory', late.append, qos) for qos in (volatile, latched)]
    pair.inject('none')
    pair.see.spin(1.0)
    assert late == [] and pair.see.episode['trajectories'] == taken and pair.hand_rad() == pytest.approx(hand_rad, abs=0.005)
    pair.see.call('planner/resume')
    pair.wait_moving()
    assert late
    pair.inject('controller off')                       # now in motion: the arm goes on without a jump, see Pair.end
    pair.inject('none')
    pair.wait_trajectories(2)
    for listener in listeners:
        pair.see.destroy_subscription(listener)


def test_row_19_a_second_publisher_is_an_error_in_diagnostics(pair):
    assert pair.see.diagnostics.level == DiagnosticStatus.OK and pair.fact('other trajectory publishers') == 'none'
    rival = pair.see.create_publisher(JointTrajectory, 'joint_trajectory', 1)
    pair.wait(lambda: pair.see.diagnostics.level == DiagnosticStatus.ERROR and pair.fact('other trajectory publishers') == '/observer')
    pair.wait(lambda: pair.heard('DEGRADED', '/observer publishes trajectories too, expected nobody else'))
    pair.see.destroy_publisher(rival)
    pair.wait(lambda: pair.see.diagnostics.level == DiagnosticStatus.OK)


def test_row_20_speed_scaling_of_zero_holds_planning(pair):
    scaling = pair.see.create_publisher(Float64, 'speed_scaling', 1)
    pair.wait(lambda: scaling.get_subscription_count() == 1)

    def stop():
        pair.inject('controller stuck')
        scaling.publish(Float64(data=0.0))

    def go_on():
        pair.inject('none')
        scaling.publish(Float64(data=1.0))
    hold_and_go_on(pair, stop, go_on, 'the speed scaling of the controller is 0')
    pair.see.destroy_publisher(scaling)


def test_row_20_an_operator_holds_planning(pair):
    holder = pair.see.create_publisher(Bool, 'planner/hold', 1)
    pair.wait(lambda: holder.get_subscription_count() == 1)
    hold_and_go_on(pair, lambda: holder.publish(Bool(data=True)), lambda: holder.publish(Bool(data=False)), 'held by ~/hold')
    pair.see.destroy_publisher(holder)


@pytest.mark.parametrize('change, back', [
    (lambda see: see.set_parameter('planner', 'objective', FAR), lambda see: see.set_parameter('planner', 'objective', '')),
    (lambda see: see.set_parameter('planner', 'speed_scale', 0.3), lambda see: see.set_parameter('planner', 'speed_scale', 1.0)),
    (lambda see: see.call('planner/set_guidance', SetBool, SetBool.Request(data=False)),
     lambda see: see.call('planner/set_guidance', SetBool, SetBool.Request(data=True))),
], ids=['objective', 'speed_scale', 'guidance'])
def test_row_27_a_goal_that_changes_in_mid_chunk_leaves_no_seam(pair, change, back):
    for ask in (change, back):
        answer = ask(pair.see)
        assert answer.successful if hasattr(answer, 'successful') else answer.success
        pair.wait_trajectories(3)
    messages = list(pair.see.trajectories)
    assert len(messages) >= 4 and pair.is_undisturbed(), pair.said()
    for old, new in zip(messages, messages[1:]):
        assert np.all(seam(old, new) <= SEAM), seam(old, new)
