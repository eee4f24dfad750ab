"""What was executed, scored by an objective: on motions that are written down here."""
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_planner.evaluation.executed import Score
from diffusion_planner.objectives.spec import load_objective
from diffusion_planner.sim.env import Instant
from diffusion_planner.sim.scene import default_robot

ROBOT = default_robot()
HOME_RAD = np.array(ROBOT.home_rad)
JOINT = ROBOT.joint_names[0]


def trace(joint_rad, period_s=0.1, begin_s=5.0):
    """An arm at home whose first joint goes through these angles, one every period."""
    joint_rad = np.array(joint_rad, float)
    position_rad, velocity_rad_s = np.tile(HOME_RAD, (len(joint_rad), 1)), np.zeros((len(joint_rad), len(HOME_RAD)))
    position_rad[:, 0], velocity_rad_s[:, 0] = joint_rad, np.gradient(joint_rad, period_s)
    return [Instant(begin_s + period_s * index, ROBOT.tip_m(position), 0.0, position, velocity)
            for index, (position, velocity) in enumerate(zip(position_rad, velocity_rad_s))]


def plan(origin_s, length_s):
    return SimpleNamespace(origin_s=origin_s, offset_s=np.array([length_s / 2, length_s]))


def least(text, joint_rad, *plans):
    return Score(load_objective(text, ROBOT)).least(trace(joint_rad), plans)


RAMP = 0.1 * np.arange(11)                 # from 0 to 1 rad within a second


def test_always_is_the_least_over_the_length_of_each_plan():
    # Over the plan from 5.0 to 5.5 s the joint comes to 0.5: 0.7 less that is 0.2. The plan from 5.4 to 5.9 s goes to 0.9.
    text = f'formulas: [{{name: back, formula: "always ({JOINT} < 0.7)", hard: true}}]'
    assert least(text, RAMP, plan(5.0, 0.5)) == {'back': pytest.approx(0.2)}
    assert least(text, RAMP, plan(5.0, 0.5), plan(5.4, 0.5)) == {'back': pytest.approx(-0.2)}
    assert least(text, RAMP) == {}                                             # no plan, nothing to ask it of


def test_intervals_count_from_the_beginning_of_each_plan():
    # eventually[0.2, 0.3] from 5.0 s: 0.3 at best, from 5.4 s: 0.7; the least of both less 0.5 is -0.2.
    text = f'formulas: [{{name: there, formula: "eventually[0.2, 0.3] ({JOINT} > 0.5)"}}]'
    assert least(text, RAMP, plan(5.4, 0.5)) == {'there': pytest.approx(0.2)}
    assert least(text, RAMP, plan(5.0, 0.5), plan(5.4, 0.5)) == {'there': pytest.approx(-0.2)}


def test_the_arm_stands_still_where_the_episode_ends_before_the_plan():
    # From 5.8 s on two tenths are left: 0.8, 0.9 and then 1.0 for good.
    text = f'formulas: [{{name: there, formula: "eventually[1, 2] ({JOINT} > 0.5)"}}]'
    assert least(text, RAMP, plan(5.0, 0.3), plan(5.8, 3.0)) == {'there': pytest.approx(-0.2)}
    assert least(text, RAMP, plan(5.8, 3.0)) == {'there': pytest.approx(0.5)}


def test_joint_margins_count_at_every_instant():
    # The largest angle is 2.6 rad, 0.2973 from the limit of 2.8973: 0.2027 short of a margin of 0.5. Before any plan, too.
    found = least(f'joint_margins: {{{JOINT}: 0.5}}', [0.0, 2.6, 0.0])
    assert found == {'joint_margins': pytest.approx(ROBOT.position_max_rad[0] - 2.6 - 0.5)} and found['joint_margins'] < 0


def test_an_arm_that_begins_inside_a_zone_enters_it_only_after_it_was_outside():
    centre = ROBOT.tip_m(HOME_RAD).tolist()
    text = f'keep_out: [{{name: ball, centre_m: {centre}, radius_m: 0.1}}]'
    assert least(text, HOME_RAD[0] + np.array([0.0, 0.1, 1.0, 1.1]))['ball'] > 0
    assert least(text, HOME_RAD[0] + np.array([0.0, 1.0, 0.0]))['ball'] == pytest.approx(-0.1, abs=1e-5)
    assert least(text, HOME_RAD[0] + np.zeros(3))['ball'] == pytest.approx(-0.1, abs=1e-5)      # never outside


def test_people_count_by_the_speed_that_was_measured():
    centre = ROBOT.tip_m(HOME_RAD).tolist()
    radius_m = np.linalg.norm(ROBOT.tip_m(HOME_RAD)[:2])           # of the circle that the first joint turns the tip on
    text = f'people: [{{name: someone, centre_m: {centre}, radius_m: 5, speed_m_s: 0.1}}]'
    assert least(text, HOME_RAD[0] + RAMP)['someone'] == pytest.approx(0.1 - radius_m * 1.0)


def test_a_goal_pose_is_asked_at_the_end_of_the_episode():
    text = f'goal_pose: {{tip_m: {ROBOT.tip_m(HOME_RAD).tolist()}, tolerance_m: 0.05}}'
    assert least(text, HOME_RAD[0] + np.array([1.0, 0.5, 0.0]), plan(5.0, 0.1))['goal_pose'] == pytest.approx(0.05)


def test_nothing_was_executed():
    assert Score(load_objective(f'joint_margins: {{{JOINT}: 0.5}}', ROBOT)).least([], []) == {}
