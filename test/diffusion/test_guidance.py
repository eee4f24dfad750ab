import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.diffusion.guidance import GuidanceTrace, clamp, guide, limit_shift
from diffusion_planner.diffusion.matrices import scheduling_matrix
from diffusion_planner.diffusion.noise import signal
from diffusion_planner.diffusion.samplers import MultistepStep, ddpm_step, sample

FORMS = ('noisy', 'clean', 'through')
FREE = math.inf
TILT = torch.zeros(5, 2, dtype=torch.float64)
TILT[3] = torch.tensor([0.5, -0.3])


def _noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _linear(tokens, level):
    """log-probability of an exponential tilt by TILT: it moves a Gaussian's mean by covariance @ TILT, nothing else."""
    return (tokens * TILT).sum((1, 2))


def _quadratic(tokens, level):
    return -(tokens - 3).square().sum((1, 2))


def _mean_and_covariance(denoise, steps=80):
    """Return mean and covariance of guided samples, exactly: an affine denoiser makes the sampler affine."""
    noisy = torch.zeros(6, 5, 2, dtype=torch.float64)
    noisy[range(1, 6), range(5)] = 1
    matrix = scheduling_matrix(torch.ones(5, dtype=torch.float64), steps)
    tokens = sample(denoise, noisy, matrix, torch.zeros(6, 5), MultistepStep())
    factor = (tokens[1:, :, 0] - tokens[0, :, 0]).T
    return tokens[0], factor @ factor.T


def test_through_shifts_the_estimate_by_the_posterior_covariance_times_the_gradient(gaussian):
    noisy, level = _noise(0, 3, 5, 2), torch.tensor([[0, 0.2, 0.5, 0.7, 0.9]], dtype=torch.float64).expand(3, 5)
    guided = guide(gaussian.denoise, _linear, 2.0, 'through', max_shift=FREE)
    shift = guided(noisy, level, None) - gaussian.denoise(noisy, level, None)
    torch.testing.assert_close(shift, 2.0 * gaussian.posterior_covariance(level) @ TILT)


def test_the_three_forms_agree_for_independent_tokens(make_gaussian):
    # With variance v per token, E[clean | noisy] = mean + signal v / (signal^2 v + sigma^2) (noisy - signal mean): the
    # noisy-token objective log E[exp(TILT clean) | noisy] is TILT times that, up to a constant.
    variance = torch.tensor(1.7, dtype=torch.float64)
    white = make_gaussian(torch.zeros(5, 2, dtype=torch.float64), variance * torch.eye(5, dtype=torch.float64))
    noisy, level = _noise(1, 2, 5, 2), torch.tensor([[0.1, 0.3, 0.5, 0.7, 0.9]], dtype=torch.float64).expand(2, 5)

    def evidence(tokens, level):
        return (white.denoise(tokens, level, None) * TILT).sum((1, 2))

    guided = [guide(white.denoise, evidence if form == 'noisy' else _linear, 1.0, form, max_shift=FREE,
                    prior_variance=variance)(noisy, level, None) for form in FORMS]
    torch.testing.assert_close(guided[0], guided[2])
    torch.testing.assert_close(guided[1], guided[2])


def test_through_samples_the_tilted_gaussian(gaussian):
    mean, covariance = _mean_and_covariance(guide(gaussian.denoise, _linear, 1.0, 'through', max_shift=FREE))
    # A shift of up to 0.5; the weaker pressure where the signal is below MIN_SIGNAL leaves 3 % of it undone.
    torch.testing.assert_close(mean, gaussian.mean + gaussian.covariance @ TILT, atol=0.025, rtol=0)
    torch.testing.assert_close(covariance, gaussian.covariance, atol=0.01, rtol=0)


def test_through_with_a_gaussian_likelihood_samples_the_mean_of_the_product(gaussian):
    # DPS leaves the posterior variance out of the likelihood, so it is only right where that is the smaller: 9 against 1.
    seen, variance = torch.tensor([4.0, -4.0], dtype=torch.float64), 9.0

    def likelihood(tokens, level):
        return -(tokens[:, 4] - seen).square().sum(-1) / (2 * variance)

    mean, _ = _mean_and_covariance(guide(gaussian.denoise, likelihood, 1.0, 'through', max_shift=FREE))
    expected, _ = gaussian.observe(4, seen, variance)
    torch.testing.assert_close(mean, expected, atol=0.04, rtol=0)
    assert (expected - gaussian.mean).abs().max() > 0.25   # the tolerance is small against what guidance had to do


