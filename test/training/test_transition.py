"""The transition head: which pairs it is shown, and that it tells who was in too great a hurry."""
import numpy as np
import pytest
import torch

from diffusion_planner.nets.heads import TransitionHead
from diffusion_planner.training.transition import FLOOR_MARGIN, HURRY, Pairs, RaggedPairs, fit_floor, told_apart, transition_loss

torch.set_num_threads(1)

PERIOD_S = 0.05


def _clockwork(episodes=6, length=200, joints=2):
    """Motion that tells where it was taken from: position 0 is the time in seconds, everything else the episode."""
    motion = torch.arange(float(episodes))[:, None, None].repeat(1, length, 2 * joints)
    motion[..., 0] = PERIOD_S * torch.arange(length)
    return motion


def _constant_speed(episodes, length=120, seed=0):
    """One joint going back and forth between -1 and 1, in each episode at a speed of its own: -> motion [E, N, 2]"""
    generator = torch.Generator().manual_seed(seed)
    speed, begin = (torch.rand(episodes, 1, generator=generator) for _ in range(2))
    way = 4 * begin + (0.5 + speed) * PERIOD_S * torch.arange(length)
    phase = way % 4                                         # up from -1 to 1 in two units of way, down again in two
    position = 1 - (phase - 2).abs()
    return torch.stack([position, torch.where(phase < 2, 1.0, -1.0) * (0.5 + speed)], -1)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_pairs_have_the_shapes_they_promise(random):
    pairs = Pairs(_clockwork(), PERIOD_S, horizon_s=2.0)
    for count in (8, 10, 101):                              # of made-up pairs also those that do not split into quarters
        made_up = pairs.made_up(count, random, torch.Generator().manual_seed(0))
        for near, far, gap_s in (pairs.real(count, random), made_up):
            assert near.shape == far.shape == (count, 4) and gap_s.shape == (count,)
            assert near.dtype == far.dtype == gap_s.dtype == torch.float32


def test_real_pairs_are_of_one_episode_and_as_far_apart_as_they_say(random):
    near, far, gap_s = Pairs(_clockwork(), PERIOD_S, horizon_s=2.0).real(2000, random)
    torch.testing.assert_close(far[:, 0] - near[:, 0], gap_s)
    assert torch.equal(far[:, 1:], near[:, 1:])
    assert gap_s.min() == pytest.approx(PERIOD_S) and gap_s.max() <= 2.0 + 1e-6
    # Log-uniform from one to 40 periods: half the gaps are below sqrt(40) = 6.3 periods.
    assert gap_s.median() == pytest.approx(6 * PERIOD_S, abs=PERIOD_S)


def test_every_made_up_pair_is_hurried_from_elsewhere_or_shaken(random):
    near, far, gap_s = Pairs(_clockwork(), PERIOD_S, horizon_s=2.0).made_up(4000, random, torch.Generator().manual_seed(0))
    took_s = far[:, 0] - near[:, 0]
    hurried, elsewhere, shaken = slice(0, 2000), slice(2000, 3000), slice(3000, 4000)
    assert (took_s[hurried] > gap_s[hurried] + PERIOD_S / 2).all()
    assert (took_s[hurried] < HURRY * gap_s[hurried] + PERIOD_S).all()
    # Six episodes: a pair from elsewhere is of one episode by chance, once in six times.
    assert (far[elsewhere, 1] != near[elsewhere, 1]).float().mean() == pytest.approx(5 / 6, abs=0.05)
    assert (far[shaken] != far[shaken].round()).any(1).all()


def test_the_head_takes_any_leading_shape():
    head = TransitionHead(joints=3)
    assert head(torch.randn(5, 7, 6), torch.randn(5, 7, 6), torch.rand(5, 7) + 0.1).shape == (5, 7)
    assert head(torch.randn(6), torch.randn(6), torch.tensor(0.3)).shape == ()


