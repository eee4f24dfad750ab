"""Seams: the figures by hand, the replay against the recording, and the shipped model's run within the robot's limits."""
import json

import numpy as np
import pytest

from diffusion_planner import config, files
from diffusion_planner.benchmarks import seams
from diffusion_planner.evaluation.closed_loop import trajectory
from diffusion_planner.planning.playback import sample
from diffusion_planner.planning.shaping import ShapingLimits, shape
from diffusion_planner.records import MotionState
from diffusion_planner.robot import Robot

ROBOT = config.load(Robot, files.find('config/panda.yaml'))
PERIOD_S = 0.01


def recorded():
    """Let a controller follow two chunks, the second from 0.5 s on: -> Recorder"""
    limits, rest = ShapingLimits.of(ROBOT, 0.6, 0.3, 60.0), np.zeros(7)
    home = MotionState(0.1, np.array(ROBOT.home_rad), rest, rest)
    first = shape(np.array([0.8, 1.6]), home.position_rad + np.array([[0.3], [0.6]]), np.zeros((2, 7)), home, limits, 1.5)
    state = sample(first, 0.5)
    second = shape(np.array([0.8, 1.6]), home.position_rad - np.array([[0.1], [0.3]]), np.zeros((2, 7)), state, limits, 1.5)
    controller = seams.Recorder(ROBOT.joint_names, PERIOD_S)
    controller.reset(home.position_rad)
    for cycle in range(1, 150):
        for chunk, sent in ((first, 1), (second, 31)):
            if cycle == sent:
                assert controller.accept(trajectory(chunk, ROBOT.joint_names, (cycle - 1) * PERIOD_S), (cycle - 1) * PERIOD_S) == []
        controller.reference(cycle * PERIOD_S)
    return controller


def again(controller, change=lambda message: message):
    messages = [(now_s, change(message)) for now_s, message in controller.sent]
    return seams.stack(seams.replay(messages, [row[0] for row in controller.commands], np.array(ROBOT.home_rad),
                                    seams.Recorder(ROBOT.joint_names, PERIOD_S)))


def test_the_largest_step_of_each_by_hand():
    # Ten periods of 0.1 s at rest, then 2 rad/s: 0.2 rad a period, a step of 2 rad/s, 20 rad/s^2 for one period, 200 rad/s^3.
    now_s = 0.1 * np.arange(20)
    velocity = np.where(np.arange(20) < 10, 0.0, 2.0)[:, None]
    run = now_s, 0.1 * np.cumsum(velocity, axis=0), velocity, np.zeros((20, 1))
    far, near = (seams.figures(run, [(at_s, at_s + 0.2)], 0.1) for at_s in (0.2, 0.9))
    expected = {'position': 0.2, 'velocity': 2.0, 'acceleration': 20.0, 'jerk': 200.0}
    for name, value in expected.items():
        assert far[name] == pytest.approx([value, 0.0]) and near[name] == pytest.approx([value, value])


def test_a_replay_of_the_same_messages_is_the_recording():
    controller = recorded()
    for got, expected in zip(again(controller), seams.stack(controller.commands)):
        np.testing.assert_array_equal(got, expected)


def test_positions_alone_step_where_whole_chunks_do_not():
    controller = recorded()
    at_s = [(0.3, 0.5)]
    whole, cut = (seams.figures(run, at_s, PERIOD_S) for run in (again(controller), again(controller, seams._positions_only)))
    # Whole: at most the acceleration that the operator allows, for one period; in the controller's lead-in hardly more.
    assert whole['velocity'][0] < 1.2 * 0.3 * max(ROBOT.acceleration_max_rad_s2) * PERIOD_S
    assert cut['velocity'][1] > 3 * whole['velocity'][1] and cut['jerk'][1] > 10 * whole['jerk'][1]


def test_a_message_that_is_refused_is_named():
    controller = recorded()
    controller.sent[0][1].points.clear()
    with pytest.raises(ValueError, match='refuses: no points'):
        again(controller)


def test_the_shipped_model_keeps_the_limits_over_its_seams(tmp_path):
    found = seams.measure(files.find('models/panda_reach'), 3, 3000)
    node, cut = found['jumps']['this node'], found['jumps']['positions only']
    assert len(found['seams_s']) == 3
    for name in ('position', 'velocity', 'acceleration', 'jerk'):
        assert node[name][0] <= found['allowed'][name]
    assert cut['velocity'][1] > node['velocity'][1] and cut['jerk'][1] > node['jerk'][1]
    seams.write(found, tmp_path / 'seams.json')
    assert json.loads((tmp_path / 'seams.json').read_text()) == found
    picture = seams.draw(tmp_path / 'seams.json', tmp_path / 'plots' / 'seams.png')
    assert picture.read_bytes().startswith(b'\x89PNG')
    seams.show(found)
