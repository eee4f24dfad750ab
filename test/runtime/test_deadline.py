"""Plans under a deadline, with random weights and a clock that only network calls move."""
from dataclasses import replace

import numpy as np
import pytest

from diffusion_planner.planning.haste import Haste
from diffusion_planner.planning.planner import Planner, PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime.torch_backend import load_backend
from diffusion_planner.sim.scene import default_robot

SETTINGS = PlannerSettings(arrivals=4, samples=2, far_steps=3, fill_steps=2, bend=1.0, fill_in=5, plans=2, typicality_limit=1e9,
                           refuse_unfamiliar=False)
CALL_S = 4
# Random weights imagine anything: limits would refuse it, and this test is not about them.
FREE = type('Free', (), {'velocity_max_rad_s': [1e9] * 7, 'position_min_rad': [-1e9] * 7, 'position_max_rad': [1e9] * 7})


class Clock:
    """A clock that every call of the network moves on."""

    def __init__(self, backend):
        self.now_s, self.calls, self._denoise = 0, 0, backend.denoise
        backend.denoise = self._counted

    def _counted(self, noisy, level, offset_s):
        self.now_s, self.calls = self.now_s + CALL_S, self.calls + 1
        return self._denoise(noisy, level, offset_s)

    def __call__(self):
        return self.now_s


@pytest.fixture
def backend(folder):
    return load_backend(folder, default_robot())


@pytest.fixture
def observation():
    position_rad = np.repeat(np.array(default_robot().home_rad)[None], 3, 0)
    pictures = np.random.default_rng(0).integers(0, 255, (3, 1, 96, 96, 3), dtype=np.uint8)
    return Observation(1.0, np.array([-1.2, -0.4, 0.0]), position_rad, np.zeros((3, 7)), pictures,
                       np.array([[0.0], [0.6], [1.0]]), np.zeros(3))


@pytest.fixture
def make_planner(backend):
    clock = Clock(backend)

    def make(settings=SETTINGS):
        planner = Planner(backend, FREE, settings, clock=clock)
        planner.clock_under_test = clock
        return planner
    return make


def _assert_same(plan, other):
    for name in ('offset_s', 'position_rad', 'velocity_rad_s', 'latent', 'level'):
        np.testing.assert_array_equal(getattr(plan, name), getattr(other, name))
    assert plan.steps == other.steps and plan.breakdown == other.breakdown


# One step of each stage and the judgement of the far tokens are three calls; every further call is one more step, first of the
# far tokens (3 in all), then of the fill-in (2 in all). Half a call more or less changes nothing.
@pytest.mark.parametrize('calls, far, fill', [(0, 1, 1), (2, 1, 1), (3, 1, 1), (3.5, 1, 1), (4, 2, 1), (4.75, 2, 1), (5, 3, 1), (6, 3, 2),
                                              (100, 3, 2)])
def test_a_deadline_ends_a_plan_after_the_steps_there_is_time_for(make_planner, observation, calls, far, fill):
    planner = make_planner()
    plan = planner.plan(observation, Goal(), seed=1, deadline_s=calls * CALL_S)
    assert plan.steps == {'far': far, 'fill': fill}
    assert planner.clock_under_test.calls == far + 1 + fill
    assert planner.clock_under_test.now_s <= max(calls * CALL_S, 3 * CALL_S)


@pytest.mark.parametrize('far', [1, 2, 3])
@pytest.mark.parametrize('fill', [1, 2])
def test_a_plan_after_any_number_of_steps_is_whole_and_says_how_much_noise_is_left(make_planner, observation, far, fill):
    plan = make_planner().plan(observation, Goal(), seed=1, stop_after={'far': far, 'fill': fill})
    assert plan.steps == {'far': far, 'fill': fill}
    assert plan.position_rad.shape == (SETTINGS.fill_in + 1, 7) and np.isfinite(plan.position_rad).all()
    assert plan.level.tolist() == [1 - fill / 2] * SETTINGS.fill_in + [1 - far / 3]


def test_a_finished_plan_has_no_noise_left_with_or_without_a_deadline(make_planner, observation):
    plan, unhurried = (make_planner().plan(observation, Goal(), seed=1, deadline_s=deadline_s) for deadline_s in (1000, None))
    assert (unhurried.level == 0).all()
    _assert_same(plan, unhurried)


@pytest.mark.parametrize('form', ['clean', 'through', 'noisy'])
@pytest.mark.parametrize('sampler', ['multistep', 'ddim', 'ddpm'])
def test_the_steps_of_a_hurried_plan_replay_it_bit_for_bit(make_planner, observation, sampler, form):
    settings = replace(SETTINGS, sampler=sampler, guidance_form=form)
    for calls in (3, 4, 5, 6):
        hurried = make_planner(settings).plan(observation, Goal(), seed=3, deadline_s=calls * CALL_S)
        _assert_same(make_planner(settings).plan(observation, Goal(), seed=3, stop_after=hurried.steps), hurried)


def test_a_plan_that_goes_on_with_a_hurried_one_is_replayed_too(make_planner, observation):
    later = replace(observation, origin_s=1.2)
    one, other = make_planner(), make_planner()
    first = one.plan(observation, Goal(), seed=1, deadline_s=4 * CALL_S)
    second = one.plan(later, Goal(), seed=2, deadline_s=5 * CALL_S)
    other.plan(observation, Goal(), seed=1, stop_after=first.steps)
    _assert_same(other.plan(later, Goal(), seed=2, stop_after=second.steps), second)


def test_more_time_gives_another_plan(make_planner, observation):
    short, long = (make_planner().plan(observation, Goal(), seed=1, deadline_s=calls * CALL_S) for calls in (3, 6))
    assert not np.array_equal(short.position_rad, long.position_rad)


def test_the_next_plan_leaves_time_for_what_choosing_took_at_the_last_one(make_planner, observation):
    planner = make_planner()
    planner.plan(observation, Goal(), seed=1)
    assert planner.tail_s == 0                            # this clock does not move while a plan is chosen
    planner.tail_s, planner.haste = 2 * CALL_S, Haste()     # of what plans cost nothing is known: Pace is on its own
    planner.clock_under_test.now_s = 0
    assert planner.plan(observation, Goal(), seed=1, deadline_s=6 * CALL_S).steps == {'far': 2, 'fill': 1}
