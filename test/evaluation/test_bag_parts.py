"""The parts of an evaluated bag, against hand arithmetic: its clock, what really happened, statistics, the verdict."""
import math

import numpy as np
import pytest

from diffusion_planner.evaluation.bag_clock import BagClock
from diffusion_planner.evaluation.bag_imagined import likeness
from diffusion_planner.evaluation.bag_recording import Extremes, Recording
from diffusion_planner.evaluation.bag_statistics import interval, plain, ratio, reliability
from diffusion_planner.evaluation.bag_verdict import _check
from diffusion_planner.records import Frame, JointReading
from diffusion_planner.sim.scene import default_robot


def test_clock_is_that_of_the_stamps_however_fast_the_bag_was_recorded():
    clock = BagClock([1000.0, 1000.1, 1000.2], [5.0, 6.0, 7.0])
    assert clock.begin_s == 5.0 and clock.duration_s == 2.0
    assert clock.now_s(1000.15) == pytest.approx(6.5)
    assert clock.now_s(999.9) == pytest.approx(4.0) and clock.now_s(1000.3) == pytest.approx(8.0)


def test_clock_takes_the_log_where_nobody_stamps_and_passes_over_single_unset_stamps():
    assert BagClock([1000.0, 1001.0], [0.0, 0.0]).now_s(1000.5) == 1000.5
    assert BagClock([1000.0, 1001.0, 1002.0], [5.0, 0.0, 7.0]).now_s(1001.0) == pytest.approx(6.0)


def test_clock_has_parts_where_time_goes_back_and_none_for_a_straggler():
    straggler = BagClock([10.0, 11.0, 12.0, 13.0], [1.0, 2.0, 1.5, 3.0])
    assert len(straggler.parts) == 1 and straggler.now_s(12.0) == 2.0
    again = BagClock([10.0, 11.0, 12.0, 13.0], [5.0, 6.0, 1.0, 2.0])
    assert [again.part(log_s) for log_s in (10.5, 12.0, 12.5)] == [0, 1, 1] and again.now_s(12.5) == pytest.approx(1.5)
    assert again.duration_s == 2.0 and again.zero_s(1) == 0.0        # one second was before this part, which begins at 1


def _recording(stamps, **settings):
    recording = Recording(['camera'], [], keep_s=100.0, **settings)
    for stamp_s in stamps:
        recording.add(JointReading(stamp_s, np.array([stamp_s, 0.0]), np.array([1.0, 0.0])))
    return recording


def test_recording_interpolates_but_neither_across_gaps_nor_beyond_its_ends():
    position_rad, velocity_rad_s = _recording([0.0, 0.1, 0.2, 0.7, 0.8]).motion(np.array([-0.1, 0.05, 0.4, 0.75, 0.9]))
    assert np.isnan(position_rad[[0, 2, 4]]).all()
    assert position_rad[[1, 3], 0] == pytest.approx([0.05, 0.75]) and velocity_rad_s[1].tolist() == [1.0, 0.0]


def test_recording_shows_the_newest_picture_of_an_instant_and_none_that_is_too_old():
    recording = _recording([0.0, 2.0])
    for stamp_s in (0.0, 0.2):
        recording.add(Frame(stamp_s, 'camera', np.zeros((2, 2, 3), np.uint8)))
    assert [recording.newest('camera', at_s) and recording.newest('camera', at_s).stamp_s for at_s in (-0.1, 0.1, 0.2, 0.6, 0.8)] == [None, 0.0, 0.2, 0.2, None]


def test_reward_holds_until_the_next_one_or_for_as_long_as_it_is_said_to():
    for hold_s, later in ((None, 1.0), (0.5, 0.0)):
        recording = _recording([0.0, 3.0], hold_s=hold_s)
        recording.add_reward(1.0, 1.0)
        assert [recording.reward(at_s) for at_s in (0.5, 1.2, 2.0, 3.5)] == [None, 1.0, later, None]


def test_whether_reward_came_is_unknown_where_the_recording_ends_first():
    recording = _recording([0.0, 2.0])
    recording.add_reward(0.0, 0.0)
    assert recording.rewarded_within(0.5, 1.5) is False and recording.rewarded_within(0.5, 2.5) is None
    recording.add_reward(1.0, 1.0)
    assert recording.rewarded_within(0.5, 2.5) is True


