"""What the context is made of, by hand."""
import threading

import numpy as np
import pytest

from diffusion_planner.planning.history import JUMP_READINGS, History, NotReady
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
    for index in range(JUMP_READINGS - 1):                         # one alone is a fault of an encoder
        assert not history.append(reading(2.04 + 0.02 * index, position=4.29 + 0.41 + 0.1 * JUMP_READINGS))
    assert history.newest_reading().stamp_s == 2.02 and history.jumps == 0
    assert history.append(reading(2.04 + 0.02 * JUMP_READINGS, position=4.29 + 0.41 + 0.1 * JUMP_READINGS))
    assert history.missing() == ['pictures of camera'] and history.jumps == 1
    assert len(history._readings) == 1


@pytest.mark.parametrize('bad', [[8.0], [8.0, -8.0, 8.0, -8.0]])
def test_readings_that_jump_and_do_not_agree_are_dropped(bad):
    history = filled(2.0)
    for index, position in enumerate(bad):
        assert not history.append(reading(2.02 + 0.02 * index, position=position))
    assert history.append(reading(2.02 + 0.02 * len(bad))) and history.jumps == 0
    assert history.missing() == []


def test_a_jump_does_not_become_believable_by_the_time_that_passes():
    history = filled(2.0)
    assert not history.append(reading(2.02, position=4.0 + 2.0))
    assert not history.append(reading(2.82, position=4.0 + 2.0))           # 0.2 rad and 4.1 rad at 5 rad/s
    assert history.newest_reading().stamp_s == 2.0 and history.jumps == 0
    assert history.append(reading(2.84, position=4.0)) and history.jumps == 0


def test_a_jump_is_forgotten_once_the_arm_is_where_it_was():
    history = filled(2.0)
    for index in range(10):                                        # never so many in a row
        assert history.append(reading(2.02 + 0.1 * index)) is True
        for late in range(1, JUMP_READINGS):
            assert not history.append(reading(2.02 + 0.1 * index + 0.02 * late, position=50.0))
    assert history.jumps == 0


def test_a_jump_may_come_again_and_again_with_one_stamp():
    history = filled(2.0)
    believed = [history.append(reading(2.0, position=50.0)) for _ in range(JUMP_READINGS)]
    assert believed == [False] * (JUMP_READINGS - 1) + [True]
    assert (history.jumps, history.newest_reading().position_rad[0]) == (1, 50.0)


def test_doubt_of_a_picture_rises_with_its_age_at_its_row():
    history = filled(10.0, fresh_s=0.5, blind_s=3.0)
    for index in range(1, 101):
        history.append(reading(10 + index / 50))
    # The newest picture is of 10.0; the rows are at 10.8, 11.6 and now, 11.75: ages of 0.8, 1.6 and 1.75 s.
    seen = history.observe(origin(12.0), 11.75)
    np.testing.assert_allclose(seen.picture_stamp_s[:, 0], [10.0, 10.0, 10.0])
    np.testing.assert_allclose(seen.picture_level[:, 0], [0.3 / 2.5, 1.1 / 2.5, 1.25 / 2.5])
    np.testing.assert_array_equal(seen.level, [0, 0, 0])           # the arm is known


@pytest.mark.parametrize('age_s, expected', [(0.0, 0.0), (0.5, 0.0), (0.625, 0.05), (3.0, 1.0), (4.0, 1.0)])
def test_doubt_begins_at_fresh_s_and_is_whole_at_blind_s(age_s, expected):
    history = filled(2.0, fresh_s=0.5, blind_s=3.0)
    assert history.observe(origin(2.3 + age_s), 2.0 + age_s).picture_level[-1, 0] == pytest.approx(expected)


def test_one_camera_of_two_may_be_missing_where_that_is_allowed():
    history = History(2, ('left', 'right'), any_camera=True)
    history.append(reading(1.0))
    assert history.missing() == ['pictures of left', 'pictures of right']
    history.append(frame(1.0, 'right', value=80))
    seen = history.observe(origin(1.3), 1.0)
    np.testing.assert_array_equal(seen.picture_level, [[1, 0]] * 3)
    np.testing.assert_array_equal(seen.pictures[:, 0], 0)
    np.testing.assert_array_equal(seen.pictures[:, 1], 80)
    strict = History(2, ('left', 'right'))
    strict.append(reading(1.0))
    strict.append(frame(1.0, 'right'))
    with pytest.raises(NotReady, match='^waiting for pictures of left$'):
        strict.observe(origin(1.3), 1.0)


def test_rows_still_to_come_are_what_the_arm_is_committed_to():
    history, asked_s = filled(2.0), []

    def committed(instant_s):
        asked_s.append(instant_s)
        return MotionState(instant_s, np.array([31.0, 32.0]), np.array([33.0, 34.0]), np.zeros(2))
    seen = history.observe(origin(3.0), 2.0, committed)            # rows at 1.8, 2.6 and the origin
    assert asked_s == pytest.approx([2.6])
    np.testing.assert_allclose(seen.position_rad, [[3.6, 7.0], [31.0, 32.0], [99.0, 98.0]])
    np.testing.assert_allclose(seen.velocity_rad_s, [[2.0, 0.0], [33.0, 34.0], [97.0, 96.0]])


def test_clearing_from_another_thread_leaves_an_observation_whole():
    history = filled(2.0)

    class Lock:
        """Whenever it is let go of, another thread clears."""

        def __enter__(self):
            pass

        def __exit__(self, *_):
            history._clear()
    history._lock = Lock()
    assert history.observe(origin(2.3), 2.0).pictures.shape == (3, 1, 2, 3, 3)
    with pytest.raises(NotReady):
        history.observe(origin(2.3), 2.0)
