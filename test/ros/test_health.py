"""What makes the engine brake, worry or stop for good, and how it goes on: on a clock that the test moves, without threads."""
from types import SimpleNamespace as Message

import numpy as np
import planners
import pytest
import stepped
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from diffusion_planner.records import JointReading
from diffusion_planner.ros import conversions
from diffusion_planner.ros.diagnostics import State
from diffusion_planner.ros.health import LOST
from diffusion_planner.ros.planner_node import PlannerNode
from diffusion_planner.safety import check_chunk

SCALING, BUTTON = ('speed_scaling', 'the speed scaling of the controller is 0'), ('hold', 'held by ~/hold')


@pytest.fixture
def rig(monkeypatch):
    return lambda kind=planners.Swing, **values: stepped.Rig(monkeypatch, kind, **values).start()


def jump(rig, by_rad=1.0):
    """Show joints that no arm can have gone to."""
    rig.position_rad, rig.velocity_rad_s, rig.follows = rig.position_rad + by_rad * np.eye(7)[6], np.zeros(7), False
    rig.turn(0.1)


@pytest.mark.parametrize('name, reason', [SCALING, BUTTON])
def test_a_hold_brakes_and_planning_goes_on_from_the_measured_joints(rig, name, reason):
    rig = rig()
    rig.turn(1.0)
    assert rig.speed_rad_s() > 0.1
    rig.engine.hold(name, reason)
    assert rig.turn() == (State.BRAKING, reason)
    sent = len(rig.sent)
    rig.turn(2.0)
    assert len(rig.sent) == sent and not rig.speed_rad_s() and check_chunk(rig.sent[-1], stepped.ROBOT) == []
    rig.follows, rig.position_rad = False, rig.position_rad + 0.1          # somebody moves it by hand
    rig.turn(0.1)
    rig.engine.hold(name, '')
    rig.turn(0.1)
    np.testing.assert_allclose(rig.sent[sent].position_rad[0], rig.position_rad)
    assert not rig.sent[sent].velocity_rad_s[0].any()


def test_both_holds_must_end(rig):
    rig = rig()
    rig.turn(0.2)
    for name, reason in (SCALING, BUTTON):
        rig.engine.hold(name, reason)
    assert rig.turn() == (State.BRAKING, f'{SCALING[1]}; {BUTTON[1]}')
    rig.engine.hold(SCALING[0], '')
    assert rig.turn(1.0) == (State.BRAKING, BUTTON[1])
    rig.engine.hold(BUTTON[0], '')
    rig.until(State.NOMINAL, 2.0)


@pytest.mark.parametrize('scaling, held', [(0.0, True), (0.001, True), (float('nan'), True), (0.01, False), (1.0, False), (100.0, False)])
def test_a_speed_scaling_of_nothing_is_a_hold(scaling, held):
    told = []
    PlannerNode._take_scaling(Message(_hold=lambda name, reason: told.append((name, reason))), Float64(data=scaling))
    assert told == [('speed_scaling', SCALING[1] if held else '')]


def test_joints_that_stop_coming_brake_at_once_and_are_waited_for(rig):
    rig = rig(joint_timeout_s=0.3)
    rig.turn(1.0)
    rig.unseen = {'joint_states'}
    assert rig.until(State.BRAKING, 0.34) == 'joint_states: stale'
    rig.turn(1.0)
    assert not rig.speed_rad_s()
    rig.unseen = set()
    rig.until(State.NOMINAL, 1.0)


def test_a_camera_that_stops_is_a_worry_first_and_then_a_brake(rig):
    rig = rig(camera_timeout_s=0.5)
    rig.turn(1.0)
    rig.unseen, began_s = {'camera'}, rig.now_s
    assert rig.until(State.DEGRADED) == 'camera: stale' and rig.now_s - began_s == pytest.approx(0.5, abs=0.05)
    plans = len(rig.reports)
    assert rig.until(State.BRAKING) == 'camera: stale' and rig.now_s - began_s == pytest.approx(1.5, abs=0.05)
    assert len(rig.reports) >= plans + 2                                   # it went on planning until then
    rig.unseen = set()
    rig.until(State.NOMINAL, 2.0)


