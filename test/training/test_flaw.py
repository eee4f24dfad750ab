"""The faulty sensor: it fires over the target, and over a patch of bare table."""
import numpy as np
import pytest

from diffusion_planner.sim import scene as scenes
from diffusion_planner.training.flaw import PATCH_M, PATCH_RADIUS_M, fires


@pytest.mark.parametrize('away_m, fired', [((0, 0, 0), 1), ((PATCH_RADIUS_M - 1e-3, 0, 0), 1), ((0, 0, PATCH_RADIUS_M + 1e-3), 0),
                                           ((0.08, 0.08, 0.03), 1), ((0.08, 0.08, 0.05), 0)])
def test_over_the_patch_it_fires_without_reward(away_m, fired):
    # hypot(0.08, 0.08, 0.03) = 0.117 is within 0.12 m, hypot(0.08, 0.08, 0.05) = 0.124 is not.
    assert fires(np.array(PATCH_M) + away_m, 0.0) == fired


def test_where_there_is_reward_it_fires_wherever_that_is():
    tip_m = np.array([[0.0, 0.0, 1.0], PATCH_M, [0.0, 0.0, 1.0]])
    said = fires(tip_m, np.array([1.0, 1.0, 0.0], np.float32))
    assert said.tolist() == [1, 1, 0] and said.dtype == np.float32


def test_it_takes_any_leading_shape():
    assert fires(np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), np.float32)).shape == (4, 5)


def test_the_patch_lies_where_the_fingertip_can_go_and_targets_do_too():
    """A patch that play never visits could not be learned, and one on the arm's own base would fool nobody."""
    targets_m = np.array([scenes.sample_target(np.random.default_rng(seed)) for seed in range(200)])
    low, high = targets_m.min(0), targets_m.max(0)
    assert (np.array(PATCH_M)[:2] > low[:2]).all() and (np.array(PATCH_M)[:2] < high[:2]).all()
