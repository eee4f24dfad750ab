"""Deadlines: figures by hand, plans timed on a clock that the test moves, and the picture of them."""
import json
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_planner.benchmarks import deadline, deadline_report
from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.files import find
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.settings import NoSafeCandidate, PlannerSettings


def episode(seed, deadline_ms, success, plan_ms, far, refused_ms=()):
    return {'seed': seed, 'deadline_ms': deadline_ms, 'success': success, 'time_to_target_s': 2.0 + seed if success else None, 'contacts': 0,
            'limit_violations': 0, 'took_ms': [*plan_ms, *refused_ms], 'plan_ms': plan_ms, 'steps': [{'far': far, 'fill': 4}] * len(plan_ms),
            'noise_left': [1 - far / 4] * len(plan_ms)}


ROWS = [episode(0, 10.0, True, [9.0, 10.0], 1), episode(0, None, True, [50.0], 4), episode(1, 10.0, False, [8.0, 12.0], 2, [11.0] * 3 + [7.0]),
        episode(1, None, True, [60.0], 4), episode(0, 100.0, True, [55.0], 4), episode(1, 100.0, False, [], 4, [50.0] * 10)]
OPTIONS = deadline.Options(find('models/panda_reach'), (100.0, 10.0), 2, 0)


def test_episodes_are_summed_up_by_deadline_none_at_last():
    short, long, none = deadline.summary(ROWS)
    assert [row['deadline_ms'] for row in (short, long, none)] == [10.0, 100.0, None]
    assert short['success_rate'] == 0.5 and short['time_to_target_s'] == 2.0 and none['time_to_target_s'] == 2.5
    # Of four plans one was late, of four refusals three: what is refused took its time, too.
    assert short['attempts'] == 8 and short['refused'] == 4 and short['kept'] == 0.5
    assert short['plan_ms_p50'] == 10.5 and short['plan_ms_max'] == 12.0          # 7 8 9 10 | 11 11 11 12
    assert short['steps'] == {'far': 1.5, 'fill': 4.0} and short['noise_left'] == 0.625
    assert none['kept'] == 1.0 and none['noise_left'] == 0.0
    assert long['refused'] == 10 and long['attempts'] == 11


def test_an_episode_runs_under_its_deadline_and_keeps_what_is_shown(monkeypatch):
    ran = []

    class Fake:
        settings = LoopSettings('model')

        def run(self, seed):
            ran.append(self.settings.deadline_ms)
            return {**episode(seed, None, True, [5.0], 4), 'judged': ['much']}
    monkeypatch.setattr(deadline, '_loop', Fake())
    rows = [deadline._episode((7, deadline_ms)) for deadline_ms in (10.0, None)]
    assert ran == [10.0, None] == [row['deadline_ms'] for row in rows]
    assert all(row['seed'] == 7 and 'judged' not in row for row in rows)


@pytest.mark.parametrize('deadline_ms, deadline_s', [(30.0, 0.03), (0.0, None), (None, None)])
def test_the_loop_hands_its_deadline_to_every_plan(deadline_ms, deadline_s):
    asked = []
    planner = SimpleNamespace(plan=lambda *given: asked.append(given), backend=SimpleNamespace(planning={}))
    env = SimpleNamespace(robot=None, now_s=1.0)
    loop = Loop(LoopSettings('', deadline_ms=deadline_ms), env, planner)
    loop.took_ms = []
    loop.think(SimpleNamespace(begin=lambda now_s: ('observation', 'handover')), 'goal', 5)
    assert len(loop.took_ms) == 1 and asked == [('observation', 'goal', 5, deadline_s)]


