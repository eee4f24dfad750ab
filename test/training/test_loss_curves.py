"""Curves on disk: what is read back, running means by hand, and the picture."""
import cv2
import numpy as np
import pytest

from diffusion_planner.training import curves


def test_a_curve_is_read_back_and_probes_are_no_losses(tmp_path):
    curve = curves.Curve(tmp_path / 'heads.csv', 0)
    curve.add(20, {'bce': 0.123456789123, 'right': 0.5})
    curve.add(40, {'bce': 1e-7, 'right': 0.75, 'rewarded_place_cm': 3.0})
    rows = curves.read(tmp_path / 'heads.csv')
    assert rows == [(20, 'bce', 0.123456789), (20, 'right', 0.5), (40, 'bce', 1e-7), (40, 'right', 0.75), (40, 'rewarded_place_cm', 3.0)]
    (step, value), = curves.losses(rows).values()
    assert step.tolist() == [20, 40] and value.tolist() == [0.123456789, 1e-7]


def test_a_run_that_goes_on_drops_what_lay_beyond_its_checkpoint_and_a_new_one_everything(tmp_path):
    curve = curves.Curve(tmp_path / 'heads.csv', 0)
    for step in (20, 40, 60):
        curve.add(step, {'bce': step})
    curves.Curve(tmp_path / 'heads.csv', 40)
    assert [row[0] for row in curves.read(tmp_path / 'heads.csv')] == [20, 40]
    curves.Curve(tmp_path / 'heads.csv', 0)
    assert curves.read(tmp_path / 'heads.csv') == []


def test_running_means_by_hand():
    # Half a window of 40 % of five is one value to either side: means of 1 2, 1 2 6, 2 6 4, 6 4 7, 4 7.
    assert curves.smoothed(np.array([1.0, 2.0, 6.0, 4.0, 7.0]), 0.4) == pytest.approx([1.5, 3.0, 4.0, 17 / 3, 5.5])
    assert curves.smoothed(np.array([3.0]), 0.4).tolist() == [3.0]


def test_the_picture_has_a_row_for_every_four_stages(tmp_path):
    for name in ('representation', 'heads', 'familiarity', 'denoiser', 'panel'):
        curve = curves.Curve(tmp_path / f'{name}.csv', 0)
        for step in range(20, 400, 20):
            curve.add(step, {'loss': 1 / step, 'other': 5.0, 'right': 0.9})
    curves.Curve(tmp_path / 'flaw.csv', 0)                       # a stage that has not logged yet
    picture = cv2.imread(str(curves.draw(tmp_path, tmp_path / 'loss.png')))
    wide, high = curves.PANEL_INCHES
    assert picture.shape == (int(2 * high * curves.DPI), int(4 * wide * curves.DPI), 3)
    below = picture[picture.shape[0] // 2:]
    assert below[:, :below.shape[1] // 4].min() < 100 and below[:, below.shape[1] // 3:].min() == 255      # one panel of the lower row
