"""Faults without middleware: what comes through, when and in what state; stops and limits of the simulated controller."""
from array import array
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_planner.messages import MessageError, read_image, read_joint_state
from diffusion_planner.sim.env import ArmEnv, SimSettings
from diffusion_planner.sim.excess import Excess
from diffusion_planner.sim.faults import PARTS, Faults, read_orders
from diffusion_planner.sim.scene import default_robot
from diffusion_planner.sim.spoiling import JOINTS, PICTURES
from diffusion_planner.splines import quintic

NAMES = ('one', 'two', 'three')
SMOOTH_S = 0.8      # rest to rest in so long: 0.3 rad stay far within the limits


def header(stamp_s):
    return SimpleNamespace(stamp=SimpleNamespace(sec=int(stamp_s), nanosec=round(stamp_s % 1 * 1e9)))


def picture(stamp_s, value=100):
    image = SimpleNamespace(header=header(stamp_s), height=4, width=2, step=6, encoding='rgb8', is_bigendian=0,
                            data=array('B', [value] * 24))
    return image, SimpleNamespace(header=header(stamp_s))


def joints(stamp_s):
    return SimpleNamespace(header=header(stamp_s), name=list(NAMES), position=array('d', (0.1, 0.2, 0.3)), velocity=array('d', (1, 2, 3))),


def stamp_s(message):
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


def ordered(text, now_s=0.0, seed=0):
    faults = Faults((seed,))
    faults.order(text, now_s)
    return faults


@pytest.mark.parametrize('text, order', [
    ('camera stuck', ('camera', 'stuck', 0.0)), ('camera delayed', ('camera', 'delayed', 0.5)),
    ('joint_states delayed', ('joint_states', 'delayed', 0.3)), ('controller delayed 0.25', ('controller', 'delayed', 0.25)),
    ('clock intermittent', ('clock', 'intermittent', 0.5)), ('clock intermittent 0.9', ('clock', 'intermittent', 0.9)),
    ('joint_states shuffled', ('joint_states', 'shuffled', 0.0)), ('  camera   none ', ('camera', 'none', 0.0))])
def test_an_order_is_read(text, order):
    assert read_orders(text) == (order,)


def test_none_alone_is_for_every_part():
    assert read_orders('none') == tuple((part, 'none', 0.0) for part in PARTS)


@pytest.mark.parametrize('text, said', [
    ('', 'a PART of camera, joint_states, clock, controller'), ('lidar off', 'a PART of'), ('camera', 'PART FAULT'), ('off', 'PART FAULT'),
    ('camera shuffled', 'one of the faults of camera: none, off, delayed, intermittent, stuck, garbage'), ('camera off on off', 'PART FAULT'),
    ('camera stuck 2', 'no amount for stuck'), ('camera delayed nan', 'from 0 to 10'), ('camera delayed -1', 'from 0 to 10'),
    ('camera delayed 11', 'from 0 to 10'), ('clock intermittent 1.5', 'from 0 to 1'), ('clock intermittent much', 'from 0 to 1')])
def test_a_bad_order_is_refused_and_changes_nothing(text, said):
    faults = ordered('camera stuck')
    with pytest.raises(ValueError) as refusal:
        faults.order(text, 0.0)
    assert str(refusal.value).startswith(f'inject: got {text!r}, expected ') and said in str(refusal.value)
    assert faults.in_force() == {'camera': 'stuck'} and faults.injected == 1


def test_what_is_in_force_and_how_many_there_were():
    faults = ordered('camera delayed')
    faults.order('joint_states intermittent 0.25', 0.0)
    assert faults.in_force() == {'camera': 'delayed 0.5', 'joint_states': 'intermittent 0.25'}
    faults.order('camera none', 0.0)
    assert faults.in_force() == {'joint_states': 'intermittent 0.25'}
    faults.order('none', 0.0)
    assert faults.in_force() == {} and faults.injected == 2


@pytest.mark.parametrize('part', PARTS)
def test_without_a_fault_the_very_item_comes_through(part):
    item = object()
    taken = Faults((0,))[part].take(item, 0.0)
    assert len(taken) == 1 and taken[0] is item and Faults((0,))[part].due(9.0) == ()


def test_off_lets_nothing_through():
    camera = ordered('camera off')['camera']
    assert (camera.take(picture(1.0), 1.0), camera.again(picture(1.0), 1.0), camera.due(2.0)) == ((), (), ())


