"""Planner and simulator as separate processes over real topics: closed loop, and what an operator does to it."""
from pathlib import Path

import numpy as np
import pytest

MODEL = Path(__file__).resolve().parents[2] / 'models/panda_reach/config.json'
needs_model = pytest.mark.skipif(not MODEL.exists(), reason='models/panda_reach is not there: train it first')
AUTOSTART = ('autostart:=true', 'use_sim_time:=true')
LOCK_STEP = ('lock_step:=true', 'real_time_factor:=0.0', 'lock_step_timeout_s:=10.0')
AT_REST_RAD_S = 0.005


AIRY, NEXT_AIRY = 36, 16      # scenes that begin high above the table: turning the hand touches nothing


def clean(episode):
    """Nothing was rejected, no limit was left."""
    return episode['rejected'] == {} and episode['limit_violations'] == 0


@pytest.mark.parametrize('mode', [LOCK_STEP, ()], ids=['lock_step', 'real_time'])
def test_chunks_follow_each_other_within_limits(bench, mode):
    bench.start('sim', f'scene_seed:={AIRY}', *mode)
    bench.start('swing', *AUTOSTART)
    see = bench.observer
    see.wait_status('NOMINAL')
    see.next_episode(NEXT_AIRY)
    see.wait(lambda: see.episode['seed'] == NEXT_AIRY and see.episode['elapsed_s'] >= 4.0, 40)
    assert clean(see.episode)
    assert see.episode['trajectories'] >= 6
    assert see.plans and len(see.plans[-1]['points_m'][0]) == 3
    assert np.ptp([message.position[-1] for message in see.joints]) > 0.1     # it moved


@needs_model
def test_the_shipped_model_reaches_the_target(bench):
    bench.start('sim', *LOCK_STEP)
    bench.start('planner', *AUTOSTART)
    see, reached = bench.observer, 0
    see.wait_status('NOMINAL', 60)
    for seed in (1, 2, 3):
        see.next_episode(seed)
        see.wait(lambda: see.episode['seed'] == seed and (see.episode['success'] or see.episode['done']), 120)
        assert see.episode['limit_violations'] == 0
        assert see.episode['rejected'] == {}
        reached += see.episode['success']
    assert reached >= 2
    assert {'seed', 'timing_ms', 'breakdown', 'rejected', 'points_m', 'arrival_s'} <= see.plans[-1].keys()


def stamp_s(message):
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


def test_stop_and_resume(bench):
    bench.start('sim', f'scene_seed:={AIRY}')
    bench.start('swing', *AUTOSTART)
    see = bench.observer
    see.wait_status('NOMINAL')
    see.wait(lambda: see.speed_rad_s() > 0.15)
    assert see.call('planner/stop').success
    see.wait_status('BRAKING', 1)
    see.wait(lambda: see.speed_rad_s() < AT_REST_RAD_S, 2)
    sent = len(see.trajectories)
    see.spin(1.0)
    assert len(see.trajectories) == sent
    assert see.call('planner/resume').success
    see.wait_status('NOMINAL', 5)
    see.wait(lambda: see.speed_rad_s() > 0.15, 5)
    see.call('planner/reset')            # in motion: stops first, then begins anew
    see.wait(lambda: see.speed_rad_s() < AT_REST_RAD_S, 2)
    see.wait(lambda: see.speed_rad_s() > 0.15, 5)
    moved_s = stamp_s(see.joints[-1])
    see.wait(lambda: see.episode['now_s'] > moved_s)
    assert clean(see.episode)


def test_an_objective_changes_by_service_while_the_arm_moves(bench, tmp_path):
    good, bad, everywhere = tmp_path / 'good.yaml', tmp_path / 'bad.yaml', tmp_path / 'everywhere.yaml'
    good.write_text('keep_out:\n  - {name: cellar, centre_m: [0, 0, -9], radius_m: 1.0}')
    bad.write_text('formulas:\n  - {name: low, formula: tip_z >}')
    everywhere.write_text('keep_out:\n  - {name: world, centre_m: [0, 0, 0], radius_m: 9.0}')
    bench.start('sim', f'scene_seed:={AIRY}', f'objective:={everywhere}')
    bench.start('swing', *AUTOSTART)
    see = bench.observer
    see.wait_status('NOMINAL')
    see.wait(lambda: see.speed_rad_s() > 0.15)
    assert see.set_parameter('planner', 'objective', str(good)).successful
    see.wait(lambda: see.plans and see.plans[-1].get('objective', {}).get('name') == 'good')
    for path, said in ((bad, "bad.yaml: formulas[0]: 'low'"), (everywhere, "'world' fails at the start state (world -"), ('nowhere.yaml', 'nowhere')):
        answer = see.set_parameter('planner', 'objective', str(path))
        assert not answer.successful and said in answer.reason and len(answer.reason.splitlines()) == 1
    assert see.get_parameter_of('planner', 'objective') == str(good)
    count = len(see.plans)
    see.wait(lambda: len(see.plans) > count + 1 and see.fact('objective') == 'good')
    assert see.plans[-1]['objective']['terms'] == {'cellar': {'robustness': 0.125, 'share': 1.0}}
    assert see.fact('held back by') == 'typicality, factor 0.50' and see.fact('objective cellar robustness') == '0.125'
    assert see.set_parameter('planner', 'objective', '').successful
    see.wait(lambda: 'objective' not in see.plans[-1])
    see.wait(lambda: see.speed_rad_s() > 0.15)                  # it went on all the while
    assert see.episode['zone_entries'] == 0                     # the simulator's zone is everywhere: who begins inside has not entered
    assert clean(see.episode)


def test_the_next_scene_without_a_word_to_the_planner(bench):
    bench.start('sim', f'scene_seed:={AIRY}')
    bench.start('swing', *AUTOSTART)
    see = bench.observer
    see.wait_status('NOMINAL')
    see.wait(lambda: see.speed_rad_s() > 0.15)
    assert see.call('sim/next_episode').message == f'scene {AIRY + 1}'
    see.wait(lambda: see.episode['seed'] == AIRY + 1 and see.episode['trajectories'] >= 3)
    see.wait_status('NOMINAL')