def test_recording_forgets_what_no_plan_needs():
    recording = Recording(['camera'], [], keep_s=1.0)
    for index in range(1000):
        recording.add(JointReading(0.01 * index, np.zeros(2), np.zeros(2)))
        recording.add_reward(0.01 * index, 0.0)
    assert len(recording.readings) < 110 and len(recording.rewards) < 110


def test_extremes_count_what_is_beyond_the_limits_by_joint():
    robot = default_robot()
    extremes, inside = Extremes(robot), np.array(robot.home_rad)
    outside, fast = inside.copy(), np.zeros(7)
    outside[3], fast[1] = robot.position_max_rad[3] + 0.1, -1.5 * robot.velocity_max_rad_s[1]
    for position_rad, velocity_rad_s in ((inside, np.zeros(7)), (outside, np.zeros(7)), (inside, fast), (inside, 0.5 * fast)):
        extremes.note(JointReading(0.0, position_rad, velocity_rad_s))
    found = extremes.figures()
    assert found['position']['joints'] == {robot.joint_names[3]: 1} and found['position']['share'] == 0.25
    assert found['position']['largest'] == pytest.approx(0.1) and found['velocity']['largest'] == pytest.approx(1.5)
    assert found['velocity']['largest_joint'] == robot.joint_names[1] and found['velocity']['beyond'] == 1


def test_interval_draws_blocks_as_a_whole_and_leaves_out_what_is_not_known():
    assert interval([np.nan], [0]) is None
    assert interval([9.0, 16.0, np.nan], [0, 0, 1], root=True) == pytest.approx([math.sqrt(12.5)] * 3)     # one block: nothing to draw
    values = np.repeat([0.0, 1.0], 50)
    apart, together = interval(values, np.arange(100)), interval(values, values.astype(int))
    assert apart[0] == together[0] == 0.5
    assert apart[2] - apart[1] < 0.25 and together[1:] == [0.0, 1.0]      # of two blocks both may be the same


def test_ratio_compares_only_what_both_know():
    assert ratio([4.0, 4.0, np.nan], [1.0, 1.0, 100.0], [0, 1, 2]) == pytest.approx([2.0, 2.0, 2.0])
    assert ratio([np.nan], [1.0], [0]) is None


def test_reliability_by_hand():
    found = reliability([0.05, 0.05, 0.95, 0.95], [0, 1, 1, 1])
    assert [row['n'] for row in found['diagram']] == [2, 2] and [row['happened'] for row in found['diagram']] == [0.5, 1.0]
    assert found['ece'] == pytest.approx(0.5 * 0.45 + 0.5 * 0.05) and found['brier'] == pytest.approx((2 * 0.05**2 + 0.95**2 + 0.05**2) / 4)
    assert found['roc_area'] == pytest.approx(5 / 6)      # of six pairs four are won and two are ties
    assert reliability([0.2, 1.0], [0, 0])['roc_area'] is None and reliability([], [])['n'] == 0


def test_plain_has_no_numpy_and_nothing_that_json_lacks():
    assert plain({'a': np.float32(1 / 3), 1: [np.nan, np.inf, np.int64(2), np.bool_(True)], 'b': np.array([-0.0])}) == {
        'a': 0.333333, '1': [None, None, 2, True], 'b': [0.0]}
    assert math.copysign(1, plain(-0.0)) == 1 and plain(1763723456.789012) == 1763723456.789      # a date keeps its seconds


def test_likeness_of_pictures_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    assert likeness(black, black) == {'psnr_db': 60.0, 'mae': 0.0}
    assert likeness(black + np.uint8(255), black) == {'psnr_db': 0.0, 'mae': 255.0}
    assert likeness(black + np.uint8(51), black)['psnr_db'] == pytest.approx(20 * math.log10(5))


@pytest.mark.parametrize(('value', 'n', 'level'), ((0.05, 50, 'ok'), (0.15, 50, 'warn'), (0.4, 50, 'bad'), (None, 0, 'unknown'), (0.4, 3, 'unknown')))
def test_a_check_is_as_bad_as_the_limit_it_is_beyond_and_says_nothing_of_too_few(value, n, level):
    sentences = {name: name for name in ('ok', 'warn', 'bad', 'unknown')}
    found = _check('name', 'title', value, (0.1, 0.3), 'share', sentences, n)
    assert found['level'] == level and found['sentence'].startswith(level if n > 3 or value is None else 'Too few')
    assert _check('name', 'title', 0.8, (0.9, 0.75), 'area', sentences, 50, higher=True)['level'] == 'warn'