def test_a_stuck_camera_shows_the_last_picture_with_fresh_stamps():
    faults = Faults((0,))
    faults['camera'].take(picture(1.0, value=7), 1.0)
    faults.order('camera stuck', 1.1)
    for now_s in (2.0, 3.5):
        fresh = picture(now_s)
        (image, info), = faults['camera'].take(fresh, now_s)
        assert set(image.data) == {7} and stamp_s(image) == stamp_s(info) == now_s
        assert set(fresh[0].data) == {100}
    faults.order('camera none', 4.0)
    assert set(faults['camera'].take(picture(4.0), 4.0)[0][0].data) == {100}


def test_a_camera_that_was_stuck_from_the_start_shows_the_first_picture():
    camera = ordered('camera stuck')['camera']
    assert [set(camera.take(picture(at_s, at_s), at_s)[0][0].data) for at_s in (3, 4)] == [{3}, {3}]


def test_every_picture_of_garbage_is_spoilt_in_another_way():
    camera, refused, seen = ordered('camera garbage')['camera'], [], []
    for _ in range(2 * len(PICTURES)):
        good = picture(50.0)
        (image, info), = camera.take(good, 50.0)
        assert good == picture(50.0)
        try:
            read_image(image, 'camera')
        except MessageError as error:
            refused.append(str(error).split(':')[0])
        seen.append((image.height, set(image.data), stamp_s(image), stamp_s(info)))
    assert refused == 2 * ['data', 'step', 'encoding']
    assert seen[:8] == seen[8:]
    whole = {100}
    assert seen[1] == (2, whole, 50, 50) and seen[4:8] == [(4, {0}, 50, 50), (4, {255}, 50, 50), (4, whole, 0, 0), (4, whole, 60, 60)]


def test_every_joint_state_of_garbage_is_spoilt_in_another_way():
    stream, said = ordered('joint_states garbage')['joint_states'], []
    for _ in range(len(JOINTS)):
        (message,), = stream.take(joints(50.0), 50.0)
        try:
            reading = read_joint_state(message, NAMES)
            said.append((float(reading.position_rad[0]), stamp_s(message)))
        except MessageError as error:
            said.append(str(error))
    fields = [text.split(':')[0] for text in said[:4]]
    assert fields == ['position', 'name', 'name', 'position']
    assert 'nan' in said[0] and "'three' is missing" in said[1] and "'one' is there 2 times" in said[2] and 'got 2 values' in said[3]
    assert said[4:] == [(100.0, 50.0), (0.1, 0.0), (0.1, 60.0)]


def test_shuffled_joint_states_say_the_same():
    stream, orders = ordered('joint_states shuffled')['joint_states'], set()
    for _ in range(10):
        (message,), = stream.take(joints(1.0), 1.0)
        reading = read_joint_state(message, NAMES)
        assert reading.position_rad.tolist() == [0.1, 0.2, 0.3] and reading.velocity_rad_s.tolist() == [1, 2, 3]
        assert len(message.name) == 4
        orders.add(tuple(message.name))
    assert len(orders) > 3


def test_delayed_items_come_late_in_order_and_with_their_own_stamps():
    stream = ordered('joint_states delayed 0.3')['joint_states']
    assert stream.take(joints(1.0), 1.0) == stream.take(joints(1.1), 1.1) == ()
    assert stream.due(1.29) == () and stream.again(joints(1.1), 1.2) == ()
    assert [stamp_s(message) for message, in stream.due(1.3)] == [1.0]
    stream.take(joints(1.2), 1.2)
    assert [stamp_s(message) for message, in stream.due(1.5)] == [1.1, 1.2]
    assert [stamp_s(message) for message, in stream.again(joints(9.0), 1.5)] == [1.2] and stream.due(99.0) == ()


def test_what_is_kept_back_is_lost_with_the_fault():
    faults = ordered('controller delayed')
    faults['controller'].take('old', 0.0)
    faults.streams['controller'].begin_anew(0.05)
    faults['controller'].take('new', 0.05)
    assert faults['controller'].due(1.0) == ('new',) and faults.in_force() == {'controller': 'delayed 0.1'}


def test_intermittent_loses_its_share_and_draws_equally_for_equal_seeds():
    def kept(seed):
        stream = ordered('camera intermittent 0.8', seed=seed)['camera']
        return [bool(stream.take('picture', 0.0)) for _ in range(2000)]
    assert 0.17 < np.mean(kept(1)) < 0.23
    assert kept(1) == kept(1) != kept(2)


def test_a_clock_of_garbage_jumps_back_once_and_goes_on():
    faults = ordered('clock garbage', now_s=20.0)
    assert faults['clock'].shift_s == -5.0 and faults['clock'].take(15.5, 20.5) == (15.5,)
    faults.order('clock none', 21.0)
    assert faults['clock'].shift_s == 0.0
    assert ordered('clock garbage', now_s=2.0)['clock'].shift_s == -2.0     # no time before zero