def test_noisy_with_the_exact_likelihood_samples_the_product_even_when_it_is_sharp(gaussian):
    seen, variance = torch.tensor([2.0, -1.0], dtype=torch.float64), 0.25

    def likelihood(tokens, level):
        """log p(y | noisy): the posterior variance of the token widens the likelihood."""
        spread = variance + gaussian.posterior_covariance(level)[:, 4, 4]
        return -(gaussian.denoise(tokens, level, None)[:, 4] - seen).square().sum(-1) / (2 * spread)

    mean, covariance = _mean_and_covariance(guide(gaussian.denoise, likelihood, 1.0, 'noisy', max_shift=FREE))
    expected_mean, expected_covariance = gaussian.observe(4, seen, variance)
    torch.testing.assert_close(mean, expected_mean, atol=0.03, rtol=0)
    torch.testing.assert_close(covariance, expected_covariance, atol=0.03, rtol=0)


def test_more_scale_gives_a_higher_objective(gaussian):
    reached = [_linear(_mean_and_covariance(guide(gaussian.denoise, _linear, scale, 'through', max_shift=FREE), 20)[0][None],
                       None).item() for scale in (0, 0.5, 1, 2)]
    assert reached == sorted(reached) and reached[-1] - reached[0] > 0.5


@pytest.mark.parametrize('form', FORMS)
def test_scale_zero_is_the_unguided_denoiser_and_computes_no_gradient(gaussian, form):
    def never(tokens, level):
        raise AssertionError('the objective was called')

    for scale in (0, 0.0):
        assert guide(gaussian.denoise, never, scale, form)(_noise(2, 1, 5, 2), torch.ones(1, 5), None).isfinite().all()
        assert guide(gaussian.denoise, never, scale, form) == gaussian.denoise


@pytest.mark.parametrize('form', FORMS)
def test_each_candidate_may_have_its_own_scale(gaussian, form):
    noisy, level = _noise(3, 3, 5, 2), torch.full((3, 5), 0.6, dtype=torch.float64)
    both = guide(gaussian.denoise, _quadratic, torch.tensor([0.0, 0.5, 0.01]), form)(noisy, level, None)
    assert torch.equal(both[0], gaussian.denoise(noisy, level, None)[0])
    alone = guide(gaussian.denoise, _quadratic, 0.5, form)(noisy[1:2], level[1:2], None)
    torch.testing.assert_close(both[1:2], alone)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMS), st.floats(1e-3, 1e6), st.floats(1e-3, 10), st.integers(0, 1000))
def test_no_token_moves_further_than_max_shift(form, scale, max_shift, seed):
    level = torch.rand(2, 6, generator=torch.Generator().manual_seed(seed)).double()
    level[:, 0], level[:, 1] = 0, 1                       # both ends of the schedule, exactly
    mask = torch.tensor([True, False, True])

    def denoise(noisy, level, offset_s):
        return torch.tanh(noisy) * signal(level).unsqueeze(-1)

    noisy = _noise(seed, 2, 6, 3)
    shift = guide(denoise, _quadratic, scale, form, mask, max_shift)(noisy, level, None) - denoise(noisy, level, None)
    assert shift.isfinite().all()
    assert (shift[:, 0] == 0).all() and (shift[:, :, 1] == 0).all()
    assert (shift[:, :, mask].square().mean(-1).sqrt() <= max_shift * (1 + 1e-6)).all()


def test_limit_shift_by_hand():
    # RMS of (3, 4) over two dimensions is sqrt(25 / 2) = 3.54; limited to 1 it is (3, 4) / 3.54. (0.3, 0.4) is left alone.
    shift = torch.tensor([[[3.0, 4.0, 0.0], [0.3, 0.4, 0.0], [0.0, 0.0, 0.0]]])
    moving = torch.tensor([True, True, False]).expand(1, 3, 3)
    limited = limit_shift(shift, moving, 1.0)
    torch.testing.assert_close(limited[0, 0], torch.tensor([3.0, 4.0, 0.0]) / 12.5 ** 0.5)
    assert torch.equal(limited[0, 1:], shift[0, 1:])


@pytest.mark.parametrize('form', FORMS)
def test_a_mask_per_token_confines_the_shift(gaussian, form):
    mask = torch.zeros(5, 2, dtype=torch.bool)
    mask[3, 0] = True
    noisy, level = _noise(4, 2, 5, 2), torch.full((2, 5), 0.5, dtype=torch.float64)
    shift = guide(gaussian.denoise, _quadratic, 1.0, form, mask)(noisy, level, None) - gaussian.denoise(noisy, level, None)
    assert (shift[:, mask] != 0).all() and (shift[:, ~mask] == 0).all()