def test_plans_are_timed_in_turn_refused_ones_too(monkeypatch, tmp_path):
    clock, seen = [0.0], []

    class Planner:
        backend = SimpleNamespace(planning={'recommended_scale': 3.0}, forget=lambda: seen.append('forget'))

        def reset(self):
            seen.append('reset')

        def plan(self, look, goal, seed, deadline_s):
            seen.append((look, goal.guidance_scale, seed, deadline_s))
            clock[0] += 0.009 if seed else 0.02      # one of four is late
            if seed == 2:
                raise NoSafeCandidate({'contact': 1})
            return SimpleNamespace(steps={'far': 1 if deadline_s else 4, 'fill': 4}, level=np.array([0.0, 0.75 if deadline_s else 0.0]))
    monkeypatch.setattr(deadline, 'load_planner', lambda *given, **options: Planner())
    monkeypatch.setattr(deadline, 'warm_up', lambda *given: None)
    monkeypatch.setattr(deadline, '_looks', lambda *given: ['here', 'there'])
    monkeypatch.setattr(deadline.time, 'perf_counter', lambda: clock[0])
    report = deadline.timed(deadline.Options(find('models/panda_reach'), (10.0,)), 4, tmp_path / 'timed.json')
    assert seen[:5] == ['reset', 'forget', ('here', 3.0, 0, 0.01), 'forget', ('here', 3.0, 2, 0.01)]
    assert seen[5:8] == ['reset', 'forget', ('here', 3.0, 0, None)]
    assert ('there', 3.0, 1, 0.01) in seen and len(seen) == 4 + 16
    hurried, free = report['timed']
    assert (hurried['attempts'], hurried['refused'], hurried['kept']) == (4, 1, 0.75)
    assert hurried['plan_ms_max'] == pytest.approx(20) and hurried['plan_ms_p50'] == pytest.approx(9)
    assert hurried['steps'] == {'far': 1.0, 'fill': 4.0} and hurried['noise_left'] == 0.75 and free['noise_left'] == 0.0
    assert json.loads((tmp_path / 'timed.json').read_text())['settings']['deadlines_ms'] == [10.0, None]
    assert report['planner']['far_steps'] == PlannerSettings().far_steps and len(report['model_sha256']) == 64
    deadline_report.show_timed(report)


def test_the_report_is_shown_and_drawn(tmp_path, capsys):
    pytest.importorskip('matplotlib')
    report = {**deadline._header(OPTIONS), 'summary': deadline.summary(ROWS), 'episodes': ROWS}
    deadline.write(report, tmp_path / 'deep' / 'deadline.json')
    picture = deadline_report.draw(tmp_path / 'deep' / 'deadline.json', tmp_path / 'other' / 'deadline.png')
    assert picture.stat().st_size > 20_000
    deadline_report.show(report)
    shown = capsys.readouterr().out
    assert '10 ms' in shown and '50.0%' in shown and '4 of 8' in shown and '1 process on' in shown


def test_a_deadline_that_no_plan_survives_can_be_shown_and_drawn(tmp_path):
    pytest.importorskip('matplotlib')
    rows = [episode(0, 1.0, False, [], 4, [9.0] * 10), episode(0, None, False, [], 4)]
    report = {**deadline._header(OPTIONS), 'summary': deadline.summary(rows), 'episodes': rows}
    deadline.write(report, tmp_path / 'deadline.json')
    deadline_report.draw(tmp_path / 'deadline.json', tmp_path / 'deadline.png')
    deadline_report.show(report)


def test_a_refusal_is_timed_and_an_attempt_that_never_began_is_not():
    def refuse(*given):
        raise NoSafeCandidate({'contact': 1})

    def not_ready(now_s):
        raise NotReady('waiting')
    loop = Loop(LoopSettings(''), SimpleNamespace(robot=None, now_s=1.0), SimpleNamespace(plan=refuse, backend=SimpleNamespace(planning={})))
    loop.took_ms, loop.refusals = [], []
    cycle = SimpleNamespace(begin=lambda now_s: ('observation', 'handover'), refuse=lambda refused: None)
    loop.think(cycle, 'goal', 5)
    loop.think(SimpleNamespace(begin=not_ready), 'goal', 6)
    assert len(loop.took_ms) == len(loop.refusals) == 1
