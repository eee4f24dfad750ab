"""Soak, kills and stalls with planners that need no model; what they add up is tested without processes."""
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rich.console import Console  # noqa: E402

from diffusion_planner.benchmarks import kills, turnaround  # noqa: E402
from diffusion_planner.config import ConfigError  # noqa: E402
from diffusion_planner.evaluation import stages  # noqa: E402
from diffusion_planner.planning.shaping import ShapingLimits, brake  # noqa: E402
from diffusion_planner.records import MotionState  # noqa: E402
from diffusion_planner.ros import conversions, domains, soak, soak_faults, soak_report, soak_rig, soak_stall, watcher  # noqa: E402
from diffusion_planner.sim.scene import default_robot  # noqa: E402

ROBOT, HERE = default_robot(), Path(__file__).resolve().parent
SWING = [sys.executable, str(HERE / 'planners.py'), 'swing', '--ros-args', '-p', 'use_sim_time:=true', '-p', 'autostart:=true']
AIRY = 36         # scenes from here on begin high enough for the hand to be turned
SCRIPT = '''
import json, sys
from pathlib import Path
from diffusion_planner.ros.soak import SoakOptions, run_soak
sys.exit(run_soak(SoakOptions(Path('model'), 10.0, 3, Path(sys.argv[1])), json.loads(sys.argv[2])))
'''


def test_a_short_soak_adds_up(tmp_path, capsys):
    path = tmp_path / 'deep' / 'soak.json'
    status = soak.run_soak(soak.SoakOptions(tmp_path, 0.35, AIRY, path), SWING)
    written, shown = json.loads(path.read_text()), capsys.readouterr().out
    summary = written['summary']
    assert status == int(bool(soak_report.shortcomings(summary))), shown
    assert summary['chunks'] > 10 and summary['episodes'] >= 2 and summary['elapsed_s'] >= 21
    assert summary['chunks_refused'] == summary['chunks_beyond_limits'] == 0 and summary['rejected'] == {}, shown
    assert len(written['events']) >= 2 and all(event['recovered'] in soak_report.HOW for event in written['events'])
    assert sum(row['injected'] for row in summary['faults'].values()) == len(written['events'])
    assert summary['memory'].keys() == {'sim', 'planner'} and all(found['end_mb'] > 20 for found in summary['memory'].values())
    assert 'turn-around' in shown and 'verdict' in shown and written['settings']['seed'] == AIRY
    assert written['summary']['stages_ms']['turnaround']['plans'] > 5


def test_an_interrupted_soak_keeps_what_was_counted(tmp_path):
    path = tmp_path / 'soak.json'
    process = subprocess.Popen([sys.executable, '-c', SCRIPT, str(path), json.dumps(SWING)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, 'TMPDIR': str(tmp_path)})
    end_s = time.monotonic() + 90
    while not (path.exists() and json.loads(path.read_text())['summary']['chunks']):
        assert time.monotonic() < end_s and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert 'verdict' in output and 'Traceback' not in errors
    assert not list(tmp_path.glob('diffusion_planner_*/'))      # logs are for failures


def test_a_planner_that_dies_ends_the_soak_with_its_last_words(tmp_path, capsys):
    assert soak.run_soak(soak.SoakOptions(tmp_path, json=tmp_path / 'soak.json'), [sys.executable, '-c', 'print("out of cheese"); exit(3)']) == 1
    shown = capsys.readouterr()
    assert '  | out of cheese' in shown.err and 'planner node ended with exit status 3' in shown.err and 'no chunk was published' in shown.out
    assert 'exit status 3' in json.loads((tmp_path / 'soak.json').read_text())['summary']['failure']


def test_two_kills(tmp_path, capsys):
    path = tmp_path / 'kills.json'
    status = soak_rig.carry_out(soak_rig.real_time(tmp_path, AIRY, planner=SWING), None, lambda made: kills.run(made, 2, AIRY, path))
    rows, shown = json.loads(path.read_text())['kills'], capsys.readouterr().out
    assert [row['scene'] for row in rows] == [AIRY, AIRY + 1] and status == int(any(row['faults'] for row in rows)), shown
    for row in rows:
        assert row['speed_rad_s'] > kills.MOVES_RAD_S and 0.1 < row['rest_s'] < row['tail_s'] + 0.5, row     # a late watcher, too
        assert row['limit_violations'] == 0 and 0 < row['largest']['acceleration'] < 1, row
    assert '2 kills: at rest within the tail time' in shown


