"""A bag in, figures out: the same ones each time, from either storage, and those that a node at the same stamps would come to."""
import json
from dataclasses import replace

import bags
import numpy as np
import pytest

from diffusion_planner import cli
from diffusion_planner.config import ConfigError
from diffusion_planner.data import bags as reading
from diffusion_planner.data import mapping as mappings
from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.evaluation.bag_evaluate import evaluate
from diffusion_planner.evaluation.bag_topics import EvaluationError, Topics
from diffusion_planner.evaluation.bag_walk import Walk, WalkSettings
from diffusion_planner.files import find
from diffusion_planner.planning.following import coasting
from diffusion_planner.planning.history import History
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.records import Episode, Frame, Goal, JointReading
from diffusion_planner.ros.inputs import Inputs
from diffusion_planner.sim.scene import default_robot

MODEL, MAPPING, ROBOT = find('models/panda_reach'), find('config/mapping.yaml'), default_robot()
SETTINGS = WalkSettings(every_s=0.6, seed=7)


@pytest.fixture(scope='module')
def planner():
    return load_planner(MODEL, ROBOT)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('bags')


@pytest.fixture(scope='module')
def evaluated(folder):
    """A bag of two episodes that was evaluated: -> OUT, report"""
    report, _ = evaluate(bags.write_bag(folder / 'bag'), MODEL, folder / 'first', MAPPING, SETTINGS, make_inputs=Inputs)
    return folder / 'first', report


def walked(planner, bag, settings=SETTINGS, watch=lambda step: None):
    """Walk a bag with a planner: -> Walk, [Step]; watch(step) is called when a step is planned."""
    planner.reset()
    table, robot = mappings.load(MAPPING)
    with reading.open_bag(bag) as opened:
        walk = Walk(Topics(opened, table, robot, planner.cameras, ()), planner, robot, Goal(2.0), settings, Inputs)
        plan = walk.twin.plan
        walk.twin.plan = lambda step, cycle: (watch(step), plan(step, cycle))
        return walk, list(walk.steps())


@pytest.fixture(scope='module')
def walk_of_both(planner, evaluated, folder):
    """The same bag walked: -> [Step], [(episode, levels of the context, whether there was no plan to go on with)] as they were planned"""
    seen = []
    _, steps = walked(planner, folder / 'bag', watch=lambda step: seen.append((step.episode, step.observation.level.tolist(), planner.previous is None)))
    return steps, seen


def test_twice_the_same_bytes(evaluated, folder):
    out, _ = evaluated
    evaluate(folder / 'bag', MODEL, folder / 'second', MAPPING, SETTINGS, make_inputs=Inputs)
    assert (folder / 'second' / 'report.json').read_bytes() == (out / 'report.json').read_bytes()


def test_either_storage_gives_the_same_figures(evaluated, folder):
    _, report = evaluated
    other, _ = evaluate(bags.write_bag(folder / 'other', 'sqlite3'), MODEL, folder / 'third', MAPPING, SETTINGS, make_inputs=Inputs)
    assert {**other, 'source': None} == {**report, 'source': None} and other['source'] | {'name': 'bag'} == report['source']


def test_report_is_whole(evaluated):
    """Every section says something of a bag that has everything, and every picture that it names is there."""
    out, report = evaluated
    assert report == json.loads((out / 'report.json').read_text()) and 'report.part' not in [path.name for path in out.iterdir()]
    sections = ('motion', 'inverse_dynamics', 'reward', 'success', 'guidance', 'typicality', 'scene', 'limits', 'refusals', 'health', 'timeline', 'pictures')
    assert all(report[name]['about'] and report[name]['units'] for name in sections)
    files = [name for row in report['pictures']['saved'] for name in row['files'].values()]
    assert files and all((out / name).exists() for name in files)
    assert len(report['timeline']['rows']) == report['plans']['due'] >= 8 and report['plans']['guided'] >= 6
    assert [row['episode'] for row in report['bag']['episodes']] == [0, 1]
    assert len(report['verdict']['checks']) >= 8 and report['verdict']['level'] in ('ok', 'unknown', 'warn')
    assert json.loads((out / 'timing.json').read_text())['plans'] == report['plans']['guided']


def test_heads_know_the_reward_of_motion_that_really_reached_the_target(evaluated):
    """Scene 12's target is reached and held, scene 11's never: the shipped model must tell those instants apart."""
    judge = evaluated[1]['reward']['heads']['judge']['all']
    assert judge['roc_area'] > 0.95 and judge['ece'] < 0.15 and judge['n'] >= 10


