"""What is remembered of a wrench and other sensors: interpolated at the context's instants, doubted as it ages."""
from itertools import count

import numpy as np
import pytest

from diffusion_planner.planning.history import History, NotReady
from diffusion_planner.records import Frame, JointReading, MotionState, SensorReading

SENSORS = (('wrench', 2), ('gripper', 1))
STILL = np.zeros(1)


def remembered(wrench_s=(), gripper_s=(), **how):
    """A history of joints from 0 to 10 s; the wrench reads (10 t, -t), the gripper t."""
    history = History(1, ('camera',), (-1.0, -0.5, 0.0), memory_s=20.0, sensors=SENSORS, sensor_fresh_s=0.2, sensor_blind_s=1.2, **how)
    for stamp_s in np.arange(0.0, 10.01, 0.1):
        history.append(JointReading(stamp_s, STILL, STILL))
    history.append(Frame(0.0, 'camera', np.zeros((2, 2, 3), np.uint8)))
    for stamp_s in wrench_s:
        assert history.append(SensorReading(stamp_s, 'wrench', np.array([10.0, -1.0]) * stamp_s))
    for stamp_s in gripper_s:
        assert history.append(SensorReading(stamp_s, 'gripper', np.array([stamp_s])))
    return history


def seen(history, origin_s=10.0, now_s=10.0):
    return history.observe(MotionState(origin_s, STILL, STILL, STILL), now_s)


def test_readings_are_interpolated_side_by_side_and_the_origin_has_the_newest():
    found = seen(remembered(np.arange(8.0, 9.96, 0.1), [8.0, 9.0, 9.8]))
    np.testing.assert_allclose(found.sensors, [[90, -9, 9.0], [95, -9.5, 9.5], [99, -9.9, 9.8]])
    np.testing.assert_allclose(found.sensor_level, [[0, 0], [0, 0.3], [0, 0]], atol=1e-9)     # the gripper is half a second old at 9.5


def test_nothing_after_now_is_used():
    found = seen(remembered(np.arange(8.05, 12.0, 0.1), [9.0]), origin_s=10.3, now_s=10.0)
    np.testing.assert_allclose(found.sensors[:, 0], [93, 98, 99.5])       # the newest by now is that of 9.95


@pytest.mark.parametrize('now_s, level', [(9.2, 0.0), (9.7, 0.5), (10.2, 1.0), (30.0, 1.0)])
def test_what_grows_old_is_doubted_more_and_more(now_s, level):
    found = seen(remembered([8.0, 9.0], [now_s]), now_s, now_s)
    assert found.sensor_level[-1] == pytest.approx([level, 0.0]) and found.sensors[-1, 0] == 90
    assert (found.level == 0).all()      # the arm is known all the same


def test_what_comes_before_the_first_reading_counts_for_nothing():
    found = seen(remembered([9.8], [9.0]))
    assert found.sensor_level[:, 0].tolist() == [1, 1, 0] and np.isfinite(found.sensors).all()


def test_a_sensor_that_never_came_is_waited_for_unless_none_is_needed():
    with pytest.raises(NotReady, match='^waiting for readings of wrench and readings of gripper$'):
        seen(remembered())
    found = seen(remembered(gripper_s=[9.9], any_sensor=True))
    assert found.sensor_level.tolist() == [[1, 1], [1, 1], [1, 0]] and (found.sensors[:, :2] == 0).all()


def test_old_and_repeated_stamps_are_no_news_and_a_new_episode_forgets():
    history = remembered([9.0], [9.0])
    assert not history.append(SensorReading(9.0, 'wrench', np.zeros(2))) and not history.append(SensorReading(8.0, 'wrench', np.zeros(2)))
    with pytest.raises(KeyError):
        history.append(SensorReading(9.5, 'thermometer', np.zeros(1)))
    history.clear()
    history.append(JointReading(11.0, STILL, STILL))
    assert history.missing() == ['pictures of camera', 'readings of wrench', 'readings of gripper']


def test_a_history_without_sensors_says_nothing_of_them():
    history = History(1, ('camera',), (-1.0, 0.0))
    history.append(JointReading(0.0, STILL, STILL))
    history.append(Frame(0.0, 'camera', np.zeros((2, 2, 3), np.uint8)))
    found = history.observe(MotionState(0.0, STILL, STILL, STILL), 0.0)
    assert found.sensors is None and found.sensor_level is None


def test_no_more_is_kept_than_is_remembered():
    history, number = History(1, (), sensors=(('wrench', 1),), memory_s=1.0), count()
    for stamp_s in np.arange(0.0, 5.0, 0.01):
        history.append(SensorReading(stamp_s, 'wrench', np.array([float(next(number))])))
    assert 100 <= len(history._felt['wrench']) <= 102
