"""What holds guidance back: a trust region that shrinks with the noise, easing off, and the account of both."""
import pytest
import torch
from hypothesis import given, settings, strategies as st

from diffusion_planner.diffusion.guidance import Restraint, guide
from diffusion_planner.diffusion.noise import sigma, signal

FORMS = ('noisy', 'clean', 'through')
FREE = 1e9


def _noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _half(noisy, level, offset_s):
    """Stands for a denoiser: a factor per level, so that every gradient is known."""
    return signal(level).unsqueeze(-1) * noisy


def _bowl(tokens, level):
    """At most 0, with its peak at 3 in every number of the last token, the only one that it judges."""
    return -(tokens[:, -1] - 3).square().sum(-1)


def _shift(form='clean', scale=1.0, seed=0, level=0.5, batch=3, **how):
    noisy, level = _noise(seed, batch, 4, 2), torch.as_tensor(level, dtype=torch.float64).expand(batch, 4)
    offset_s = torch.arange(4.0).expand(batch, 4)
    return guide(_half, _bowl, scale, form, **how)(noisy, level, offset_s) - _half(noisy, level, offset_s)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMS), st.floats(1e-3, 1e6), st.floats(1e-3, 3), st.integers(0, 1000))
def test_no_token_moves_farther_than_the_region_at_its_level(form, scale, width, seed):
    """A region of so many sigmas at every level; each token is at a level of its own."""
    level = torch.rand(2, 6, generator=torch.Generator().manual_seed(seed)).double()

    def everywhere(tokens, _level):
        return -(tokens - 3).square().sum((1, 2))
    noisy = _noise(seed, 2, 6, 3)
    guided = guide(_half, everywhere, scale, form, max_shift=lambda level: width * sigma(level))
    shift = guided(noisy, level, None) - _half(noisy, level, None)
    length = shift.square().mean(-1).sqrt()
    assert (length <= width * sigma(level) * (1 + 1e-6) + 1e-12).all()
    free = guide(_half, everywhere, scale, form, max_shift=FREE)(noisy, level, None) - _half(noisy, level, None)
    inside = free.square().mean(-1).sqrt() < width * sigma(level) * (1 - 1e-6)
    torch.testing.assert_close(shift[inside], free[inside])            # and what would not leave it is left alone
    torch.testing.assert_close(length[~inside], (width * sigma(level))[~inside], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize('form', FORMS)
def test_a_region_of_one_number_is_the_same_as_a_function_that_always_gives_it(form):
    flat = _shift(form, 5.0, max_shift=lambda level: torch.full_like(level, 0.3))
    torch.testing.assert_close(flat, _shift(form, 5.0, max_shift=0.3))


@pytest.mark.parametrize('form', FORMS)
def test_ease_scales_the_pull_on_each_candidate_by_its_own_factor(form):
    factor = torch.tensor([1.0, 0.25, 0.0], dtype=torch.float64)
    eased = _shift(form, max_shift=FREE, ease=lambda clean, offset_s: factor)
    torch.testing.assert_close(eased, factor[:, None, None] * _shift(form, max_shift=FREE))


def test_ease_is_asked_about_the_clean_estimate_and_its_instants():
    asked = []
    noisy, level, offset_s = _noise(1, 2, 4, 2), torch.full((2, 4), 0.5, dtype=torch.float64), torch.arange(4.0).expand(2, 4)
    guide(_half, _bowl, 1.0, 'clean', ease=lambda *told: asked.append(told) or torch.ones(2))(noisy, level, offset_s)
    (clean, seconds), = asked
    assert torch.equal(clean, _half(noisy, level, offset_s)) and torch.equal(seconds, offset_s)


def test_ease_comes_before_the_trust_region():
    """A pull far beyond the region that is eased to a half is still beyond it: the region is reached all the same."""
    held = _shift(scale=1e4, max_shift=0.3, ease=lambda clean, offset_s: torch.full((3,), 0.5))
    torch.testing.assert_close(held[:, -1].square().mean(-1).sqrt(), torch.full((3,), 0.3, dtype=torch.float64))


@pytest.mark.parametrize('form', ['clean', 'through'])
@pytest.mark.parametrize('scale', [0.5, 1.0, 3.0, 40.0])
def test_the_proximal_step_is_the_best_of_objective_less_distance_by_hand(form, scale):
    # Estimated 0 at level 1/2, where Cov is 1/2, each number gains -scale (3 - shift)^2 - shift^2 / 2 / Cov. Its slope
    # 2 scale (3 - shift) - 2 shift is 0 at shift = 3 scale / (1 + scale): 1, 1.5, 2.25 and 2.93, below the peak at 3.
    guided = guide(_half, _bowl, scale, form, max_shift=FREE, proximal=True)
    shift = guided(torch.zeros(1, 1, 2).double(), torch.full((1, 1), 0.5).double(), None)
    assert shift.flatten().tolist() == pytest.approx(2 * [3 * scale / (1 + scale)])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(['clean', 'through']), st.floats(1e-3, 1e12), st.floats(0.01, 1e4), st.floats(0.01, 0.99), st.integers(0, 1000))
