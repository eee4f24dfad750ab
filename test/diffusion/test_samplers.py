import itertools

import pytest
import torch

from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.noise import sigma, signal
from diffusion_planner.diffusion.samplers import MultistepStep, ddim_step, ddpm_step, sample

PATTERNS = {'full': (0, 'forward'), 'pyramid': (1, 'forward'), 'autoregressive': (60, 'forward'),
            'far first': (60, 'far_first'), 'far to near': (1, 'backward')}
KNOWN = {'none': [], 'context': [0, 1], 'both ends': [0, 4]}
VALUE = torch.tensor([[1.0, -1.0], [2.0, 0.5]], dtype=torch.float64)
TRUST = {'ddim': (ddim_step, 0.08), 'multistep': (MultistepStep, 0.006)}   # first and second order, 60 steps


def _start(known, tokens=5):
    start = torch.ones(tokens, dtype=torch.float64)
    start[known] = 0
    return start


def _noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _transport(gaussian, known, matrix, step, draws=0):
    """Return the exact mean and covariance of what a sampler makes of white noise: no Monte Carlo.

    The ideal denoiser of a Gaussian is affine, so the whole sampler is: f(noise) = f(0) + M noise with covariance M M^T.
    Candidate 0 gives f(0), the others a column of M each; `draws` more rounds of columns are for noise drawn by the steps.
    """
    other = [index for index in range(5) if index not in known]
    noisy = torch.zeros(len(other) * (draws + 1) + 1, 5, 2, dtype=torch.float64)
    noisy[:, known] = VALUE[:len(known)]
    noisy[range(1, len(other) + 1), other] = 1
    tokens = sample(gaussian.denoise, noisy, matrix, torch.zeros(noisy.shape[:2]), step)[:, other]
    factor = (tokens[1:, :, 0] - tokens[0, :, 0]).T
    return tokens[0], factor @ factor.T


