"""The choice by itself, with judgements written down: who is believed, what is refused, and for which reason."""
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from diffusion_planner.planning.choosing import WAITS, Chooser, Paths
from diffusion_planner.planning.settings import NoSafeCandidate, PlannerSettings, Weights
from diffusion_planner.records import Goal

SETTINGS = PlannerSettings(arrivals=4, samples=1, plans=2, warm_samples=1, reward_margin=0.1, slack_s=0.0)
OFFSET_S = np.array([1.0, 2.0, 3.0, 4.0])
share = st.floats(0, 1)


class Backend:
    """Says of paths what is written down."""

    def __init__(self, **said):
        self.said = {'familiarity': 1.0, 'steps': 1.0, 'mismatch': 0.0, 'consistency': 0.0, 'genuineness': 0.0} | said
        self.asked = []

    def __getattr__(self, name):
        def say(context, tokens, offset_s, *_):
            self.asked.append(name)
            return np.broadcast_to(self.said[name], len(tokens)).astype(float)
        return say


def _chooser(robot=None, weights=Weights(), forecast=None, backend=None, **changes):
    return Chooser(backend or Backend(), robot, replace(SETTINGS, **changes), weights, forecast)


def _figures(**columns):
    given = {'reward': [0.9] * 4, 'judge': [0.9] * 4, 'typicality': [0.5] * 4, 'reach': [1.0] * 4} | columns
    return {name: np.array(column, float) for name, column in given.items()}


# Who is believed

def test_the_panels_mean_less_its_spread_or_the_judge_whoever_is_lower():
    # 0.9 - 0.2 = 0.7 against the judge's 0.8; 0.9 - 0.0 against 0.8; 0.1 - 0.3 is no probability, so 0.
    values = _figures(panel=[0.9, 0.9, 0.1, 0.5], doubt=[0.2, 0.0, 0.3, 0.1], judge=[0.8] * 4)
    np.testing.assert_allclose(_chooser(caution=1.0).believed(values), [0.7, 0.8, 0.0, 0.4])
    np.testing.assert_allclose(_chooser(caution=2.0).believed(values), [0.5, 0.8, 0.0, 0.3])


def test_without_a_panel_it_is_the_lower_of_the_two_heads():
    np.testing.assert_array_equal(_chooser().believed(_figures(reward=[0.9, 0.2, 0.5, 1], judge=[0.3, 0.4, 0.5, 0])), [0.3, 0.2, 0.5, 0])


def test_without_the_guard_it_is_the_head_that_guides():
    values = _figures(reward=[1.0, 0.2, 0.3, 0.4], panel=[0.0] * 4, doubt=[1.0] * 4, judge=[0.0] * 4)
    np.testing.assert_array_equal(_chooser(guard=False).believed(values), values['reward'])


@given(share, st.floats(0, 0.5), share, st.floats(0, 3))
def test_what_is_believed_is_a_probability_that_nobody_exceeds(panel, doubt, judge, caution):
    believed = _chooser(caution=caution).believed(_figures(panel=[panel] * 4, doubt=[doubt] * 4, judge=[judge] * 4))[0]
    assert 0 <= believed <= min(panel, judge)


# Arrivals

def _arrivals(figures, goal=Goal(1.0), offset_s=OFFSET_S, seed=0, **changes):
    chosen, rejected = _chooser(**changes).choose_arrivals(figures, offset_s, goal, seed)
    return chosen.tolist(), rejected


def test_the_earliest_that_arrives_comes_first_and_what_does_not_arrive_last():
    # 0.5 is not within 0.1 of 0.9, so 2 s is the earliest; with room for all, the one that falls short is filled in too, at the end.
    assert _arrivals(_figures(reward=[0.5, 0.85, 0.9, 0.2]), plans=4)[0] == [1, 2, 0, 3]
    chosen, rejected = _arrivals(_figures(reward=[0.5, 0.85, 0.9, 0.2]))
    assert chosen == [1, 2] and rejected['predicted reward lower'] == 2


