"""The choice of arrival and plan, with a backend whose figures are written down here."""
from dataclasses import replace

import numpy as np
import pytest

from diffusion_planner.objectives.spec import load_objective
from diffusion_planner.planning import forecast
from diffusion_planner.planning.planner import NoSafeCandidate, Planner, PlannerSettings, StrangeScene
from diffusion_planner.records import Goal, Observation
from diffusion_planner.sim.scene import default_robot

ROBOT = default_robot()
# Arrivals at 1, 2, 3 and 4 s.
SETTINGS = PlannerSettings(arrivals=4, samples=1, plans=2, shortest_s=1.0, reward_margin=0.1, typicality_limit=1.0, warm_samples=0, slack_s=0.0)


class Tokens:
    """Stands for a backend's array: [P, T, D] of which only the shape is asked."""

    def __init__(self, chosen):
        self.chosen, self.shape = chosen, (len(chosen), 12, 4)


class WrittenDown:
    """A backend that imagines straight lines of given length to postures of given reward."""

    config = type('Config', (), {'horizon_s': 4.0, 'context_offset_s': (0.0,), 'joint_names': ROBOT.joint_names})

    def __init__(self, reward, judge, typicality, reach_rad=0.2):
        self.figures = {'reward': np.array(reward), 'judge': np.array(judge), 'typicality': np.array(typicality),
                        'reach': np.zeros(len(reward))}
        self.reach_rad = np.broadcast_to(reach_rad, 4)
        self.seen = {}

    def forget(self):
        pass

    def encode(self, observation, goal):
        return None

    def strange(self, context, observation):
        return self.seen

    def imagine_far(self, context, offset_s, goal, settings, seed, warm, stop):
        return None

    def judge_far(self, context, far, offset_s, seed, typicality):
        return {name: values.copy() for name, values in self.figures.items()}

    def typicality(self, context, far, offset_s, seed):
        raise AssertionError('only for models with a transition head')

    def fill_in(self, context, far, chosen, offset_s, settings, seed, warm, stop):
        return Tokens(chosen)

    def decode(self, tokens):
        share = np.arange(1, 13) / 12
        position_rad = ROBOT.home_rad + self.reach_rad[tokens.chosen][:, None, None] * share[None, :, None] * np.ones(7)
        return position_rad, np.zeros_like(position_rad), np.zeros((len(tokens.chosen), 12, 2))

    def familiarity(self, context, tokens, offset_s, cubic):
        return np.ones(len(tokens.chosen))

    def steps(self, context, tokens, offset_s):
        return np.zeros(len(tokens.chosen))

    def genuineness(self, context, tokens, offset_s):
        return np.zeros(len(tokens.chosen))

    def mismatch(self, context, tokens, offset_s):
        return np.zeros(len(tokens.chosen))

    def consistency(self, context, tokens, offset_s):
        return np.zeros(len(tokens.chosen))


ORIGIN = Observation(0.0, np.zeros(1), np.array([ROBOT.home_rad]), np.zeros((1, 7)), np.zeros((1, 1, 2, 2, 3), np.uint8),
                     np.zeros((1, 1)), np.zeros(1))


def _plan(backend, goal=Goal(1.0), **changes):
    return Planner(backend, ROBOT, replace(SETTINGS, **changes)).plan(ORIGIN, goal, seed=0)


def test_the_earliest_arrival_that_is_nearly_as_good_as_the_best_is_taken():
    plan = _plan(WrittenDown([0.1, 0.89, 0.9, 0.9], [0.1, 0.89, 0.9, 0.9], [0.5] * 4))
    assert plan.breakdown['arrival_s'] == 2.0    # 0.89 is near 0.9 and a second earlier, 0.1 is not near


def test_the_head_that_guided_is_not_believed_alone():
    plan = _plan(WrittenDown([1.0, 1.0, 1.0, 1.0], [0.1, 0.2, 0.9, 0.9], [0.5] * 4))
    assert plan.breakdown['arrival_s'] == 3.0


def test_an_untypical_arrival_is_rejected_with_its_reason():
    plan = _plan(WrittenDown([0.9] * 4, [0.9] * 4, [3.0, 0.5, 0.5, 0.5]))
    assert plan.breakdown['arrival_s'] == 2.0
    assert plan.rejected['far token not typical'] == 1


def test_no_candidate_left_says_why():
    with pytest.raises(NoSafeCandidate, match='4 far token not typical'):
        _plan(WrittenDown([0.9] * 4, [0.9] * 4, [3.0] * 4))


def test_a_plan_beyond_the_joint_limits_is_rejected():
    # Three radians from home in one second: faster than 2.175 rad/s, and beyond the position limits of joint 2 as well.
    plan = _plan(WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4, reach_rad=[3.0, 0.2, 0.2, 0.2]))
    assert plan.breakdown['arrival_s'] == 2.0 and plan.rejected['joint limits'] == 1


