"""The choice of arrival and plan, with a backend whose figures are written down here."""
import numpy as np
import pytest

from diffusion_planner.planning.planner import NoSafeCandidate, Planner, PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.sim.scene import default_robot

ROBOT = default_robot()
SETTINGS = PlannerSettings(arrivals=4, samples=1, plans=2, shortest_s=1.0, reward_margin=0.1, typicality_limit=1.0, warm_samples=0, slack_s=0.0)   # arrivals at 1, 2, 3, 4 s


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

    def encode(self, observation, goal):
        return None

    def imagine_far(self, context, offset_s, goal, settings, seed, warm, stop):
        return None

    def judge_far(self, context, far, offset_s, seed, typicality):
        return self.figures

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

    def mismatch(self, context, tokens, offset_s):
        return np.zeros(len(tokens.chosen))

    def consistency(self, context, tokens, offset_s):
        return np.zeros(len(tokens.chosen))


def _plan(backend, goal=Goal(1.0)):
    origin = Observation(0.0, np.zeros(1), np.array([ROBOT.home_rad]), np.zeros((1, 7)), np.zeros((1, 1, 2, 2, 3), np.uint8),
                         np.zeros((1, 1)), np.zeros(1))
    return Planner(backend, ROBOT, SETTINGS).plan(origin, goal, seed=0)


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
    origin = Observation(0.0, np.zeros(1), np.array([ROBOT.home_rad]), np.zeros((1, 7)), np.zeros((1, 1, 2, 2, 3), np.uint8),
                         np.zeros((1, 1)), np.zeros(1))
    arrivals = {planner.plan(origin, Goal(0.0), seed).breakdown['arrival_s'] for seed in range(30)}
    assert len(arrivals) == 4
    arrivals = {planner.plan(origin, Goal(0.0, candidates_only=True), seed).breakdown['arrival_s'] for seed in range(30)}
    assert arrivals == {4.0}