@pytest.mark.parametrize('kind', ['busy', 'sleeping'])
def test_a_stalling_planner_delays_no_callback_for_long(kind):
    with domains.lease():
        found = turnaround.measure_stall(kind, 5.0)
    assert found['stalls'] >= 1 and found['stalled_ms']['plans'] > 50
    # Half a stall would be a second. What is aimed at is 5 ms, which a busy machine cannot promise: `bench turnaround --stall`.
    assert found['stalled_ms']['max'] < 500 and found['stalled_ms']['p50'] < 20


def test_delays_are_sorted_by_when_they_were_sent():
    delays = [(9.5, 9.0), (10.5, 10.25), (12.0, 11.9), (13.0, 12.5), (14.5, 14.0), (17.0, 16.5)]
    found = soak_stall.sorted_out(delays, [(10.0, 12.0), (14.0, 16.0)])
    assert found == {'stalls': 2, 'stalled_ms': pytest.approx([250, 100, 500]), 'idle_ms': pytest.approx([500])}
    assert soak_stall.sorted_out(delays, []) == {'stalls': 0, 'stalled_ms': [], 'idle_ms': []}


def report(seed, elapsed_s, violations=0, contacts=0, rejected=None, largest=0.1, **more):
    return {'seed': seed, 'elapsed_s': elapsed_s, 'limit_violations': violations, 'contacts': contacts, 'rejected': rejected or {}, 'success': False,
            'trajectories': 0, 'largest': {'jerk': largest}, **more}


def test_the_ledger_counts_every_episode_once():
    ledger = soak_report.Ledger()
    for said, fault in ((report(1, 0.0), 'a'), (report(1, 0.5, 2, 1, {'stamp': 1}), 'a'), (report(1, 1.0, 2, 1, {'stamp': 1, 'no points: none': 2}, 0.3), 'b'),
                        (report(1, 1.0, 3, 1, {'stamp': 1, 'no points: none': 2}, success=True), 'b'), (report(2, 0.0), 'b'),
                        (report(2, 0.5, 4, 2, {'stamp': 2, 'injected: no': 1}, trajectories=7), 'c'), (report(2, 0.1, 1), 'c'),
                        (report(3, 0.9, 5), 'd'), (report(3, 1.1, 6), 'd')):
        ledger.hear(said, fault, 0.25)
    found = ledger.figures()
    assert found['limit_violations'] == {'a': 2, 'b': 1, 'c': 4 + 1, 'd': 5 + 1}     # the same scene again is another episode
    assert found['rejected'] == {'stamp': 1 + 2} and found['rejected_by_design'] == {'no points: none': 2, 'injected: no': 1}
    assert (found['episodes'], found['contacts'], found['successes'], found['trajectories_taken']) == (4, 1 + 2, 1, 7)
    assert found['largest_shares'] == {'jerk': 0.3}
    assert [(case['fault'], case['steps'], case['elapsed_s']) for case in found['violation_cases']] == [
        ('a', 2, 0.5), ('b', 1, 1.0), ('c', 4, 0.5), ('c', 1, 0.1), ('d', 5, 0.9), ('d', 1, 1.1)]


def test_memory_is_that_of_the_longest_life():
    memory = soak_report.Memory()
    for life, age_s, size in ((1, 5, 50e6), (1, 61, 100e6), (1, 66, 120e6), (1, 300, 104e6), (2, 5, 50e6), (2, 62, 90e6), (2, 200, 300e6)):
        memory.note('planner', life, age_s, size)
    memory.note('sim', 1, 5, 40e6)
    memory.note('sim', 1, 10, None)
    found = memory.figures()
    assert found['planner'] == {'life_s': 300, 'minute_mb': 100.0, 'end_mb': 104.0, 'growth': pytest.approx(0.04)}
    assert found['sim'] == {'life_s': 5, 'minute_mb': None, 'end_mb': 40.0, 'growth': None}