def test_a_proximal_step_never_passes_the_peak_however_large_the_scale(form, scale, sharpness, level, seed):
    noisy, level = _noise(seed, 2, 3, 2), torch.full((2, 3), level, dtype=torch.float64)
    guided = guide(_half, lambda tokens, level: sharpness * _bowl(tokens, level), scale, form, max_shift=FREE, proximal=True)
    before, after = _half(noisy, level, None)[:, -1], guided(noisy, level, None)[:, -1]
    share = (after - before) / (3 - before)
    assert (share > 0).all() and (share <= 1 + 1e-9).all()


@pytest.mark.parametrize('away', [1e-3, 1e-6, 1e-9])
def test_an_estimate_next_to_the_peak_is_not_thrown_past_it(away):
    # The value there is -2 away^2, as little as -2e-18: what keeps it from dividing by 0 must be smaller still.
    start = torch.full((1, 4, 2), 3 - away, dtype=torch.float64)
    guided = guide(lambda noisy, level, offset_s: start, _bowl, 1e9, 'clean', max_shift=FREE, proximal=True)
    moved = guided(start, torch.full((1, 4), 0.5, dtype=torch.float64), None)[:, -1] - start[:, -1]
    assert (moved > 0).all() and (moved <= away * (1 + 1e-6)).all()


def test_an_estimate_on_the_peak_stays_there():
    guided = guide(lambda noisy, level, offset_s: torch.full_like(noisy, 3), _bowl, 1.0, 'clean', proximal=True)
    assert (guided(_noise(7, 2, 4, 2), torch.full((2, 4), 0.5).double(), None) == 3).all()


def test_the_restraint_by_hand():
    # One number at level 1/2, where sigma^2 = signal^2 = 1/2, estimated 0: objective -(0 - 3)^2 = -9, gradient 6, gain 1/2,
    # so scale 1 asks for a shift of 3. Curvature: 1 / (1 + 3 * 6 / (2 * 9)) = 1/2; eased by 1/2: 0.75 is left; a region of 0.25
    # leaves a third of that.
    restraint = Restraint()
    guided = guide(_half, _bowl, 1.0, 'clean', max_shift=0.25, proximal=True, ease=lambda clean, offset_s: torch.tensor([0.5]),
                   restraint=restraint)
    assert guided(torch.zeros(1, 1, 1), torch.tensor([[0.5]]), None).item() == pytest.approx(0.25)
    assert [column[0].tolist() for column in (restraint.curvature, restraint.ease, restraint.region)] == [
        pytest.approx([0.5]), pytest.approx([0.5]), pytest.approx([1 / 3])]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMS), st.booleans(), st.floats(0.01, 100), st.floats(0.01, 2), st.floats(0.01, 1), st.integers(0, 1000))
def test_its_factors_multiply_to_what_is_left_of_the_request(form, proximal, scale, width, ease, seed):
    restraint = Restraint()
    proximal = proximal and form != 'noisy'
    shift = _shift(form, scale, seed, max_shift=width, proximal=proximal, restraint=restraint,
                   ease=lambda clean, offset_s: torch.full((3,), ease, dtype=torch.float64))
    wanted = _shift(form, scale, seed, max_shift=FREE)
    left = shift.norm(dim=(1, 2)) / wanted.norm(dim=(1, 2))
    factors = torch.stack([restraint.curvature[0], restraint.ease[0], restraint.region[0]])
    assert ((factors >= 0) & (factors <= 1 + 1e-9)).all()
    torch.testing.assert_close(factors.prod(0), left)
    if not proximal:
        assert (factors[0] == 1).all()


