"""The arithmetic of the audit in a maze, on episodes that are written down here."""
import json

import pytest

pytest.importorskip('gymnasium_robotics')

from diffusion_planner.benchmarks.maze import audit          # noqa: E402
from diffusion_planner.benchmarks.maze.world import MAZES    # noqa: E402
from diffusion_planner.evaluation.metrics import wilson   # noqa: E402


def _plan(wall, reward=0.9, **more):
    return {'wall': wall, 'reward': reward, 'judge': reward, 'reach': 1.0, 'familiarity': 2.0, **more}


def _result(promised, kept, judged, first_reach=None, refused=0):
    return {'promised': promised, 'kept': kept, 'late_s': [0.1 if came else None for came in kept], 'judged': judged, 'first_reach': first_reach, 'refused': refused, 'apart_m': [0.1] * len(judged),
            'latched': 10.0}


RESULTS = [_result([0.9, 0.8, 0.1], [True, False, None], [_plan(False, 0.9, in_force=0.2), _plan(True, 0.8), _plan(False, 0.1)], 120),
           _result([0.7], [True], [_plan(False, 0.7)], None, refused=2)]


def test_a_summary_by_hand():
    figures = audit.summarise(MAZES['umaze'], RESULTS)
    assert (figures['episodes'], figures['plans'], figures['refused']) == (2, 4, 2)
    assert figures['success'] == pytest.approx([0.5, *wilson(1, 2)])
    # The plan without a verdict counts neither as promised nor as kept; for walls all four count. Intervals go by episode: 0.85 and 0.7.
    assert figures['predicted_reward'] == pytest.approx([0.8, 0.7, 0.85]) and figures['realised_reward'][0] == pytest.approx(2 / 3)
    assert figures['kept_first'] == [1.0] * 3 and figures['late_s'] == [0.1] * 3 and figures['promises'] == 3
    assert figures['wall'] == pytest.approx([0.25, *wilson(1, 4)]) and figures['in_force'] == [0.2] * 3
    json.dumps(figures, allow_nan=False)


def test_episodes_without_plans_have_figures_too():
    figures = audit.summarise(MAZES['umaze'], [_result([], [], [], refused=9)])
    assert figures['wall'] is None and figures['predicted_reward'] is None and figures['success'][0] == 0


def test_separation_by_hand():
    # Of the guided plans 0.9 and 0.7 kept their promise and 0.8 did not: half of the pairs are the right way round.
    unguided = [_result([0.2], [False], [_plan(False, 0.2)])]
    table = audit.separation({('guarded', 1.0): RESULTS, ('guarded', 0.0): unguided})
    assert table['reward'] == {'all': 0.75, 'guided': 0.5}
    assert set(table) == {'reward', 'judge', 'reach', 'familiarity'} and table['reach']['all'] == 0.5