def test_a_stuck_clock_says_the_same_again():
    faults = Faults((0,))
    faults['clock'].take(1.0, 1.0)
    faults.order('clock stuck', 1.5)
    assert [faults['clock'].take(at_s, at_s) for at_s in (2.0, 3.0)] == [(1.0,), (1.0,)]


# -- the arm


@pytest.fixture(scope='module')
def env():
    env = ArmEnv()
    yield env
    env.close()


@pytest.fixture
def arm(env):
    env.release()
    env.reset(36)     # high above the table: turning the hand touches nothing
    return env


def turn(env, by_rad, seconds=SMOOTH_S):
    """Hand the controller a smooth turn of the hand, from rest to rest: -> what it complains of"""
    goal = env.controller.reference(env.now_s)[0]
    goal[-1] += by_rad
    zeros = [0.0] * len(goal)
    point = SimpleNamespace(positions=goal.tolist(), velocities=zeros, accelerations=zeros, effort=[],
                            time_from_start=SimpleNamespace(sec=0, nanosec=round(seconds * 1e9)))
    message = SimpleNamespace(header=header(0.0), joint_names=list(env.robot.joint_names), points=[point])
    return env.controller.accept(message, env.now_s)


def follow(env, seconds):
    """Let time pass: -> position of the hand's joint, by reference, step by step"""
    angles = []
    for _ in range(round(seconds / env.period_s)):
        env.step()
        angles.append(env.controller.reference(env.now_s)[0][-1])
    return np.array(angles)


def test_held_in_motion_the_arm_comes_to_rest_within_its_limits(arm):
    turn(arm, 0.8, 0.5)
    moving = follow(arm, 0.25)
    assert moving[-1] - moving[-2] > 2.0 * arm.period_s
    arm.hold()
    held = follow(arm, 0.05)
    arm.hold()                                     # once more changes nothing
    held = np.concatenate([held, follow(arm, 0.45)])
    # From 3 rad/s (above the limit of the hand, 2.61) at 0.9 * 20 rad/s^2: 3 / 18 + 18 / 9000 s on the way to rest.
    assert np.ptp(held[round(0.17 / arm.period_s) + 1:]) == 0.0 and 0.2 < held[-1] - moving[-1] < 0.27
    assert arm.episode()['largest']['acceleration'] == pytest.approx(0.96, abs=0.06) and arm.episode()['largest']['jerk'] < 0.95


def test_a_stop_adds_no_violation_to_a_motion_without_one(arm):
    turn(arm, 0.3)
    follow(arm, 0.3)
    arm.hold()
    follow(arm, 0.5)
    assert arm.episode()['limit_violations'] == 0
    assert arm.episode()['largest']['acceleration'] == pytest.approx(0.9, abs=1e-3)


def test_what_is_sent_while_held_is_taken_and_never_followed(arm):
    arm.hold()
    assert turn(arm, 0.3) == []
    rest = follow(arm, 0.2)
    arm.release()
    assert np.ptp(np.concatenate([rest, follow(arm, 0.2)])) == 0.0
    turn(arm, 0.3)
    assert follow(arm, SMOOTH_S + 0.1)[-1] == pytest.approx(rest[-1] + 0.3)
    assert arm.episode()['limit_violations'] == 0


def test_a_new_scene_does_not_end_a_hold(arm):
    arm.hold()
    arm.reset(36)
    turn(arm, 0.3)
    assert np.ptp(follow(arm, 0.2)) == 0.0


def test_a_trajectory_that_is_not_finite_is_outside_limits_and_does_not_outlast_its_scene(arm):
    assert turn(arm, float('nan')) == []              # as the real controller, which does not look
    follow(arm, 0.1)
    assert arm.episode()['limit_violations'] == 24
    arm.hold()
    follow(arm, 0.1)
    arm.release()
    arm.reset(36)
    turn(arm, 0.3)
    follow(arm, SMOOTH_S)
    assert arm.episode()['limit_violations'] == 0 and np.isfinite(arm.joints().position_rad).all()


def test_a_motion_may_begin_at_the_measured_joints():
    env = ArmEnv(SimSettings(interpolate_from_desired_state=False))
    env.reset(36)
    begin = env.controller.reference(0.0)[0][-1]
    turn(env, 0.3)
    assert follow(env, SMOOTH_S + 0.1)[-1] == pytest.approx(begin + 0.3)
    env.close()