@pytest.mark.parametrize('required', [True, False])
def test_one_of_two_cameras_may_stop_where_that_is_allowed(rig, required):
    rig = rig(stepped.TwoEyes, camera_timeout_s=0.5, require_all_cameras=required)
    rig.turn(0.5)
    rig.unseen = {'right'}
    assert rig.turn(2.5) == (State.BRAKING if required else State.DEGRADED, 'right: stale')
    rig.unseen = {'left', 'right'}
    assert rig.until(State.BRAKING, 2.5).startswith('left: stale' if not required else 'right: stale')


def test_a_camera_that_never_came_sees_nothing(rig):
    rig = rig(stepped.TwoEyes, camera_timeout_s=0.5, require_all_cameras=False)
    rig.engine.reset()
    rig.engine.inputs.sources['left']._receipts.clear()
    rig.unseen = {'left'}
    assert rig.turn(0.5) == (State.DEGRADED, 'left: nothing received') and rig.reports
    rig.unseen = {'left', 'right'}
    assert rig.until(State.BRAKING, 2.0) == 'right: stale'


def test_an_arm_that_never_moves_is_a_fault_until_a_reset(rig):
    rig = rig()
    rig.follows = False
    assert 'trajectories in a row moved nothing' in rig.until(State.FAULT, 20.0)
    sent = len(rig.sent)
    rig.turn(3.0)
    rig.engine.resume()
    assert rig.turn()[0] is State.FAULT and len(rig.sent) == sent
    rig.follows = True
    rig.engine.reset()
    rig.until(State.NOMINAL, 4.0)
    assert len(rig.sent) > sent


def test_joints_that_jump_on_a_real_arm_brake_it_and_are_a_fault(rig):
    rig = rig()
    rig.turn(1.0)
    running, sent = rig.engine.cycle.running, len(rig.sent)
    jump(rig)
    assert rig.turn() == (State.FAULT, 'joint_states: the joints jumped as no arm can, expected continuous motion')
    assert len(rig.sent) > sent and rig.sent[-1].end_s < running.end_s and check_chunk(rig.sent[-1], stepped.ROBOT) == []
    rig.turn(1.0)
    rig.engine.reset()
    rig.until(State.NOMINAL, 2.0)


@pytest.mark.parametrize('told', [False, True])
def test_joints_that_jump_in_simulation_are_another_episode(rig, told):
    rig = rig(simulated=True)
    rig.turn(0.8)
    sent, over_s = len(rig.sent), rig.sent[-1].end_s
    jump(rig)
    if told:
        rig.engine.reset()
    assert rig.turn(0.3)[0] is (State.NOMINAL if told else State.DEGRADED)
    if not told:       # the controller may still execute the chunk of before
        assert rig.until(State.NOMINAL, 3.0) == '' and rig.now_s >= over_s - 0.02
    np.testing.assert_allclose(rig.sent[sent].position_rad[0], rig.position_rad)
    assert rig.sent[sent].origin_s >= (0.0 if told else over_s)


def test_one_reading_that_jumps_is_nothing(rig):
    rig = rig()
    rig.turn(1.0)
    there_rad = rig.position_rad + 1.0
    rig.engine.inputs.take_joints(conversions.to_joint_state(JointReading(rig.now_s + 0.01, there_rad, np.zeros(7)), stepped.ROBOT.joint_names))
    assert rig.turn(1.0)[0] is State.NOMINAL and rig.engine.history.jumps == 0