@pytest.mark.parametrize('known', KNOWN.values(), ids=KNOWN.keys())
@pytest.mark.parametrize('pattern', PATTERNS.values(), ids=PATTERNS.keys())
@pytest.mark.parametrize('name', TRUST)
def test_every_pattern_samples_the_gaussian_conditioned_on_the_known_tokens(gaussian, name, pattern, known):
    step, tolerance = TRUST[name]
    matrix = scheduling_matrix(_start(known), 60, *pattern)
    mean, covariance = _transport(gaussian, known, matrix, step() if isinstance(step, type) else step)
    expected_mean, expected_covariance = gaussian.condition(known, VALUE[:len(known)])
    torch.testing.assert_close(mean, expected_mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(covariance, expected_covariance, atol=tolerance, rtol=0)


def test_the_error_of_ddim_falls_with_the_steps_and_the_multistep_error_with_their_square(gaussian):
    def error(make_step, steps):
        covariance = _transport(gaussian, [0], scheduling_matrix(_start([0]), steps), make_step())[1]
        return (covariance - gaussian.condition([0], VALUE[:1])[1]).abs().max().item()

    assert 1.8 < error(lambda: ddim_step, 40) / error(lambda: ddim_step, 80) < 2.2
    assert 3 < error(MultistepStep, 40) / error(MultistepStep, 80) < 5
    assert error(MultistepStep, 8) < 0.5 * error(lambda: ddim_step, 8)


def _inject(known):
    """Return a DDPM step that draws no noise: at step k, candidates of row k + 1 of the basis get a unit of it."""
    other, count = [index for index in range(5) if index not in known], itertools.count(1)

    def step(noisy, clean, level, next_level, noise):
        first = 1 + len(other) * next(count)
        noise = torch.zeros_like(noisy)
        noise[range(first, first + len(other)), other] = 1
        return ddpm_step(noisy, clean, level, next_level, noise)

    return step


@pytest.mark.parametrize('known', KNOWN.values(), ids=KNOWN.keys())
def test_ddpm_samples_the_gaussian_conditioned_on_the_known_tokens(gaussian, known):
    mean, covariance = _transport(gaussian, known, scheduling_matrix(_start(known), 100), _inject(known), 100)
    expected_mean, expected_covariance = gaussian.condition(known, VALUE[:len(known)])
    torch.testing.assert_close(mean, expected_mean, atol=1e-6, rtol=0)
    torch.testing.assert_close(covariance, expected_covariance, atol=0.07, rtol=0)   # first order; half of it at 200 steps


def test_ddpm_draws_have_the_covariance_of_the_gaussian(gaussian):
    tokens = sample(gaussian.denoise, _noise(0, 3000, 5, 2), scheduling_matrix(_start([]), 60), torch.zeros(3000, 5),
                    ddpm_step, torch.Generator().manual_seed(1))
    measured = torch.stack([torch.cov(tokens[..., axis].T) for axis in range(2)]).mean(0)
    # 6000 numbers of variance up to 1.44: standard error 1.44 * sqrt(2 / 6000) = 0.03, after 0.1 of discretisation
    torch.testing.assert_close(tokens.mean(0), gaussian.mean, atol=0.07, rtol=0)
    torch.testing.assert_close(measured, gaussian.covariance, atol=0.19, rtol=0)


def test_ddpm_and_ddim_steps_arrive_at_the_noise_of_the_next_level():
    level, next_level = torch.tensor([[1, 0.9, 0.6, 0.3, 0.05]]), torch.tensor([[0.8, 0.5, 0.55, 0, 0.01]])
    zero, one = torch.zeros(1, 5, 1), torch.ones(1, 5, 1)
    noisy = sigma(level).unsqueeze(-1) * one              # a clean token of 0 under noise of 1
    kept = ddpm_step(noisy, zero, level, next_level, zero).squeeze(-1)
    fresh = ddpm_step(zero, zero, level, next_level, one).squeeze(-1)
    torch.testing.assert_close(kept ** 2 + fresh ** 2, sigma(next_level) ** 2)
    torch.testing.assert_close(ddim_step(noisy, zero, level, next_level).squeeze(-1), sigma(next_level))
    # and a clean token of 1 without noise keeps its share
    still = ddpm_step(signal(level).unsqueeze(-1) * one, one, level, next_level, zero).squeeze(-1)
    torch.testing.assert_close(still, signal(next_level), atol=1e-6, rtol=0)


def test_a_ddpm_step_by_hand():
    # Ho et al. 2020, eq. 7, from level 2/3 to 1/3, where signal^2 is cos^2 60 = 1/4 and cos^2 30 = 3/4 (their alpha-bar):
    # beta = 1 - (1/4) / (3/4) = 2/3 and alpha = 1/3, so the mean has sqrt(3/4) beta / (3/4) = 4 sqrt(3) / 9 of the clean token
    # and sqrt(alpha) (1/4) / (3/4) = sqrt(3) / 9 of the noisy one, and the variance is (1/4) / (3/4) beta = 2/9.
    level, next_level = torch.full((1, 1), 2 / 3).double(), torch.full((1, 1), 1 / 3).double()
    zero, one = torch.zeros(1, 1, 1).double(), torch.ones(1, 1, 1).double()
    shares = [ddpm_step(noisy, clean, level, next_level, noise).item()
              for noisy, clean, noise in ((zero, one, zero), (one, zero, zero), (zero, zero, one))]
    assert shares == pytest.approx([4 * 3 ** 0.5 / 9, 3 ** 0.5 / 9, (2 / 9) ** 0.5])


@pytest.mark.parametrize('make_step', [lambda: ddim_step, lambda: ddpm_step, MultistepStep])
def test_a_token_whose_level_does_not_fall_is_held_bit_for_bit(make_step):
    # In a pyramid the later ranks wait, at levels above 0, and the earlier ones are done. An estimate a thousand times as
    # large would leave its rounding in what goes through the formula of a step.
    matrix, seen = scheduling_matrix(torch.tensor([0, 1, 0.7, 0.4]), 3, lag=2), []
    tokens = sample(lambda noisy, level, offset_s: 1e3 * noisy + 7, _noise(10, 2, 4, 3).float(), matrix, torch.zeros(2, 4),
                    make_step(), torch.Generator().manual_seed(0), lambda index, noisy, clean, level: seen.append(noisy))
    still = matrix.diff(dim=0) == 0
    assert tokens.isfinite().all() and (still & (matrix[1:] > 0)).any()
    for held, before, after in zip(still, seen, [*seen[1:], tokens]):
        assert torch.equal(after[:, held], before[:, held]) and (after[:, ~held] != before[:, ~held]).all()


@pytest.mark.parametrize('make_step', [lambda: ddim_step, lambda: ddpm_step, MultistepStep])
def test_known_tokens_come_back_bit_identical(make_step):
    noisy = _noise(2, 3, 6, 4).float() * 1e3
    start = torch.tensor([0, 0, 1, 0.5, 0, 1])
    tokens = sample(lambda noisy, level, offset_s: noisy * 0.3 + 7, noisy, scheduling_matrix(start, 5, 2), torch.zeros(3, 6),
                    make_step(), torch.Generator().manual_seed(0))
    assert torch.equal(tokens[:, start == 0], noisy[:, start == 0])
    assert not torch.isclose(tokens[:, start > 0], noisy[:, start > 0]).any()


def test_the_last_step_returns_the_clean_estimate():
    noisy, clean = _noise(3, 2, 4, 3), _noise(4, 2, 4, 3)
    for step in (ddim_step, ddpm_step, MultistepStep()):
        tokens = sample(lambda *_: clean, noisy, scheduling_matrix(torch.ones(4), 3), torch.zeros(2, 4), step,
                        torch.Generator().manual_seed(0))
        torch.testing.assert_close(tokens, clean, atol=1e-12, rtol=0)


def test_equal_generators_give_equal_samples_and_others_do_not(gaussian):
    def draw(seed):
        return sample(gaussian.denoise, _noise(5, 2, 5, 2), scheduling_matrix(_start([]), 6, 1), torch.zeros(2, 5),
                      ddpm_step, torch.Generator().manual_seed(seed))

    assert torch.equal(draw(7), draw(7))
    assert not torch.equal(draw(7), draw(8))


@pytest.mark.parametrize('make_step', [lambda: ddim_step, MultistepStep])
def test_permuting_candidates_or_tokens_permutes_the_samples(gaussian, make_gaussian, make_step):
    noisy, matrix, offset_s = _noise(6, 4, 5, 2), scheduling_matrix(_start([0]), 7, 2), torch.zeros(4, 5)
    tokens = sample(gaussian.denoise, noisy, matrix, offset_s, make_step())
    batch, order = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    torch.testing.assert_close(sample(gaussian.denoise, noisy[batch], matrix, offset_s, make_step()), tokens[batch])
    shuffled = make_gaussian(gaussian.mean[order], gaussian.covariance[order][:, order])
    torch.testing.assert_close(sample(shuffled.denoise, noisy[:, order], matrix[:, order], offset_s, make_step()),
                               tokens[:, order])


def test_candidates_may_have_levels_of_their_own(gaussian):
    noisy, offset_s = _noise(7, 2, 5, 2), torch.zeros(2, 5)
    each = [scheduling_matrix(_start(known), 6) for known in ([0], [0, 4])]
    together = sample(gaussian.denoise, noisy, torch.stack(each, dim=1), offset_s)
    for index, matrix in enumerate(each):
        alone = sample(gaussian.denoise, noisy[index:index + 1], matrix, offset_s[:1])
        torch.testing.assert_close(together[index:index + 1], alone)


def test_the_callback_sees_every_step_and_can_end_the_loop_with_a_plan(gaussian):
    noisy, matrix = _noise(8, 2, 5, 2), scheduling_matrix(_start([0]), 6)
    seen = []

    def stop_after_three(index, noisy, clean, level):
        seen.append((index, clean, level))
        return index == 2

    tokens = sample(gaussian.denoise, noisy, matrix, torch.zeros(2, 5), callback=stop_after_three)
    assert [index for index, _, _ in seen] == [0, 1, 2]
    assert all(torch.equal(level, matrix[index].expand(2, 5)) for index, _, level in seen)
    assert torch.equal(tokens[:, 1:], seen[-1][1][:, 1:]) and torch.equal(tokens[:, 0], noisy[:, 0])


def test_an_early_end_leaves_tokens_at_level_0_alone_even_if_the_denoiser_moves_them():
    # One rank after the other in two steps each: before step 3 the first unknown token is finished as the known one is.
    noisy, seen = _noise(11, 2, 3, 2), []

    def stop_at_three(index, noisy, clean, level):
        seen.append((noisy, clean))
        return index == 3

    matrix = scheduling_matrix(torch.tensor([0.0, 1, 1]), 2, lag=2)
    tokens = sample(lambda noisy, level, offset_s: noisy * 0.3 + 7, noisy, matrix, torch.zeros(2, 3), callback=stop_at_three)
    assert matrix[3].tolist() == [0, 0, 0.5]
    assert torch.equal(tokens[:, 0], noisy[:, 0]) and torch.equal(tokens[:, 1], seen[3][0][:, 1])
    assert torch.equal(tokens[:, 2], seen[3][1][:, 2])


def test_a_step_gets_the_noise_that_a_function_draws_for_its_tokens():
    asked, drawn, given = [], [_noise(seed, 2, 3, 4) for seed in range(4)], []

    def draw(noisy):
        asked.append(noisy)
        return drawn[len(asked) - 1]

    def step(noisy, clean, level, next_level, noise):
        given.append((noisy, noise))
        return noisy + noise

    sample(lambda noisy, *_: noisy, _noise(12, 2, 3, 4), scheduling_matrix(torch.ones(3), 4), torch.zeros(2, 3), step, draw)
    assert len(given) == 4
    for (noisy, noise), like, expected in zip(given, asked, drawn):
        assert torch.equal(noise, expected) and torch.equal(noisy, like)


def test_no_graph_is_kept_and_the_inputs_are_left_alone(gaussian):
    noisy = _noise(9, 2, 5, 2).requires_grad_()
    before = noisy.detach().clone()
    tokens = sample(gaussian.denoise, noisy, scheduling_matrix(_start([0]), 3), torch.zeros(2, 5))
    assert not tokens.requires_grad and torch.equal(noisy.detach(), before)