# -- limits

ROBOT = default_robot()
MIDDLE = (np.array(ROBOT.position_min_rad) + ROBOT.position_max_rad) / 2
STILL = (MIDDLE, np.zeros(7))


def watched(positions, velocities=None, accelerations=None, period_s=0.01):
    """Let Excess see the first joint move from its middle; what is not given is zero: -> steps outside limits, shares"""
    excess, count = Excess(ROBOT, period_s), 0
    excess.reset(MIDDLE)
    for index, position in enumerate(positions):
        reference = MIDDLE.copy(), np.zeros(7), np.zeros(7)
        for part, values in zip(reference, (positions, velocities, accelerations)):
            part[0] += 0.0 if values is None else values[index]
        count += excess.outside(reference, STILL)
    return count, excess.largest()


def test_what_the_reference_says_of_itself_counts():
    # Panda's first joint: 2.175 rad/s, 15 rad/s^2, 7500 rad/s^3.
    assert watched([0.0], [2.1], [0.0], 1.0) == (0, {'velocity': pytest.approx(2.1 / 2.175), 'acceleration': pytest.approx(2.1 / 15),
                                                     'jerk': 0.0})
    assert watched([0.0], [2.2], period_s=1.0)[0] == 1
    assert watched([0.0], accelerations=[15.1], period_s=1.0)[0] == 1


def test_steps_that_no_formula_shows_count():
    # 0.01 rad in 0.01 s: 1 rad/s, from rest 100 rad/s^2, 10^4 rad/s^3; then as much back in velocity, and twice in jerk.
    count, largest = watched([0.01, 0.01])
    assert count == 2
    assert largest == {'velocity': pytest.approx(1 / 2.175), 'acceleration': pytest.approx(100 / 15), 'jerk': pytest.approx(2e4 / 7500)}
    assert watched([0.0], [0.2])[1]['acceleration'] == pytest.approx(20 / 15)
    assert watched([0.0], accelerations=[12.0], period_s=0.001)[1]['jerk'] == pytest.approx(12000 / 7500)


def test_differences_of_a_smooth_motion_never_exceed_its_formulas():
    # 0.3 rad in 0.8 s: 1.875 * 0.3 / 0.8 rad/s, 5.7735 * 0.3 / 0.8^2 rad/s^2, 60 * 0.3 / 0.8^3 rad/s^3.
    zero, end = np.zeros(1), np.full(1, 0.3)
    position, velocity, acceleration = quintic(0.001 * np.arange(1, 801), 0.8, (zero, zero, zero), (end, zero, zero))
    count, largest = watched(position[:, 0], velocity[:, 0], acceleration[:, 0], 0.001)
    assert count == 0
    for share, formula in zip(largest.values(), (0.70313 / 2.175, 2.70633 / 15, 35.156 / 7500)):
        assert 0.98 * formula < share < 1.0001 * formula


@pytest.mark.parametrize('wrong', [np.nan, np.inf])
def test_what_is_not_a_number_is_outside(wrong):
    assert watched([0.0, wrong, 0.0])[0] == 2
    excess = Excess(ROBOT, 0.01)
    excess.reset(MIDDLE)
    assert excess.outside((MIDDLE, np.zeros(7), np.zeros(7)), (MIDDLE, np.full(7, wrong)))


def test_positions_beyond_the_limits_are_outside():
    excess, far = Excess(ROBOT, 1e6), np.array(ROBOT.position_max_rad) + 0.01     # so slow that only positions count
    excess.reset(MIDDLE)
    zeros = np.zeros(7)
    assert not excess.outside((MIDDLE, zeros, zeros), STILL)
    assert excess.outside((far, zeros, zeros), STILL) and excess.outside((MIDDLE, zeros, zeros), (far, zeros))


def test_an_episode_reports_its_largest_shares(arm):
    turn(arm, 0.3)
    follow(arm, SMOOTH_S)
    episode = arm.episode()
    # 0.3 rad in 0.8 s: 1.875 * 0.3 / 0.8 rad/s of 2.61, 5.7735 * 0.3 / 0.8^2 rad/s^2 of 20, 60 * 0.3 / 0.8^3 rad/s^3 of 10000.
    assert episode['largest'] == {'velocity': pytest.approx(0.2694, rel=0.02), 'acceleration': pytest.approx(0.1353, rel=0.02),
                                  'jerk': pytest.approx(0.00352, rel=0.05)}
    arm.reset(36)
    assert arm.episode()['largest'] == {'velocity': 0.0, 'acceleration': 0.0, 'jerk': 0.0}