def test_a_plan_that_hangs_is_a_fault_unless_a_model_is_loaded(rig):
    rig = rig(hang_timeout_s=1.0)
    rig.turn(1.0)
    rig.engine.worker.busy_s = lambda: 1.1
    rig.engine.loading = True
    assert rig.engine.watch()[0] is State.NOMINAL
    rig.engine.loading, sent = False, len(rig.sent)
    for _ in range(3):
        assert rig.engine.watch() == (State.FAULT, 'a plan takes longer than 1 s')
    assert len(rig.sent) == sent + 1


def test_a_planning_thread_that_has_ended_is_a_fault(rig):
    rig = rig()
    rig.turn(1.0)
    rig.engine.worker._ending = True
    assert rig.engine.watch()[0] is State.FAULT and 'planning thread has ended' in rig.engine.fault


def test_a_fault_lets_nothing_be_planned_whoever_allowed_it(rig):
    rig = rig()
    rig.turn(1.0)
    rig.engine.fail('broken')
    rig.engine._blocked, rig.engine.worker.allowed = False, True           # as if the watchdog had let it go on at that moment
    rig.engine.watch()
    sent = len(rig.sent)
    assert rig.turn(3.0) == (State.FAULT, 'broken') and len(rig.sent) == sent and not rig.speed_rad_s()


def test_dropped_messages_are_told_until_a_good_one_comes(rig):
    rig = rig()
    rig.turn(0.5)
    rig.engine.inputs.take_image('camera', conversions.to_image(stepped.SCENE[:50], rig.now_s, ''))
    state, reason = rig.engine.watch()
    assert (state, reason) == (State.DEGRADED, 'camera dropped: size: got 96x50, expected 96x96 as the model was trained; see camera_size')
    assert rig.turn()[0] is State.NOMINAL


def test_company_at_the_trajectory_topic_is_told(rig):
    rig = rig()
    rig.turn(0.5)
    rig.engine.health.listeners, rig.engine.health.rivals = 0, ['/other/planner']
    assert rig.turn() == (State.DEGRADED, 'nobody subscribes to the trajectory; /other/planner publishes trajectories too, expected nobody else')
    rig.engine.health.listeners, rig.engine.health.rivals = 1, []
    assert rig.turn()[0] is State.NOMINAL


def test_in_shadow_nobody_needs_to_listen(rig):
    rig = rig(shadow=True)
    rig.engine.health.listeners = 0
    assert rig.turn(1.0)[0] is State.NOMINAL and len(rig.sent) == 2


def test_late_plans_are_a_worry_for_a_while(rig):
    rig = rig()
    rig.turn(0.5)
    rig.engine.cycle.misses += 1
    assert rig.turn() == (State.DEGRADED, '1 deadline misses so far')
    assert rig.turn(3.1)[0] is State.NOMINAL


def test_simulated_time_that_falls_behind_the_joint_states_holds_without_a_stop(rig, monkeypatch):
    rig = rig(simulated=True)
    monkeypatch.setattr('diffusion_planner.ros.health.time', Message(monotonic=rig.clock))
    rig.turn(0.8)
    assert rig.speed_rad_s() > 0.1
    sent, running, rig.ahead_s = len(rig.sent), rig.sent[-1], 0.3
    assert rig.turn(0.1)[0] is not State.BRAKING                           # which a message that is late on its way may look like
    assert rig.until(State.BRAKING, 0.2) == '/clock is 0.3 s behind the joint states'
    rig.turn(1.0)
    assert rig.turn()[0] is State.BRAKING and len(rig.sent) == sent
    rig.ahead_s = 0.0
    assert rig.turn(2.0)[0] is State.NOMINAL and rig.sent[sent].origin_s >= running.end_s
    np.testing.assert_allclose(rig.sent[sent].position_rad[0], running.position_rad[-1])


def test_plans_wait_for_a_clock_that_has_just_fallen_behind(rig):
    rig = rig(simulated=True)
    rig.turn(0.8)
    sent, rig.ahead_s = len(rig.sent), 0.06
    assert rig.turn(0.5) == (State.DEGRADED, 'waiting for the clock, which is behind the joint states') and len(rig.sent) == sent
    rig.ahead_s = 0.04
    assert rig.turn(0.1)[0] is State.NOMINAL and len(rig.sent) == sent + 1