def test_a_bag_played_faster_than_real_time_gives_the_same_figures(evaluated, folder):
    _, report = evaluated
    few = replace(SETTINGS, limit=3)
    fast, _ = evaluate(bags.write_bag(folder / 'fast', speed=50.0), MODEL, folder / 'fourth', MAPPING, few, make_inputs=Inputs)
    assert fast['timeline']['rows'] == report['timeline']['rows'][:3] and fast['health']['topics'][0]['clock_offset_spread_s'] > 1.0


def test_plans_are_those_of_a_node_at_the_same_stamps(planner, walk_of_both):
    """The plans of the first three steps, made anew one after the other from a history that is filled by hand; two at least are no refusals."""
    steps, episode, made = walk_of_both[0], bags.line_episodes()[0], 0
    history = History(7, planner.cameras, planner.context_offset_s)
    motion = zip(episode.stamp_s, episode.position_rad.astype(float), episode.velocity_rad_s.astype(float))
    joints = [JointReading(_stamp(since_s), position_rad, velocity_rad_s) for since_s, position_rad, velocity_rad_s in motion]
    records = sorted([*joints, *(Frame(_stamp(since_s), 'camera', pixels[0]) for since_s, pixels in zip(episode.frame_stamp_s, episode.pixels))],
                     key=lambda record: record.stamp_s)
    planner.reset()
    for step in steps[:3]:
        while records and records[0].stamp_s <= step.now_s:
            history.append(records.pop(0))
        try:
            again = planner.plan(history.observe(coasting(history.newest_reading(), step.now_s + 0.3), step.now_s), Goal(2.0), SETTINGS.seed + step.index)
        except NoSafeCandidate as refused:
            assert step.plan is None and step.refusal == str(refused)
        else:
            made += 1
            assert np.abs(again.position_rad - step.plan.position_rad).max() < 1e-5
    assert [step.now_s for step in steps[:3]] == pytest.approx([1.0, 1.6, 2.2]) and made >= 2


def _stamp(since_s):
    """The stamp that a message has, in the nanoseconds of its header."""
    return 1e-9 * round(1e9 * (bags.FIRST_S + float(since_s)))


def test_history_begins_anew_with_every_episode(walk_of_both):
    """The first plan of an episode knows nothing of the time before: its earlier rows are at level 1, as after the node's reset."""
    firsts = [next(row for row in walk_of_both[1] if row[0] == episode) for episode in (0, 1)]
    assert [row[1:] for row in firsts] == [([1.0, 1.0, 0.0], True)] * 2


def steady(rate_rad_s=0.1, seconds=4.0):
    """An arm that turns its first joint steadily, in front of the pictures of a scene: -> Episode"""
    taken, stamp_s = bags.line_episodes()[0], np.arange(0, seconds, 0.05)
    position_rad = np.tile(taken.position_rad[0].astype(float), (len(stamp_s), 1))
    position_rad[:, 0] += rate_rad_s * stamp_s
    velocity_rad_s = np.zeros_like(position_rad)
    velocity_rad_s[:, 0] = rate_rad_s
    return Episode(3, stamp_s, position_rad, velocity_rad_s, position_rad, np.zeros(len(stamp_s)), np.zeros(len(stamp_s), bool),
                   np.arange(0, seconds, 0.2), np.resize(taken.pixels, (round(seconds / 0.2), *taken.pixels.shape[1:])), taken.privileged)


def test_baselines_by_hand(planner, folder):
    """At 0.1 rad/s one of seven joints is 0.1 (0.3 + offset) rad from where it stood, rms over joints a root of seven less."""
    _, steps = walked(planner, bags.write_bag(folder / 'steady', episodes=[steady()]), WalkSettings(limit=3))
    missed = steps[1].figures['motion']
    assert missed['hold'][:4, 0] == pytest.approx([0.1 * (0.3 + offset) / np.sqrt(7) for offset in (0.1, 0.2, 0.5, 1.0)], rel=1e-4)
    assert missed['constant_velocity'][:4, 0] == pytest.approx(np.zeros(4), abs=1e-6)
    dynamics = steps[1].figures['dynamics']
    assert dynamics['hold'][0] == pytest.approx(0.005, rel=1e-3) and dynamics['hold'][1:] == pytest.approx(np.zeros(6), abs=1e-6)


def test_what_cannot_be_used_is_counted_and_the_rest_is(planner, folder):
    """A second of joint states without a joint, a black picture, a reward that is no number: dropped by reason, plans before and after."""
    def spoil(topic, stamp_s, message):
        if topic == '/joint_states' and 1.7 < stamp_s < 2.7:
            message.name = message.name[:-1] + ['another']
        if topic == '/camera/image' and stamp_s < 1.1:
            message.data = np.zeros_like(message.data)
        if topic == '/reward' and stamp_s < 1.04:
            message.data = float('nan')
        return message
    walk, steps = walked(planner, bags.write_bag(folder / 'spoilt', episodes=bags.line_episodes()[:1], change=spoil), WalkSettings(every_s=0.4))
    rows = {row['topic']: row for row in walk.health.rows(walk.inputs.sources)}
    assert rows['/joint_states']['rejected'] == {'name': 19} and rows['/camera/image']['rejected'] == {'data': 1}
    assert rows['/reward']['rejected'] == {'data': 1} and rows['/reward']['messages'] == 60
    planned = np.array([step.now_s for step in steps])
    assert planned.min() > 1.1 and (planned < 1.7).any() and not ((planned > 2.1) & (planned < 2.7)).any() and (planned > 2.7).any()
    assert 'joint_states: stale' in walk.waited_s and 'waiting for pictures of camera' in walk.waited_s


