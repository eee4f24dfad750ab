"""Sampling and guidance in numpy are those of the room `diffusion`, at every level, and noise is what the backend in torch draws."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays

from diffusion_planner.diffusion import guidance, noise
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.samplers import MultistepStep, ddim_step, ddpm_step
from diffusion_planner.runtime import schedule
from diffusion_planner.runtime.torch_backend import load_backend
from diffusion_planner.sim.scene import default_robot

torch.set_num_threads(1)
SHAPE = 3, 4      # B, F
STEPS = {'multistep': MultistepStep, 'ddim': lambda: ddim_step, 'ddpm': lambda: ddpm_step}
# Known, nearly known, in between, where there is hardly any signal, pure noise.
a_level = st.one_of(st.sampled_from([0.0, 1e-3, 0.5, 0.97, 1.0]), st.floats(0, 1, width=32))
levels = arrays.arrays(np.float32, SHAPE, elements=a_level)
few = settings(max_examples=25, deadline=None)


def close(found, wanted, tolerance=2e-5):
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


@few
@given(levels, st.integers(0, 99))
def test_noise_is_added_as_by_diffusion(level, seed):
    clean, other = drawn(seed, *SHAPE, 5), drawn(seed + 1, *SHAPE, 5)
    given = torch.from_numpy(level)
    close(schedule.signal(level), noise.signal(given), 1e-6)
    close(schedule.sigma(level), noise.sigma(given), 1e-6)
    close(schedule.add_noise(clean, other, level), noise.add_noise(torch.from_numpy(clean), torch.from_numpy(other), given), 1e-6)
    assert not schedule.signal(np.float32(1)) and not schedule.sigma(np.float32(0))


@few
@given(levels, st.integers(1, 8), st.floats(0.3, 3))
def test_levels_fall_as_the_scheduling_matrix_says(level, steps, bend):
    found = schedule.levels(level, steps, bend)
    wanted = scheduling_matrix(torch.from_numpy(level).flatten(), steps, bend=bend).view(steps + 1, *SHAPE)
    close(found, wanted, 1e-6)
    assert (found[0] == level).all() and not found[-1].any() and (np.diff(found, axis=0) <= 0).all()


@pytest.mark.parametrize('kind', schedule.KINDS)
@few
@given(levels, st.integers(1, 6), st.sampled_from([1.0, 1.8]), st.integers(0, 99))
def test_a_row_of_weights_is_a_step_of_the_sampler(kind, level, steps, bend, seed):
    plan, step = schedule.lay_out(kind, level, steps, bend), STEPS[kind]()
    noisy, last = drawn(seed, *SHAPE, 5), np.zeros((*SHAPE, 5), np.float32)
    given = torch.from_numpy(noisy)
    for number, clean in enumerate(drawn(seed + 1, steps, *SHAPE, 5)):
        fresh = drawn(seed + 2 + number, *SHAPE, 5)
        now, after = (torch.from_numpy(plan.level[row]) for row in (number, number + 1))
        before, given = noisy, step(given, torch.from_numpy(clean), now, after, torch.from_numpy(fresh))
        noisy = np.einsum('kbfo,kbfd->bfd', plan.weights[number], np.stack([noisy, clean, last, fresh]))
        close(noisy, given, 1e-3)
        still = plan.level[number + 1] >= plan.level[number]
        assert (noisy[still] == before[still]).all()
        last = clean


def test_multistep_looks_back_only_where_that_says_something():
    weights = schedule.step_weights('multistep', schedule.levels(np.float32([1.0]), 4, 1.0))
    # Not at the first step, not from pure noise, whose log-SNR is infinite, and not to level 0, whose is too.
    assert (weights[:, 0, 2] != 0).tolist() == [False, False, True, False] and not weights[..., 3].any()


def test_a_sampler_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="^sampler: got 'euler', expected one of multistep, ddim, ddpm$"):
        schedule.step_weights('euler', np.zeros((2, 1), np.float32))


def test_a_schedule_is_laid_out_once_and_not_taken_for_another():
    level = np.float32([[1.0], [0.5]])
    plan = schedule.lay_out('ddim', level, 3, 1.5)
    assert schedule.lay_out('ddim', level.copy(), 3, 1.5) is plan
    for other in (('ddpm', level, 3, 1.5), ('ddim', level, 4, 1.5), ('ddim', level, 3, 1.0), ('ddim', level / 2, 3, 1.5), ('ddim', level.T, 3, 1.5)):
        assert schedule.lay_out(*other) is not plan
    assert plan.level.shape == (4, 2, 1) and plan.weights.shape == (3, 4, 2, 1, 1) and plan.fade.shape == (3, 2, 1, 2)
    close(plan.fade[..., 0], schedule.signal(plan.level[:-1]), 0)
    close(plan.clean, guidance._gain('clean', torch.from_numpy(plan.level[:-1]), 1.0), 1e-5)
    for number in range(2 * schedule.KEPT_PLANS):
        schedule.lay_out('ddim', np.full((1, 1), 1 / (number + 1), np.float32), 3, 1.5)
    assert len(schedule._plans) == schedule.KEPT_PLANS and schedule.lay_out('ddim', level, 3, 1.5) is not plan


@few
@given(levels, st.integers(0, 99))
def test_guidance_is_bounded_as_by_diffusion(level, seed):
    for form in ('clean', 'through', 'noisy'):
        close(schedule.gain(form, level), guidance._gain(form, torch.from_numpy(level), 1.0), 1e-4)
    most, shift = drawn(seed, *SHAPE) ** 2 + 1e-3, 3 * drawn(seed + 1, *SHAPE, 7)
    shift[0, 0] = 0
    found, length = schedule.limited(shift, most)
    wanted = guidance.limit_shift(torch.from_numpy(shift), torch.ones(shift.shape, dtype=torch.bool), torch.from_numpy(most)[..., None])
    close(found, wanted)
    close(length, np.sqrt((shift ** 2).mean(-1)))
    assert (schedule.rms(found) <= most * 1.0001).all()
    # Of one token per candidate: a pull uphill is damped the more, the nearer the peak; one downhill is not.
    wanted, slope, value = shift[:, 1], drawn(seed + 2, 3, 7), -drawn(seed + 3, 3) ** 2
    told = (torch.from_numpy(part)[:, None] for part in (wanted, slope))
    close(schedule.damping(wanted, slope, value), guidance._damping(*told, torch.from_numpy(value))[:, 0, 0], 1e-4)


def test_noise_is_what_the_backend_in_torch_draws(folder):
    backend = load_backend(folder, default_robot())
    width = backend.layout.width
    for seed in (0, 7):
        assert (schedule.draw(seed, 4, 2, width) == backend.noise(seed, 4, 2).numpy()).all()
        ours, theirs = schedule.fresh(seed), backend._fresh(seed, known=3)
        for _ in range(2):
            told = theirs(torch.zeros(4, 5, width))
            assert (ours(4, 2, width) == told[:, 3:].numpy()).all() and not told[:, :3].any()
    assert (schedule.draw(0, 5) != schedule.draw(1, 5)).all() and (schedule.draw(0, 5) != schedule.fresh(0)(5)).all()