@pytest.mark.parametrize('form', FORMS)
def test_known_tokens_come_back_bit_identical_under_guidance(gaussian, form):
    noisy, start = _noise(5, 2, 5, 2), torch.tensor([0, 0, 1, 0.5, 1], dtype=torch.float64)
    tokens = sample(guide(gaussian.denoise, _quadratic, 5.0, form), noisy, scheduling_matrix(start, 4), torch.zeros(2, 5),
                    ddpm_step, torch.Generator().manual_seed(0))
    assert torch.equal(tokens[:, :2], noisy[:, :2]) and tokens.isfinite().all()


@pytest.mark.parametrize('form', FORMS)
def test_the_trace_tells_what_was_applied(form):
    # One token of width 1 at level 1/2, where sigma^2 = signal^2 = 1/2, under denoise(noisy) = signal noisy, noisy = 0:
    # objective -(0 - 3)^2 = -9, gradient 6 in the estimate; through the network 6 signal. Shifts: 6 / 2 / signal, 6 / 2, 3.
    trace = GuidanceTrace()
    guided = guide(lambda noisy, level, offset_s: signal(level).unsqueeze(-1) * noisy, _quadratic, 1.0, form, max_shift=4.0,
                   trace=trace)
    guided(torch.zeros(1, 2, 1), torch.tensor([[0.5, 0.0]]), None)
    gradient = {'noisy': 6, 'clean': 6, 'through': 6 * 0.5 ** 0.5}[form]
    shift = {'noisy': 3 * 2 ** 0.5, 'clean': 3, 'through': 3}[form]
    assert trace.objective == [-18]                       # both tokens, the known one too
    assert trace.gradient_norm == pytest.approx([gradient])
    assert trace.shift == pytest.approx([min(shift, 4)], rel=1e-5)
    assert trace.clipped == [float(shift > 4)]


@pytest.mark.parametrize('form', FORMS)
def test_an_objective_is_told_the_level_of_what_it_judges(gaussian, form):
    told, level = [], torch.tensor([[0, 0.2, 0.5, 0.7, 1]], dtype=torch.float64)

    def objective(tokens, level):
        told.append(level)
        return _linear(tokens, level)

    guide(gaussian.denoise, objective, 1.0, form)(_noise(9, 1, 5, 2), level, None)
    assert len(told) == 1 and torch.equal(told[0], level if form == 'noisy' else torch.zeros_like(level))   # an estimate is clean


@pytest.mark.parametrize('form', ['noisy', 'through'])
def test_pressure_stays_finite_where_the_signal_ends(form):
    # Signals of 0, 0.02 and 0.1 and a denoiser with slope 1: sigma^2 / signal is 0.99 / 0.1 = 9.9 for the last, and below a
    # signal of 0.05 it is sigma^2 / 0.05, so 1 / 0.05 = 20 and 0.9996 / 0.05 = 19.992.
    level = torch.tensor([[0, 0.02, 0.1]], dtype=torch.float64).acos() * 2 / math.pi
    guided = guide(lambda noisy, level, offset_s: noisy, lambda tokens, level: tokens.sum((1, 2)), 1.0, form, max_shift=FREE)
    assert guided(torch.zeros(1, 3, 1).double(), level, None).flatten().tolist() == pytest.approx([20, 19.992, 9.9])


def test_a_call_in_which_nothing_may_move_is_traced_as_no_shift(gaussian):
    trace = GuidanceTrace()
    guide(gaussian.denoise, _linear, 1.0, 'clean', trace=trace)(_noise(10, 2, 5, 2), torch.zeros(2, 5).double(), None)
    assert (trace.gradient_norm, trace.shift, trace.clipped) == ([0], [0], [0])


def test_an_unknown_form_is_refused_with_what_was_given(gaussian):
    with pytest.raises(ValueError, match="got guidance form 'sideways'"):
        guide(gaussian.denoise, _linear, 1.0, 'sideways')


def test_clamp_limits_the_masked_dimensions_only():
    clamped = clamp(lambda noisy, level, offset_s: noisy, 1.0, torch.tensor([True, False]))
    assert clamped(torch.tensor([[[-3.0, -3.0], [0.5, 3.0]]]), None, None).tolist() == [[[-1, -3], [0.5, 3]]]
    assert clamp(lambda noisy, level, offset_s: noisy, 1.0)(torch.full((1, 1, 2), 3.0), None, None).tolist() == [[[1, 1]]]