@pytest.mark.parametrize(('change', 'fault', 'told'), (
    ({'robot': 'config/xarm6.yaml'}, ConfigError, 'trained for joints'),
    ({'cameras': {'camera': {'topic': '/camera/image'}, 'wrist': {'topic': '/wrist'}}}, EvaluationError, 'has camera, wrist, expected camera, which'),
    ({'joint_states': '/arm/states'}, EvaluationError, 'topic /arm/states is not there, expected one of /camera/image'),
))
def test_what_does_not_go_together_is_one_line(change, fault, told, evaluated, folder):
    import yaml
    path = folder / 'mapping.yaml'
    path.write_text(yaml.safe_dump({**yaml.safe_load(MAPPING.read_text()), **change}))
    with pytest.raises(fault, match=told) as raised:
        evaluate(folder / 'bag', MODEL, folder / 'none', path, SETTINGS, make_inputs=Inputs)
    assert '\n' not in str(raised.value) and not (folder / 'none').exists()


def test_bad_bags_are_one_line_on_the_command_line(folder, capsys):
    """Not a bag; a bag of another arm: status 2, a line that says so, and nothing that looks like a report."""
    (folder / 'text.txt').write_text('no bag')
    other = bags.write_bag(folder / 'other_arm', episodes=bags.line_episodes()[:1], joint_names=[f'axis{index}' for index in range(7)])
    for bag, told in ((folder / 'text.txt', 'not a bag'), (other, "'panda_joint1' is missing")):
        assert cli.main(['evaluate', str(bag), '--out', str(folder / 'refused'), '--model', str(MODEL), '--map', str(MAPPING)]) == 2
        said = capsys.readouterr().err.strip()
        assert told in said and len(said.splitlines()) == 1 and not (folder / 'refused').exists()


def test_several_cameras_and_a_sensor(folder):
    """A model of two cameras and a wrench, with random weights: every topic is read, both cameras are compared, nothing is silently left out."""
    import torch
    import yaml

    from diffusion_planner.nets.world_model import ModelConfig, WorldModel
    from diffusion_planner.runtime import checkpoint
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(ROBOT.joint_names, ('front', 'wrist'), latent=4, width=16, depth=1, heads=2, sensors=(('wrench', 3),)))
    table = {'level': 0.5, 'band_s': [0.0, 4.0], 'median': [0.5], 'q90': [1.0], 'q99': [2.0]}
    checkpoint.save(folder / 'model', model, {'typicality': table, 'spread': {'level': [0.0, 1.0], 'spread': [0.0, 1.0]}}, {})
    path, wrist = folder / 'several.yaml', bags.line_episodes()[1].pixels[0, 0]
    path.write_text(yaml.safe_dump({**yaml.safe_load(MAPPING.read_text()), 'cameras': {'front': {'topic': '/camera/image'}, 'wrist': {'topic': '/wrist/image'}},
                                    'sensors': {'wrench': {'topic': '/wrench', 'fields': ['wrench.force.x', 'wrench.force.y', 'wrench.force.z']}}}))
    bag = bags.write_bag(folder / 'several', episodes=bags.line_episodes()[:1], more={
        '/wrist/image': ('sensor_msgs/msg/Image', lambda stamp_s: bags.image(np.roll(wrist, round(20 * stamp_s), 0), stamp_s)),
        '/wrench': ('geometry_msgs/msg/WrenchStamped', lambda stamp_s: bags.wrench(stamp_s, (stamp_s, 0, 1), (0, 0, 0)))})
    report, moments = evaluate(bag, folder / 'model', folder / 'several_out', path, WalkSettings(every_s=0.5, limit=3), make_inputs=Inputs)
    assert {'front', 'wrist', 'wrench'} <= {row['role'] for row in report['health']['topics'] if row['messages'] and not row['rejected']}
    assert report['plans']['due'] == 3 and set(report['health']['picture_age_s']) == {'front', 'wrist'} and moments[0].pixels.shape[0] == 2
    assert {row['camera'] for row in report['pictures']['saved']} == {'front', 'wrist'} and report['reward']['heads']['judge']['all']['n'] > 0