@pytest.fixture(scope='module')
def trained():
    """A head after 250 small batches of one joint at constant speed, the data it saw, and others."""
    torch.manual_seed(0)
    known, held_out = (Pairs(_constant_speed(60, seed=seed), PERIOD_S, horizon_s=1.5) for seed in (0, 1))
    head, random, generator = TransitionHead(joints=1, width=64, octaves=2), np.random.default_rng(0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(250):
        loss, _ = transition_loss(head, known, 256, random, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head, held_out


@torch.no_grad()
def test_pairs_in_double_the_hurry_are_ranked_below_real_ones(trained):
    head, held_out = trained
    random = np.random.default_rng(1)
    real = head(*held_out._rows(1000, random, shortest=5))
    hurried = head(*held_out._rows(1000, random, stretch=2.0, shortest=5))
    # Area under the ROC curve: how often a real pair is above a hurried one; 1/2 by chance.
    assert (real[:, None] > hurried).float().mean() > 0.9
    assert real.median() > 0 > hurried.median()


@torch.no_grad()
def test_the_floor_leaves_nearly_all_real_pairs_above(trained):
    head, held_out = trained
    floor = fit_floor(head, held_out, np.random.default_rng(2), count=5000)
    assert head.floor.item() == floor
    real, hurried = head(*held_out.real(5000, np.random.default_rng(3))), head(
        *held_out._rows(1000, np.random.default_rng(3), stretch=HURRY, shortest=20))
    assert (real > floor).float().mean() > 0.99 and (real > floor + FLOOR_MARGIN).float().mean() > 0.99
    assert (hurried > floor).float().mean() < 0.5           # and it refuses something


LENGTHS = (4, 200, 30, 120)


def _ragged(episodes=range(len(LENGTHS))):
    """Clockwork episodes of unequal length end to end: position 0 is the time in its episode, everything else the episode's number."""
    motion = torch.cat([torch.full((length, 4), float(index)) for index, length in enumerate(LENGTHS)])
    motion[:, 0] = torch.cat([PERIOD_S * torch.arange(length) for length in LENGTHS])
    return RaggedPairs(motion, np.cumsum([0, *LENGTHS]), np.array(episodes), PERIOD_S, horizon_s=2.0)


def test_ragged_pairs_never_cross_an_episodes_border_and_are_as_far_apart_as_they_say(random):
    near, far, gap_s = _ragged().real(5000, random)
    assert torch.equal(far[:, 1:], near[:, 1:])                         # of one episode
    torch.testing.assert_close(far[:, 0] - near[:, 0], gap_s)
    assert gap_s.min() == pytest.approx(PERIOD_S) and gap_s.max() <= 2.0 + 1e-6
    for index, length in enumerate(LENGTHS):                            # drawn as often each, gaps as long as it allows
        own = gap_s[near[:, 1] == index]
        assert len(own) == pytest.approx(1250, abs=150)
        assert own.max() == pytest.approx(PERIOD_S * min(length - 2, 40), abs=PERIOD_S / 2)


def test_ragged_pairs_are_of_the_episodes_that_were_asked_for(random):
    near, far, _ = _ragged([1, 3]).real(500, random)
    assert set(near[:, 1].tolist()) == set(far[:, 1].tolist()) == {1.0, 3.0}


def test_made_up_ragged_pairs_claim_less_time_than_it_took(random):
    near, far, gap_s = _ragged([1, 3]).made_up(4000, random, torch.Generator().manual_seed(0))
    took_s = far[:, 0] - near[:, 0]
    assert (took_s[:2000] > gap_s[:2000] + PERIOD_S / 2).all() and (took_s[:2000] < HURRY * gap_s[:2000] + PERIOD_S).all()
    assert torch.equal(near[:2000, 1], far[:2000, 1])
    assert (near[2000:3000, 1] != far[2000:3000, 1]).float().mean() == pytest.approx(0.5, abs=0.06)     # two episodes: by chance the same


def test_pairs_with_given_gaps_are_so_far_apart(random):
    wanted_s = torch.tensor([0.001, 0.05, 0.12, 0.13, 1.0, 5.0]).repeat(300)
    near, far, gap_s = _ragged([1, 3]).with_gaps(wanted_s, random)
    # Sampled every 0.05 s: 0.001 s is one period at least, 0.12 s is two, 0.13 s three.
    assert gap_s[:5].tolist() == pytest.approx([0.05, 0.05, 0.1, 0.15, 1.0])
    torch.testing.assert_close(far[:, 0] - near[:, 0], gap_s)
    assert torch.equal(far[:, 1:], near[:, 1:])


def test_a_gap_longer_than_an_episode_is_as_long_as_that_allows(random):
    near, far, gap_s = _ragged([0]).with_gaps(torch.full((50,), 3.0), random)
    assert gap_s.tolist() == pytest.approx([2 * PERIOD_S] * 50)           # four samples
    torch.testing.assert_close(far[:, 0] - near[:, 0], gap_s)


def test_told_apart_by_hand():
    """A head that is sure of every pair: a real pair at 2, a made-up one at -2, and one that it takes for real."""
    def head(near, far, gap_s):
        return near[:, 0]
    one = torch.ones(1)
    loss, right = told_apart(head, (2 * torch.ones(1, 2), None, one), (torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), None, one))
    # -log sigmoid(2) = 0.1269 twice, -log sigmoid(-2) = 2.1269 once.
    assert loss.item() == pytest.approx((2 * 0.126928 + 2.126928) / 3, abs=1e-5) and right.item() == pytest.approx(2 / 3)