def test_guided_samples_carry_no_graph(gaussian):
    level = torch.full((1, 5), 0.5, dtype=torch.float64)
    assert not any(guide(gaussian.denoise, _linear, 1.0, form)(_noise(6, 1, 5, 2), level, None).requires_grad
                   for form in FORMS)


LEVELS = torch.tensor([0.9, 0.75, 0.5, 0.25, 0.0625], dtype=torch.float64)   # of the calls of one sampling


def _calls(denoise, rows=3):
    """Call a guided denoiser as one sampling does, the same noisy tokens at falling levels: -> clean [5, B, T, D]"""
    noisy = _noise(7, rows, 5, 2)
    return torch.stack([denoise(noisy, level.expand(rows, 5), torch.zeros(rows, 5)) for level in LEVELS])


class Watched:
    """_quadratic, keeping how many candidates each call was about."""

    def __init__(self):
        self.rows = []

    def __call__(self, tokens, level):
        self.rows.append(len(tokens))
        return _quadratic(tokens, level)


@pytest.mark.parametrize('form', FORMS)
def test_nothing_is_negligible_at_zero(gaussian, form):
    watched = Watched()
    scale = torch.tensor([0.0, 0.01, 0.5])               # not even a candidate that is not pulled at all
    guided = _calls(guide(gaussian.denoise, watched, scale, form, negligible=0.0))
    assert watched.rows == [3] * len(LEVELS)
    fresh = _calls(lambda *call: guide(gaussian.denoise, _quadratic, scale, form)(*call))   # remembers nothing from call to call
    assert torch.equal(guided, fresh)


@pytest.mark.parametrize('form', FORMS)
def test_a_settled_candidate_is_no_longer_judged_and_the_others_still_are(gaussian, form):
    watched = Watched()
    scale = torch.tensor([0.5, 0.0, 0.5])                # the second one is never pulled, so it is settled after one call
    clean = _calls(guide(gaussian.denoise, watched, scale, form, negligible=1e-9))
    assert watched.rows == [3, 2, 2, 2, 2]
    torch.testing.assert_close(clean, _calls(guide(gaussian.denoise, _quadratic, scale, form)))


@pytest.mark.parametrize('form', FORMS)
def test_when_all_are_settled_the_denoiser_is_left_alone(gaussian, form):
    # No shift exceeds max_shift, so below a negligible shift of twice that everything is settled after the first call.
    watched = Watched()
    clean = _calls(guide(gaussian.denoise, watched, 1.0, form, max_shift=0.5, negligible=1.0))
    assert watched.rows == [3]
    plain = _calls(gaussian.denoise)
    torch.testing.assert_close(clean[1:], plain[1:], rtol=0, atol=1e-12)
    assert (clean[0] - plain[0]).abs().max() > 0.1


def test_a_sampling_of_another_size_begins_anew(gaussian):
    watched = Watched()
    guided = guide(gaussian.denoise, watched, 0.1, 'clean', negligible=100.0)
    for rows in (3, 2):
        _calls(guided, rows)
    assert watched.rows == [3, 2]


@pytest.mark.parametrize('negligible', [0.3, 0.1, 0.01])
@pytest.mark.parametrize('level', [0.9, 1.0])     # at level 1 no gradient passes through the network
def test_leaving_out_what_is_negligible_changes_a_sample_by_no_more_than_that(gaussian, level, negligible):
    # Under a constant tilt the shift is Cov[clean | noisy] TILT, which only shrinks as the level falls: what is left out is
    # below the threshold at every later call, and a DDIM step moves a token by at most the change of its estimate.
    calls = {0.0: 0, negligible: 0}

    def tilt_of(limit):
        def objective(tokens, level):
            calls[limit] += 1
            return _linear(tokens, level)
        return guide(gaussian.denoise, objective, 1.0, 'through', max_shift=FREE, negligible=limit)

    start = torch.full((5,), level, dtype=torch.float64)
    samples = [sample(tilt_of(limit), _noise(8, 4, 5, 2), scheduling_matrix(start, 20), torch.zeros(4, 5)) for limit in calls]
    assert (samples[0] - samples[1]).square().mean(-1).sqrt().max() <= negligible
    assert calls[negligible] < calls[0.0] == 20