def test_slack_and_spread_ask_for_later_ones():
    # The earliest arrives at 1 s: with a second of slack 2 s is wanted first, and then 2 (1 + 0.5) = 3 s.
    assert _arrivals(_figures(), slack_s=1.0, spread=0.5)[0] == [1, 2]


def test_every_refusal_makes_it_wait_for_a_later_arrival_and_then_begin_again():
    # The earliest arrives at 1 s; half a second of patience per refusal, at the seventh refusal it starts over.
    def first(refused):
        chooser = replace(_chooser(plans=1, plans_max=1, patience_s=0.5), refused=refused)
        return OFFSET_S[chooser.choose_arrivals(_figures(), OFFSET_S, Goal(1.0), 0)[0][0]]
    assert [first(refused) for refused in (0, 2, 4, 6, WAITS, WAITS + 2)] == [1.0, 2.0, 3.0, 4.0, 1.0, 2.0]


def test_every_refusal_lets_one_more_path_be_filled_in_up_to_a_most():
    def count(refused, **changes):
        chooser = replace(_chooser(patience_s=0.0, **changes), refused=refused)
        return len(chooser.choose_arrivals(_figures(), OFFSET_S, Goal(1.0), 0)[0])
    assert [count(refused, plans_max=3) for refused in (0, 1, 2, 9)] == [2, 3, 3, 3]
    assert count(5, plans_max=1) == 2                                     # never fewer than are asked for


def test_a_goal_pose_counts_like_a_reward():
    # Half the squared miss in tolerances, so exp(-1/2) = 0.61 at the tolerance; the heads have a say unless the reward weighs nothing.
    values = _figures(asked=[0.0, -1.0, -4.0, 0.0], judge=[0.9, 0.9, 0.9, 0.2])
    np.testing.assert_allclose(_chooser().believed(values), [0.9, np.exp(-0.5), np.exp(-2.0), 0.2])
    np.testing.assert_allclose(_chooser(weights=Weights(reward=0.0)).believed(values), [1.0, np.exp(-0.5), np.exp(-2.0), 1.0])


def test_the_last_plan_comes_first():
    # Beyond arrivals times samples are the candidates that go on with the last plan.
    columns = {name: [value] * 5 for name, value in (('reward', 0.9), ('judge', 0.9), ('typicality', 0.5), ('reach', 1.0))}
    assert _arrivals(_figures(**columns), offset_s=np.append(OFFSET_S, 3.5))[0] == [4, 0]


def test_each_arrival_is_refused_for_one_reason_only():
    # The first is neither typical nor in time: it counts as not typical. The second is only late.
    figures = _figures(typicality=[2.0, 0.5, 0.5, 0.5], reach=[-1.0, -1.0, 1.0, 1.0])
    chosen, rejected = _arrivals(figures)
    assert chosen == [2, 3] and rejected == {'far token not typical': 1, 'too little time': 1, 'predicted reward lower': 0}
    with pytest.raises(NoSafeCandidate) as refused:
        _arrivals(_figures(typicality=[2.0] * 4, reach=[-1.0] * 4))
    assert refused.value.reasons == {'far token not typical': 4, 'too little time': 0}


def test_what_is_no_number_is_not_typical():
    assert _arrivals(_figures(typicality=[math.nan, 0.5, 0.5, 0.5]))[1]['far token not typical'] == 1


def test_without_the_guard_no_arrival_is_refused():
    chosen, rejected = _arrivals(_figures(typicality=[9.0] * 4, reach=[-9.0] * 4), guard=False)
    assert chosen == [0, 1] and not any(rejected.values())


def test_without_guidance_arrivals_are_drawn_by_chance_from_the_seed():
    figures = _figures(reward=[1.0, 0, 0, 0], judge=[1.0, 0, 0, 0])
    drawn = [tuple(_arrivals(figures, Goal(0.0), seed=seed)[0]) for seed in range(60)]
    assert {index for pair in drawn for index in pair} == {0, 1, 2, 3}
    assert drawn == [tuple(_arrivals(figures, Goal(0.0), seed=seed)[0]) for seed in range(60)]
    assert _arrivals(figures, Goal(0.0, candidates_only=True))[0][0] == 0


# Plans