def sound():
    """What a soak adds up to in which nothing went wrong."""
    events = [{'fault': 'held', 'recovered': 'by itself', 'recovery_s': 1.0}, {'fault': 'held', 'recovered': 'after reset', 'recovery_s': 3.0},
              {'fault': 'clock off'}]      # that one is under way
    heard = SimpleNamespace(sent=5, refused=0, exceeding=0, refusals=Counter(), excesses=Counter(), stages=stages.Stages(), total_misses=2)
    return soak_report.summarise(events, soak_report.Ledger(), soak_report.Memory(), heard)


def test_a_soak_passes_only_without_shortcomings():
    summary = sound()
    assert summary['faults'] == {'held': {'injected': 2, 'by itself': 1, 'after reset': 1, 'not': 0, 'slowest_s': 3.0}}
    assert soak_report.shortcomings(summary) == []
    assert dict(soak_report.lines(summary))['verdict'] == 'passed'
    life = {'life_s': 300.0, 'minute_mb': 100.0, 'end_mb': 106.0, 'growth': 0.06}
    for change, said in (({'chunks_beyond_limits': 1}, '1 chunks beyond limits'), ({'chunks_refused': 2}, '2 chunks refused by the contract check'),
                         ({'limit_violations': {'held': 3}}, '3 limit violations in the simulator'), ({'rejected': {'stamp': 4}}, '4 chunks rejected by'),
                         ({'memory': {'sim': life}}, 'memory of the sim grew by 6.0%, expected 5% at most'), ({'chunks': 0}, 'no chunk was published'),
                         ({'faults': {'held': {**summary['faults']['held'], 'not': 1}}}, '1 faults not recovered from')):
        wrong, = soak_report.shortcomings({**summary, **change})
        assert said in wrong
        assert said in dict(soak_report.lines({**summary, **change}))['verdict']


def test_faults_are_drawn_by_the_seed_and_kills_are_rare():
    drawn = [[(fault.kind, fault.seconds, fault.text) for fault in (schedule.next(count / 300) for count in range(300))]
             for schedule in (soak_faults.Schedule(np.random.default_rng(7)) for _ in range(2))]
    assert drawn[0] == drawn[1]
    kinds = [kind for kind, _, _ in drawn[0]]
    without = [kind for kind in kinds if kind != soak_faults.KILLED]
    assert set(without[:len(soak_faults.KINDS)]) == set(soak_faults.KINDS) and len(soak_faults.KINDS) == 21 + 6
    places = [place for place, kind in enumerate(kinds) if kind == soak_faults.KILLED]
    assert places and all(100 <= place < 200 for place in places) and len(places) <= 300 / soak_faults.FAULTS_PER_KILL
    assert all(0.2 <= seconds <= 6.0 for _, seconds, _ in drawn[0]) and any(text.startswith('camera delayed ') for _, _, text in drawn[0])


def trajectory(**changes):
    """A brake from 0.5 rad/s of the last joint, as the planner publishes it."""
    speed = np.eye(7)[6] * changes.get('speed_rad_s', 0.5)
    start = MotionState(10.0, np.array(ROBOT.home_rad), speed, np.zeros(7))
    return conversions.to_joint_trajectory(brake(start, ShapingLimits.of(ROBOT, 0.6, 0.3, 60.0)), ROBOT.joint_names, 10.0 - changes.get('ahead_s', 0.1))


def test_published_trajectories_are_looked_at_from_all_sides():
    message = trajectory()
    refusals, excesses, chunk = watcher.inspect(message, ROBOT, 20.0)
    assert refusals == [] and excesses == []
    assert chunk.origin_s == 20.0 and chunk.offset_s[0] == pytest.approx(0.1) and chunk.end_s > 20.2 and not chunk.velocity_rad_s[-1].any()
    message.points[-1].velocities[6] = 0.01
    refusals, excesses, _ = watcher.inspect(message, ROBOT, 20.0)
    assert len(refusals) == 3 and 'last point: velocity 6' in refusals[0] and not any('humble' in text for text in refusals)
    assert 'does not end at rest' in excesses
    message = trajectory()
    message.points[2].positions[6] += 0.01
    assert watcher.inspect(message, ROBOT, 20.0)[1] == ['acceleration limit of panda_joint7', 'jerk limit of panda_joint7']
    message = trajectory()
    message.points[0].time_from_start = conversions.to_duration(0.0)
    assert 'expected after 0' in watcher.inspect(message, ROBOT, 20.0)[0][0]
    message.points = message.points[:0]
    assert any('no points' in text for text in watcher.inspect(message, ROBOT, 20.0)[0])