def test_at_scale_zero_reward_has_no_say():
    """The arrival is drawn at random, so over seeds a plan with the lowest reward is taken too."""
    backend = WrittenDown([0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.5] * 4)
    planner = Planner(backend, ROBOT, PlannerSettings(arrivals=4, samples=1, plans=1, shortest_s=1.0, warm_samples=0))
    arrivals = {planner.plan(ORIGIN, Goal(0.0), seed).breakdown['arrival_s'] for seed in range(30)}
    assert len(arrivals) == 4
    arrivals = {planner.plan(ORIGIN, Goal(0.0, candidates_only=True), seed).breakdown['arrival_s'] for seed in range(30)}
    assert arrivals == {4.0}


def test_where_the_heads_disagree_less_is_believed():
    # The first arrival: mean 0.9, spread 0.3, believed 0.6; the second: mean 0.8 in agreement. A tenth of margin leaves the first out.
    backend = WrittenDown([0.9, 0.8, 0.0, 0.0], [1.0] * 4, [0.5] * 4)
    backend.figures |= {'panel': np.array([0.9, 0.8, 0.0, 0.0]), 'doubt': np.array([0.3, 0.0, 0.0, 0.0])}
    assert _plan(backend).breakdown['arrival_s'] == 2.0
    assert _plan(backend, caution=0.0).breakdown['arrival_s'] == 1.0


@pytest.mark.parametrize('typicality', [0.5, 9.0], ids=['whose plan is fit', 'in which no plan is fit'])
def test_a_strange_scene_is_refused_as_such(typicality):
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [typicality] * 4)
    backend.seen = {'colours': 0.3, 'picture': 3.14}
    with pytest.raises(StrangeScene, match='picture 3.1 times what play shows'):
        _plan(backend)


def test_what_is_only_a_worry_refuses_nothing():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4)
    backend.seen = {'colours': 0.3, 'missing': 3.0}       # the arm itself may stand before the ball
    assert _plan(backend).breakdown['strange_missing'] == 3.0


def test_how_strange_the_scene_was_is_part_of_the_breakdown():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4)
    backend.seen = {'colours': 0.3, 'picture': 0.99}
    assert _plan(backend).breakdown['strange_picture'] == 0.99
    backend.seen = {'colours': 0.3, 'picture': 3.0}
    assert _plan(backend, strange_limit=4.0).breakdown['strange_picture'] == 3.0
    assert 'strange_picture' not in _plan(backend, guard=False).breakdown      # not even looked at


def test_without_the_guard_the_head_that_guided_is_believed_and_nothing_is_refused():
    backend = WrittenDown([0.1, 0.9, 0.9, 0.9], [0.9, 0.0, 0.0, 0.0], [9.0] * 4, reach_rad=3.0)
    backend.figures['reach'] -= 5.0
    with pytest.raises(NoSafeCandidate, match='4 far token not typical'):
        _plan(backend)
    plan = _plan(backend, guard=False)
    assert plan.breakdown['arrival_s'] == 2.0 and plan.breakdown['judge'] == 0.0
    assert not any(count for reason, count in plan.rejected.items() if reason != 'predicted reward lower')


def test_a_model_with_a_transition_head_measures_typicality_only_of_what_is_filled_in():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.0] * 4)
    backend.config = type('Config', (), {**vars(WrittenDown.config), 'transition': True})
    backend.imagine_far = lambda *_: np.zeros((4, 1, 2))
    asked = []

    def typicality(context, far, offset_s, seed):
        asked.append(offset_s.tolist())
        return np.array([3.0, 0.5])                 # of the two plans that are filled in, the earlier is not typical
    backend.typicality = typicality
    plan = _plan(backend)
    assert asked == [[1.0, 2.0]] and plan.breakdown['arrival_s'] == 2.0 and plan.breakdown['typicality'] == 0.5
    assert plan.rejected['far token not typical'] == 1


def _with_transition():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [9.0] * 4)
    backend.config = type('Config', (), {**vars(WrittenDown.config), 'transition': True})
    del backend.figures['typicality']
    backend.imagine_far = lambda *_: np.arange(4.0)[:, None, None] + np.zeros((4, 1, 2))
    backend.fill_in = lambda context, far, chosen, *_: Rows(chosen)
    return backend


class Rows(Tokens):
    """Tokens of which one row can be taken."""

    def __getitem__(self, rows):
        return Rows(self.chosen[rows])


def test_a_model_with_a_transition_head_needs_no_residual_unless_asked():
    backend = _with_transition()
    plan = _plan(backend, typicality_limit=None)
    assert 'typicality' not in plan.breakdown
    backend.typicality = lambda context, far, offset_s, seed: np.array([3.0, 3.0])
    with pytest.raises(NoSafeCandidate, match='2 far token not typical'):
        _plan(backend, typicality_limit=1.0)