def _paths(robot, reach_rad=(0.2, 0.2), velocity=0.0):
    """Two straight lines of three points from home, arriving at 1 s and 2 s."""
    home, steps = np.array(robot.home_rad), np.array([1, 2, 3]) / 3
    position = home + np.array(reach_rad)[:, None, None] * steps[None, :, None] * np.ones(7)
    observation = SimpleNamespace(position_rad=home[None], velocity_rad_s=np.zeros((1, 7)))
    return Paths('context', observation, np.zeros((2, 3, 4)), np.array([1.0, 2.0])[:, None] * steps, position, np.full_like(position, velocity))


def _of(**columns):
    given = {'reward': [0.9, 0.9], 'judge': [0.9, 0.9], 'typicality': [0.5, 0.5], 'warm': [False, False]} | columns
    return {name: np.array(column) for name, column in given.items()}


def _choose(robot, paths=None, goal=Goal(1.0), figures=None, rejected=None, weights=Weights(), **how):
    rejected = {} if rejected is None else rejected
    best, breakdown = _chooser(robot, weights, **how).choose_plan(paths or _paths(robot), figures or _of(), rejected, goal)
    return best, breakdown, rejected


def test_paths_begin_where_the_arm_is(robot):
    position_rad, velocity_rad_s, offset_s = _paths(robot, velocity=0.5).whole()
    assert position_rad.shape == velocity_rad_s.shape == (2, 4, 7) and offset_s.shape == (2, 4)
    np.testing.assert_array_equal(position_rad[:, 0], [robot.home_rad] * 2)
    assert (velocity_rad_s[:, 0] == 0).all() and (velocity_rad_s[:, 1:] == 0.5).all() and (offset_s[:, 0] == 0).all()


def test_the_score_by_hand(robot):
    # Straight lines are smooth and consistent: 4 x min(0.9, 0.6) - 0.1 x 1 s - 1 x 0.5 = 1.8 and 4 x 0.9 - 0.1 x 2 s - 1 x 0.5 = 2.9.
    best, breakdown, _ = _choose(robot, figures=_of(judge=[0.6, 0.9]))
    assert best == 1 and breakdown['score'] == pytest.approx(2.9)
    assert sum(value for name, value in breakdown.items() if name.startswith('score.')) == pytest.approx(2.9)
    # Going on with the last plan is worth 0.3: 1.8 + 0.3 is less still, but of two equals it decides.
    assert _choose(robot, figures=_of(judge=[0.6, 0.9], warm=[True, False]))[0] == 1
    assert _choose(robot, figures=_of(warm=[False, True]))[0] == 1


def test_at_scale_zero_reward_counts_nothing_in_the_score(robot):
    best, breakdown, _ = _choose(robot, goal=Goal(0.0), figures=_of(judge=[0.0, 1.0], reward=[0.0, 1.0]))
    assert best == 0 and breakdown['score'] == pytest.approx(-0.1 - 0.5)


def test_a_path_is_refused_for_the_first_reason_that_applies(robot):
    # The first path fails everything, the second nothing: one count, under the first reason.
    backend = Backend(familiarity=[-1.0, 1.0], steps=[-5.0, 1.0], mismatch=[9.0, 0.0])
    _, _, rejected = _choose(robot, _paths(robot, (9.0, 0.2)), figures=_of(typicality=[3.0, 0.5]), backend=backend, step_limit=0.0, mismatch_limit=1.0)
    assert rejected == {'far token not typical': 1, 'joint limits': 0, 'unfamiliar posture': 0, 'steps that do not join': 0}
    _, _, rejected = _choose(robot, backend=backend, step_limit=0.0, mismatch_limit=1.0)
    assert rejected == {'far token not typical': 0, 'joint limits': 0, 'unfamiliar posture': 1, 'steps that do not join': 0}
    _, _, rejected = _choose(robot, backend=backend, step_limit=0.0, mismatch_limit=1.0, refuse_unfamiliar=False)
    assert rejected['steps that do not join'] == 1                    # once, although both of its figures are beyond