def test_chunks_are_dated_by_when_they_were_sent():
    heard = SimpleNamespace(_dates=[(10**18, 4.0), (10**18 + 20_000_000, 4.02), (10**18 + 60_000_000, 4.04)])
    assert watcher.Watcher.simulated_s(heard, 10**18 + 10_000_000) == pytest.approx(4.01, abs=1e-9)
    assert watcher.Watcher.simulated_s(heard, 10**18 + 40_000_000) == pytest.approx(4.03, abs=1e-9)     # it was slower there


@pytest.mark.parametrize('status, fit', [
    ('NOMINAL', True), ('DEGRADED: plan refused: no safe candidate: 3 joint limits; 2 deadline misses so far', True), ('', False),
    ('DEGRADED: scene unlike the play data: picture 1.2 times what play shows', True), ('DEGRADED: camera: stale', False), ('BRAKING: held', False),
    ('DEGRADED: /session publishes trajectories too, expected nobody else', False), ('FAULT: a plan takes longer than 3 s', False)])
def test_who_complains_of_anything_but_the_scene_has_not_recovered(status, fit):
    now_s = time.monotonic()
    heard = SimpleNamespace(status=status, planned_s=now_s, state=lambda: status.partition(':')[0])
    assert watcher.Watcher.is_fit(heard, now_s - 1.0) is fit
    heard.planned_s = now_s - 2.0        # nothing has come since
    assert not watcher.Watcher.is_fit(heard, now_s - 1.0)
    assert watcher.Watcher.is_fit(heard, now_s - 5.0) is fit
    refuses = 'plan refused' in status   # whoever goes on to refuse plans goes on to plan
    heard.planned_s = now_s - 9.0
    assert watcher.Watcher.is_fit(heard, now_s - 5.0) is refuses


def test_recovery_must_last():
    answers = iter([False, True, False, True, True, True])
    holds = soak.lasting(lambda: next(answers), 0.02)
    seen = []
    for _ in range(6):
        seen.append(holds())
        time.sleep(0.025)
    assert seen == [False, False, False, False, True, True]


def killed(**changes):
    return kills.judged({'speed_rad_s': 0.4, 'tail_s': 1.5, 'rest_s': 1.4, 'limit_violations': 0, 'largest': {'acceleration': 0.4, 'jerk': 0.1}, **changes})


def test_a_kill_is_judged_by_tail_time_and_limits():
    assert killed()['faults'] == [] and killed(rest_s=1.5 + kills.SENSOR_S)['faults'] == []
    assert killed(rest_s=1.53)['faults'] == ['not at rest in time'] and killed(rest_s=None)['faults'] == ['not at rest in time']
    assert killed(limit_violations=2, largest={'acceleration': 1.5})['faults'] == ['acceleration 150% of its limit', '2 physics steps beyond limits']
    assert 'killed at 0.40 rad/s, at rest after 1.40 s, its chunk ended after 1.50 s; in time and within limits' == kills.verdict(killed())


def test_stages_come_in_the_order_of_time():
    times = stages.Stages()
    for number in range(1, 101):
        times.note({'turnaround': 10.0 * number, 'outside': 1.0, 'repair': 2.0, 'transport': 3.0})
    figures = times.figures()
    assert list(figures) == ['transport', 'repair', 'outside', 'turnaround']
    assert figures['turnaround'] == {'plans': 100, 'p50': pytest.approx(505), 'p95': pytest.approx(950.5), 'p99': pytest.approx(990.1), 'max': 1000.0}


@pytest.mark.parametrize('largest_ms, good', [(4.9, True), (5.1, False)])
def test_stalls_are_judged_by_the_longest_delay(largest_ms, good):
    calm = stages.quantiles([1.0, 2.0])
    assert turnaround.show_stalls(Console(quiet=True), {'busy': {'stalls': 1, 'stalled_ms': {**calm, 'max': largest_ms}, 'idle_ms': calm},
                                                        'torch': {'stalls': 1, 'stalled_ms': calm, 'idle_ms': calm}}) is good


def test_a_folder_is_no_report(tmp_path):
    with pytest.raises(ConfigError, match='is a folder; expected the name of a file'):
        soak.run_soak(soak.SoakOptions(tmp_path, json=tmp_path))
