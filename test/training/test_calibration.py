"""Calibration: figures by hand, and that scale and bias are found again."""
import numpy as np
import pytest
import torch

from diffusion_planner.training import calibration


def test_scored_by_hand():
    # Two bins: 0.25 twice, of which one happened; 0.75 twice, of which both did. Errors 0.25 and 0.25, half the samples each.
    probability, reward = torch.tensor([0.25, 0.25, 0.75, 0.75]), torch.tensor([0.0, 1.0, 1.0, 1.0])
    scored = calibration._scored(probability, reward, bins=2)
    assert scored['expected_calibration_error'] == pytest.approx(0.25)
    assert scored['reliability'] == [[0.25, 0.5, 2], [0.75, 1.0, 2]]
    assert scored['said'] == 0.5 and scored['happened'] == 0.75
    # Three that happened against one that did not, at 0.25: one tie and two wins, (0.5 + 1 + 1) / 3.
    assert scored['roc_area'] == pytest.approx(2.5 / 3)


def test_certainty_is_in_the_last_bin_and_empty_bins_are_left_out():
    scored = calibration._scored(torch.tensor([1.0, 0.95, 0.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert [count for *_, count in scored['reliability']] == [1, 2]
    assert scored['expected_calibration_error'] == pytest.approx(2 / 3 * 0.025) and scored['roc_area'] == 1.0


def test_one_that_knows_its_chances_is_calibrated():
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(20000, generator=generator)
    reward = (torch.rand(20000, generator=generator) < probability).float()
    scored = calibration._scored(probability, reward)
    assert scored['expected_calibration_error'] < 0.015
    assert scored['roc_area'] == pytest.approx(5 / 6, abs=0.01)     # of uniform chances: 1/2 + 1/3
    for said, happened, _ in scored['reliability']:
        assert happened == pytest.approx(said, abs=0.04)


def test_the_whole_diagram_adds_up():
    random = np.random.default_rng(1)
    scored = calibration._scored(torch.tensor(random.random(300)), torch.tensor((random.random(300) < 0.3).astype(float)))
    counts = np.array([count for *_, count in scored['reliability']])
    assert counts.sum() == 300
    for index, name in enumerate(('said', 'happened')):
        assert np.average([row[index] for row in scored['reliability']], weights=counts) == pytest.approx(scored[name])


def test_platt_finds_scale_and_bias_again():
    generator = torch.Generator().manual_seed(2)
    logit = 3 * torch.randn(20000, generator=generator)
    reward = (torch.rand(20000, generator=generator) < torch.sigmoid(0.5 * logit - 1.0)).float()
    torch.testing.assert_close(calibration._platt(logit, reward), torch.tensor([0.5, -1.0]), atol=0.05, rtol=0)