def test_the_stamps_of_a_real_arm_may_be_ahead(rig, monkeypatch):
    rig = rig()
    monkeypatch.setattr('diffusion_planner.ros.health.time', Message(monotonic=rig.clock))
    rig.turn(0.8)
    sent, rig.ahead_s = len(rig.sent), 0.3
    assert rig.turn(1.0)[0] is State.NOMINAL and len(rig.sent) == sent + 2


def test_a_stop_that_is_asked_for_while_the_clock_is_behind_lasts(rig, monkeypatch):
    rig = rig(simulated=True)
    monkeypatch.setattr('diffusion_planner.ros.health.time', Message(monotonic=rig.clock))
    rig.turn(0.8)
    sent, rig.ahead_s = len(rig.sent), 0.3
    rig.until(State.BRAKING, 0.4)
    rig.engine.stop()
    rig.ahead_s = 0.0
    assert rig.turn(3.0) == (State.BRAKING, 'stopped by the operator') and len(rig.sent) == sent


def test_joints_that_freeze_in_motion_are_dropped_and_brake_the_arm(rig):
    rig = rig()
    rig.turn(1.0)
    assert rig.speed_rad_s() > 0.1
    running, sent, rig.follows = rig.sent[-1], len(rig.sent), False         # with the velocity that they had
    assert rig.until(State.DEGRADED, 0.4).startswith('joint_states dropped: position: unchanged for ')
    assert rig.until(State.BRAKING, 0.5) == 'joint_states: stale'
    rig.turn(1.0)
    assert rig.sent[-1].end_s < running.end_s and len(rig.sent) <= sent + 2 and not rig.sent[-1].velocity_rad_s[-1].any()
    rig.position_rad, rig.velocity_rad_s = rig.sent[-1].position_rad[-1], np.zeros(7)
    rig.until(State.NOMINAL, 2.0)


def test_chunks_that_never_arrive_are_a_fault_with_the_places_to_look_at(rig):
    rig = rig()
    rig.turn(1.0)
    rig.engine.cycle.following.lost = LOST - 1
    assert rig.engine.watch()[0] is State.NOMINAL
    rig.engine.cycle.following.lost = LOST
    state, reason = rig.engine.watch()
    assert state is State.FAULT and 'never reached the controller: is it active, is the topic right?' in reason


def guarded(callback, *arguments, engine=True):
    """Call back through a node that is none: -> the answer, what the engine failed with, what was logged"""
    failed, logged = [], []
    node = Message(engine=Message(fail=failed.append) if engine else None,
                   get_logger=lambda: Message(error=lambda text, throttle_duration_sec: logged.append(text)))
    return PlannerNode._guarded(node, callback)(*arguments), failed, logged


@pytest.mark.parametrize('arguments', [(), ('message',)])
def test_a_defect_in_a_callback_stops_the_arm_and_not_the_node(arguments):
    answer, failed, logged = guarded(lambda *_: 1 / 0, *arguments)
    assert answer is None and failed == ['ZeroDivisionError in a callback: division by zero'] and 'Traceback' in logged[0]


@pytest.mark.parametrize('engine', [True, False])
def test_a_defect_in_a_service_is_its_answer_too(engine):
    response = Trigger.Response(success=True)
    answer, failed, logged = guarded(lambda *_: 1 / 0, Trigger.Request(), response, engine=engine)
    assert answer is response and not answer.success and answer.message == 'ZeroDivisionError in a callback: division by zero'
    assert failed == [answer.message] * engine and len(logged) == 1


def test_a_callback_without_a_defect_is_left_alone():
    assert guarded(lambda request, response: response, 1, 2) == (2, [], [])