def test_the_restraint_has_one_entry_per_call_and_nothing_for_what_is_not_guided():
    restraint = Restraint()
    guided = guide(_half, _bowl, 1.0, 'clean', restraint=restraint)
    for level in (0.9, 0.5, 0.1):
        guided(_noise(2, 5, 4, 2), torch.full((5, 4), level, dtype=torch.float64), None)
    assert [len(column) for column in vars(restraint).values()] == [3, 3, 3]
    assert all(part.shape == (5,) for column in vars(restraint).values() for part in column)
    guide(_half, _bowl, 0.0, 'clean', restraint=restraint)(_noise(2, 5, 4, 2), torch.full((5, 4), 0.5).double(), None)
    assert len(restraint.region) == 3


class Known:
    """_bowl with its gradient written out: d/dx of -(x - 3)^2 is -2 (x - 3)."""

    def __call__(self, tokens, level):
        return _bowl(tokens, level)

    def value_and_gradient(self, tokens):
        gradient = torch.zeros_like(tokens)
        gradient[:, -1] = -2 * (tokens[:, -1] - 3)
        return _bowl(tokens, None), gradient


@pytest.mark.parametrize('proximal', [False, True])
@pytest.mark.parametrize('form', FORMS)
def test_an_objective_that_knows_its_gradient_gives_the_same_as_autograd(form, proximal):
    proximal = proximal and form != 'noisy'
    noisy, level = _noise(3, 3, 4, 2), torch.full((3, 4), 0.6, dtype=torch.float64)
    one, same = (guide(_half, objective, 0.7, form, max_shift=0.9, proximal=proximal)(noisy, level, None) for objective in (Known(), _bowl))
    torch.testing.assert_close(one, same)


def test_under_clean_an_objective_that_knows_its_gradient_is_not_differentiated():
    class Written(Known):
        def __call__(self, tokens, level):
            raise AssertionError('autograd was asked')
    assert guide(_half, Written(), 1.0, 'clean')(_noise(4, 2, 4, 2), torch.full((2, 4), 0.5).double(), None).isfinite().all()


class Block(Known):
    """The same, with the gradient of the first number of the last token alone."""
    block = slice(-1, None), slice(0, 1)

    def value_and_gradient(self, tokens):
        return _bowl(tokens, None), -2 * (tokens[:, -1:, :1] - 3)


@pytest.mark.parametrize('how', [{}, {'proximal': True}, {'max_shift': 0.05}, {'max_shift': lambda level: 0.1 * level, 'proximal': True},
                                 {'ease': lambda clean, offset_s: torch.sigmoid(clean[:, 0, 0]), 'negligible': 0.02}],
                         ids=['plain', 'proximal', 'limited', 'in a region', 'eased'])
@pytest.mark.parametrize('level', [0.0, 0.3, 1.0])
def test_a_gradient_of_a_block_moves_what_a_mask_would(how, level):
    # One of the three candidates is at level 0 in its last token, and stays.
    noisy, levels = _noise(6, 3, 4, 2), torch.full((3, 4), 0.6, dtype=torch.float64)
    levels[:, -1] = torch.tensor([0.0, level, 0.8])
    mask, accounts, found = torch.zeros(4, 2, dtype=torch.bool), (Restraint(), Restraint()), []
    mask[-1, 0] = True
    for objective, restraint in zip((Block(), Known()), accounts):
        guided = guide(_half, objective, 0.7, 'clean', mask=mask, restraint=restraint, **how)
        found.append(torch.stack([guided(noisy, levels, torch.ones(3, 4)) for _ in range(3)]))
    torch.testing.assert_close(*found)
    assert torch.equal(found[0][:, 0], _half(noisy, levels, None)[None, 0].expand(3, 4, 2))
    for one, other in zip(*(vars(account).values() for account in accounts)):
        assert len(one) == len(other) and all(torch.allclose(*pair) for pair in zip(one, other))


def test_each_candidate_is_eased_by_its_own_factor_when_others_are_settled():
    """Settled candidates are left out of the call, and `ease` then sees only the others."""
    seen = []

    def ease(clean, offset_s):
        seen.append(len(clean))
        return torch.ones(len(clean), dtype=torch.float64)
    guided = guide(_half, _bowl, torch.tensor([1.0, 0.0, 1.0]).double(), 'clean', negligible=1e-9, ease=ease)
    for level in (0.9, 0.5):
        guided(_noise(5, 3, 4, 2), torch.full((3, 4), level, dtype=torch.float64), torch.zeros(3, 4))
    assert seen == [3, 2]