def test_counts_of_arrivals_and_of_paths_add_up(robot):
    _, _, rejected = _choose(robot, figures=_of(typicality=[3.0, 0.5]), rejected={'far token not typical': 2, 'too little time': 1})
    assert rejected['far token not typical'] == 3 and rejected['too little time'] == 1


def test_all_refused_says_why(robot):
    with pytest.raises(NoSafeCandidate, match='no safe candidate: 2 joint limits$'):
        _choose(robot, _paths(robot, (9.0, 9.0)))


def test_without_the_guard_no_path_is_refused(robot):
    backend = Backend(familiarity=-1.0, steps=-5.0, mismatch=9.0)
    best, _, rejected = _choose(robot, _paths(robot, (9.0, 9.0)), figures=_of(typicality=[9.0, 9.0]), backend=backend, guard=False,
                                step_limit=0.0, mismatch_limit=1.0)
    assert rejected == {}


@pytest.mark.parametrize('guard', [True, False])
def test_broken_terms_of_an_objective_are_refused_by_name(robot, guard):
    """Whether guarded or not: what the operator forbids is forbidden."""
    asked = SimpleNamespace(robustness={'cup': np.array([-0.1, 0.2]), 'gentle': np.array([0.3, -0.4])}, score=np.array([0.0, -0.5]),
                            share={'cup': np.array([1.0, 0.0]), 'gentle': np.array([0.0, 1.0])}, broken={'cup': np.array([True, False])})
    goal = Goal(1.0, objective=SimpleNamespace(judge=lambda *path: asked))
    best, breakdown, rejected = _choose(robot, goal=goal, guard=guard)
    assert best == 1 and rejected['objective: cup'] == 1
    assert breakdown['objective.cup'] == 0.2 and breakdown['objective.gentle'] == -0.4 and breakdown['share.gentle'] == 1.0
    asked.broken['cup'] = np.array([True, True])
    with pytest.raises(NoSafeCandidate, match='2 objective: cup'):
        _choose(robot, goal=goal, guard=guard)


def test_a_path_that_breaks_two_terms_is_counted_once(robot):
    asked = SimpleNamespace(robustness={}, share={}, score=np.zeros(2), broken={'cup': np.array([True, False]), 'wall': np.array([True, False])})
    _, _, rejected = _choose(robot, goal=Goal(1.0, objective=SimpleNamespace(judge=lambda *path: asked)))
    assert rejected['objective: cup'] == 1 and rejected['objective: wall'] == 0


def test_the_objectives_score_is_weighed(robot):
    # Without: 3.6 - 0.1 - 0.5 against 3.6 - 0.2 - 0.5, the earlier one. Half a unit missing there, at weight 1, makes it the later one.
    asked = SimpleNamespace(robustness={}, share={}, score=np.array([-0.5, 0.0]), broken={})
    goal = Goal(1.0, objective=SimpleNamespace(judge=lambda *path: asked))
    assert _choose(robot, goal=goal)[0] == 1
    assert _choose(robot, goal=goal, weights=Weights(objective=0.1))[0] == 0


def test_what_has_neither_limit_nor_weight_is_not_computed(robot):
    backend = Backend()
    _choose(robot, backend=backend, weights=Weights(consistency=0.0))
    assert backend.asked == ['familiarity']
    backend = Backend()
    forecast = SimpleNamespace(judge=lambda values, guarded: {'comes_true': np.array([0.5, 0.5])})
    _, breakdown, _ = _choose(robot, backend=backend, forecast=forecast, mismatch_limit=1.0)
    assert set(backend.asked) == {'consistency', 'familiarity', 'mismatch'}      # steps and genuineness are for Planner.measure
    assert breakdown['comes_true'] == 0.5 and 'warm' not in breakdown


def test_steps_that_look_like_play_count_where_they_are_given_a_weight(robot):
    backend = Backend(genuineness=[-1.0, 2.0])      # the later one, 0.1 less for its time, is 3 higher
    assert _choose(robot, backend=backend)[0] == 0 and 'genuineness' not in backend.asked
    best, breakdown, _ = _choose(robot, backend=backend, weights=Weights(genuineness=0.5))
    assert best == 1 and breakdown['score.genuineness'] == 1.0
