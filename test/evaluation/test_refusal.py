"""First looks, summed up, as written down here."""
import pytest

from diffusion_planner.evaluation.metrics import wilson
from diffusion_planner.evaluation.refusal import show, summarise

FOUND = [({'colours': 0.5, 'missing': 0.0}, False), ({'colours': 3.0, 'missing': 0.0}, True), ({'colours': 0.2, 'missing': 2.0}, False),
         ({'colours': 1.5, 'missing': 4.0}, True)]


def test_by_hand():
    # Two of four refused; a third one has only a worry; colours above the limit twice, missing twice. Medians (0.5 + 1.5) / 2 and 2 / 2.
    row = summarise('second_arm', FOUND)
    assert row['scene'] == 'second_arm' and row['scenes'] == 4
    assert row['refused'] == pytest.approx([0.5, *wilson(2, 4)]) and row['alarm'] == pytest.approx([0.75, *wilson(3, 4)])
    assert row['by'] == {'colours': 0.5, 'missing': 0.5} and row['median'] == {'colours': 1.0, 'missing': 1.0}


def test_ordinary_scenes_that_raise_no_alarm():
    row = summarise('ordinary', [({'colours': 0.5, 'missing': 0.0}, False)] * 10)
    assert row['refused'][0] == row['alarm'][0] == 0 and row['refused'][2] == wilson(0, 10)[1]


def test_the_table_names_every_scene_and_figure(capsys):
    show([summarise('ordinary', FOUND[:1]), summarise('lights_out', FOUND)])
    told = capsys.readouterr().out
    assert all(word in told for word in ('ordinary (1)', 'lights_out (4)', 'colours', 'missing'))
