"""What the context is made of, by hand."""
import threading

import numpy as np
import pytest

from diffusion_planner.planning.history import History, NotReady
from diffusion_planner.records import Frame, JointReading, MotionState


def reading(stamp_s, position=None):
    """A joint that moves at 2 rad/s, a second one that stands still."""
    return JointReading(stamp_s, np.array([2 * stamp_s if position is None else position, 7.0]), np.array([2.0, 0.0]))


def frame(stamp_s, camera='camera', value=None):
    return Frame(stamp_s, camera, np.full((2, 3, 3), round(10 * stamp_s) % 256 if value is None else value, np.uint8))


def origin(stamp_s):
    return MotionState(stamp_s, np.array([99.0, 98.0]), np.array([97.0, 96.0]), np.zeros(2))


def filled(until_s=10.0, **options):
    """Joints at 50 Hz, pictures at 5 Hz."""
    history = History(2, ('camera',), **options)
    for index in range(round(50 * until_s) + 1):
        history.append(reading(index / 50))
    for index in range(round(5 * until_s) + 1):
        history.append(frame(index / 5))
    return history


def test_rows_sit_at_origin_plus_offset():
    seen = filled().observe(origin(10.31), 10.0)
    # rows at 9.11, 9.91 and the origin: joint 0 is at twice the time, to the millisecond between two readings
    np.testing.assert_allclose(seen.position_rad[:, 0], [18.22, 19.82, 99.0])
    np.testing.assert_allclose(seen.position_rad[:, 1], [7.0, 7.0, 98.0])
    np.testing.assert_array_equal(seen.velocity_rad_s, [[2, 0], [2, 0], [97, 96]])
    # pictures every 0.2 s: the newest at or before 9.11 is that of 9.0, before 9.91 that of 9.8; the last is the newest
    np.testing.assert_allclose(seen.picture_stamp_s[:, 0], [9.0, 9.8, 10.0])
    np.testing.assert_array_equal(seen.pictures[:, 0, 0, 0, 0], [90, 98, 100])
    np.testing.assert_array_equal(seen.level, [0, 0, 0])
    assert seen.pictures.shape == (3, 1, 2, 3, 3)
    assert seen.origin_s == 10.31


def test_nothing_from_the_future_is_used():
    history = filled(6.0)
    seen = history.observe(origin(5.3), 5.0)
    np.testing.assert_allclose(seen.picture_stamp_s[:, 0], [4.0, 4.8, 5.0])


def test_a_row_beyond_the_newest_reading_repeats_it():
    seen = filled(2.0).observe(origin(3.0), 2.0)
    np.testing.assert_allclose(seen.position_rad[:, 0], [3.6, 4.0, 99.0])   # rows at 1.8 and, held, at 2.6


def test_rows_before_the_first_data_repeat_it_at_level_one():
    history = History(2, ('camera',))
    for index in range(11):
        history.append(reading(5 + index / 50))
    history.append(frame(5.1))
    seen = history.observe(origin(5.5), 5.2)   # rows at 4.3, 5.1 and 5.5
    np.testing.assert_array_equal(seen.level, [1, 0, 0])
    np.testing.assert_allclose(seen.position_rad[:, 0], [10.0, 10.2, 99.0])
    np.testing.assert_allclose(seen.picture_stamp_s[:, 0], [5.1, 5.1, 5.1])


def test_stamps_only_rise():
    history = filled(1.0)
    assert not history.append(reading(1.0, position=50.0))
    assert not history.append(frame(0.8, value=200))
    assert history.newest_reading().position_rad[0] == 2.0
    assert history.append(reading(1.02))


def test_memory_is_bounded_and_reaches_back_far_enough():
    history = filled(60.0, memory_s=2.0)
    assert len(history._readings) <= 2.0 * 50 + 2
    seen = history.observe(origin(60.0), 60.0)
    np.testing.assert_allclose(seen.position_rad[:2, 0], [117.6, 119.2])


def test_what_is_missing_is_named():
    history = History(2, ('left', 'right'))
    with pytest.raises(NotReady, match='joint states and pictures of left and pictures of right'):
        history.observe(origin(1.0), 1.0)
    history.append(reading(0.0))
    history.append(frame(0.0, 'left'))
    with pytest.raises(NotReady, match='waiting for pictures of right$'):
        history.observe(origin(1.0), 1.0)
    history.append(frame(0.0, 'right'))
    assert history.observe(origin(1.0), 1.0).pictures.shape == (3, 2, 2, 3, 3)
    history.clear()
    assert len(history.missing()) == 3


def test_an_unknown_camera_is_an_error():
    with pytest.raises(KeyError):
        History(2, ('left',)).append(frame(0.0, 'right'))


def test_filling_and_reading_at_once():
    history, done = filled(2.0, memory_s=70.0), threading.Event()    # no reader may fall behind what is remembered

    def fill():
        for index in range(3000):
            history.append(reading(2.0 + (index + 1) / 50))
            if index % 10 == 0:
                history.append(frame(2.0 + (index + 1) / 50, value=0))
        done.set()
    thread = threading.Thread(target=fill)
    thread.start()
    while not done.is_set():
        now_s = history.newest_reading().stamp_s
        seen = history.observe(origin(now_s + 0.3), now_s)
        assert seen.position_rad[1, 0] == pytest.approx(2 * (now_s - 0.1))
    thread.join()


def test_joints_that_jump_begin_another_episode():
    history = filled(2.0)
    assert history.append(reading(2.02, position=4.0 + 0.29))      # 0.2 rad and 5 rad/s are believed
    assert history.missing() == []
    assert history.append(reading(2.04, position=4.29 + 0.31))
    assert history.missing() == ['pictures of camera']
    assert history.newest_reading().stamp_s == 2.04