def test_a_model_without_one_has_a_limit_of_its_own():
    with pytest.raises(NoSafeCandidate, match='4 far token not typical'):
        _plan(WrittenDown([0.9] * 4, [0.9] * 4, [1.1] * 4), typicality_limit=None)


def test_what_decides_nothing_is_measured_of_the_newest_plan_on_request():
    backend = _with_transition()
    asked = []
    backend.typicality = lambda context, far, offset_s, seed: asked.append((far.tolist(), offset_s.tolist(), seed)) or np.array([0.25])
    backend.steps = lambda context, tokens, offset_s: asked.append((tokens.chosen.tolist(), offset_s.shape)) or np.array([2.0])
    backend.genuineness = lambda *_: np.array([-1.0])
    planner = Planner(backend, ROBOT, replace(SETTINGS, typicality_limit=None))
    first, plan = (planner.plan(ORIGIN, Goal(1.0), seed) for seed in (7, 8))
    assert not asked
    told, plan = plan, planner.measure(plan)
    assert 'typicality' not in told.breakdown and plan is planner.previous        # others may be reading it
    assert {name: plan.breakdown[name] for name in ('typicality', 'steps', 'genuineness')} == {'typicality': 0.25, 'steps': 2.0, 'genuineness': -1.0}
    arrival = int(plan.breakdown['arrival_s']) - 1           # arrivals at 1, 2, 3 and 4 s
    assert asked == [([[[arrival, arrival]]], [arrival + 1.0], 8), ([arrival], (1, 12))]
    assert 'typicality' not in planner.measure(first).breakdown      # no longer the newest


def test_a_model_with_a_forecast_says_how_likely_its_plan_is_to_come_true():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4)
    assert 'comes_true' not in _plan(backend).breakdown
    idle, knots = np.zeros(len(forecast.FEATURES)), (0.0, 2 * np.log(3.0))
    curves = (knots, (0.5, 0.9)), (knots, (0.0, 0.2)), (knots, (0.0, 0.4))     # with reward, without, and without guard
    backend.planning = {'forecast': forecast.Forecast(idle, idle + 1, idle, np.log(3.0), curves).table()}
    # Log-odds of log 3 are a chance of 3/4; half the way from 0 to 2 log 3 is half the way from 0.5 to 0.9, from 0 to 0.2, or from 0 to 0.4.
    for goal, guard, success in ((Goal(1.0), True, 0.7), (Goal(1.0), False, 0.2), (Goal(0.0), True, 0.1)):
        breakdown = _plan(backend, goal, guard=guard).breakdown
        assert breakdown['comes_true'] == pytest.approx(0.75) and breakdown['success'] == pytest.approx(success)


def test_after_refusals_a_later_arrival_is_sought_and_a_plan_ends_that():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4, reach_rad=3.0)      # too fast, whenever it arrives
    planner = Planner(backend, ROBOT, replace(SETTINGS, plans=1, plans_max=1, patience_s=1.0))
    for refusals in range(1, 3):
        with pytest.raises(NoSafeCandidate):
            planner.plan(ORIGIN, Goal(1.0), seed=0)
        assert planner.refused == refusals
    backend.reach_rad = np.full(4, 0.2)
    assert planner.plan(ORIGIN, Goal(1.0), seed=0).breakdown['arrival_s'] == 3.0      # 1 s, and a second for each refusal
    assert planner.refused == 0


def test_a_strange_scene_is_no_reason_to_seek_a_later_arrival():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4)
    planner, backend.seen = Planner(backend, ROBOT, SETTINGS), {'picture': 9.0}
    with pytest.raises(StrangeScene):
        planner.plan(ORIGIN, Goal(1.0), seed=0)
    assert planner.refused == 0
    planner.refused = 3
    planner.reset()
    assert planner.refused == 0


def test_people_slow_a_plan_down_and_the_limit_is_kept_when_it_is_judged():
    backend = WrittenDown([0.9] * 4, [0.9] * 4, [0.5] * 4)
    tip_m = ROBOT.tip_m(np.array(ROBOT.home_rad) + 0.2)
    person = f'people: [{{name: operator, centre_m: {np.round(tip_m, 3).tolist()}, radius_m: 1.0, speed_m_s: 0.05}}]'
    plan = _plan(backend, Goal(1.0, objective=load_objective(person, ROBOT)))
    assert plan.breakdown['arrival_s'] > 1.0 and plan.offset_s[-1] == plan.breakdown['arrival_s']
    assert plan.breakdown['objective.operator'] >= 0 and plan.rejected['objective: operator'] == 0
    np.testing.assert_allclose(plan.position_rad, backend.decode(Tokens(np.array([0])))[0][0])      # the way is the same
