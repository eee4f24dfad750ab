"""A model of two cameras and two sensors: what both backends make of an observation, and plans. The real graphs of one are in test_export.py."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffusion_planner.evaluation.assembly import load_planner, warm_up
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.planning.planner import Planner, PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime import checkpoint, export
from diffusion_planner.runtime.onnx_backend import OnnxBackend
from diffusion_planner.runtime.schedule import PICTURES_ALONE
from diffusion_planner.runtime.torch_backend import TorchBackend

torch.set_num_threads(1)
ROBOT = SimpleNamespace(joint_names=('one', 'two'), velocity_max_rad_s=[1e9] * 2, position_min_rad=[-1e9] * 2, position_max_rad=[1e9] * 2,
                        home_rad=(0.0, 0.0))
SENSORS = (('gripper', 1), ('wrench', 6))
TYPICALITY = {'level': 0.5, 'band_s': [0.0, 4.0], 'median': [0.5], 'q90': [1.0], 'q99': [2.0]}
LOOSE = PlannerSettings(arrivals=2, samples=1, far_steps=2, fill_steps=2, fill_in=3, plans=2, typicality_limit=1e9, reach_limit=-1e9,
                        refuse_unfamiliar=False, strange_limit=1e9)


class Untraced:
    """Graphs as the functions that they are made from, which takes no time."""

    def __init__(self, network):
        self._recipes = export.recipes(network)

    def __getattr__(self, name):
        module, example, outputs, _ = self._recipes[name]

        def call(**given):
            assert set(given) == set(example)
            made = module(*(torch.as_tensor(given[name]) for name in example))
            return dict(zip(outputs, [part.numpy() for part in (made if isinstance(made, tuple) else (made,))]))
        return call


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A model of random weights whose cameras differ: -> folder"""
    torch.manual_seed(0)
    network = WorldModel(ModelConfig(ROBOT.joint_names, ('front', 'wrist'), latent=4, width=16, depth=1, heads=2, strangeness=True, sensors=SENSORS))
    with torch.no_grad():
        for net in (network.encoder, network.decoder):
            net.camera.normal_(std=0.5)
        network.normalizer.spread[network.layout.sensor].copy_(torch.tensor([0.1, 5, 5, 5, 1e-3, 1e-3, 1e-3]))
        other, = network.strangeness_of_others
        other.known.fill_(255)                                  # the wrist has seen every colour
        for strangeness, limit in ((network.strangeness, [1.0, 10, 10, 1]), (other, [1.0, 1, 1, 1])):
            strangeness.limit.copy_(torch.tensor(limit))
        for layer in (network.denoiser.leave, network.denoiser.transformer.blocks[0].condition):     # which begin at zero
            layer.weight.normal_(std=0.2)
    path = tmp_path_factory.mktemp('felt') / 'model'
    checkpoint.save(path, network, {'typicality': TYPICALITY}, {})
    return path


@pytest.fixture(scope='module')
def pair(folder):
    network, config = checkpoint.load(folder)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return TorchBackend(network, config['planning']), OnnxBackend(Untraced(network), config, weights)


def observed(stamp_s=10.0, **changes):
    random = np.random.default_rng(3)
    return replace(Observation(stamp_s, np.array([-1.2, -0.4, 0.0]), np.zeros((3, 2)), np.zeros((3, 2)),
                               random.integers(0, 256, (3, 2, 96, 96, 3), np.uint8), stamp_s + np.array([[-1.2], [-0.4], [0.0]]).repeat(2, 1), np.zeros(3),
                               sensors=random.normal(0, 1, (3, 7)) * [0.1, 5, 5, 5, 1e-3, 1e-3, 1e-3], sensor_level=np.zeros((3, 2))), **changes)


def tokens_of(backend, observation):
    context = backend.encode(observation, Goal())
    return np.asarray(context.tokens).reshape(3, -1), np.asarray(context.level).reshape(-1)


@pytest.mark.parametrize('number', [0, 1], ids=['torch', 'onnx'])
def test_readings_stand_in_the_tokens_in_units_of_their_spread(pair, number):
    backend, observation = pair[number], observed()
    tokens, level = tokens_of(backend, observation)
    np.testing.assert_allclose(tokens[:, backend.layout.sensor], observation.sensors / [0.1, 5, 5, 5, 1e-3, 1e-3, 1e-3], rtol=1e-5)
    assert (level == 0).all()


@pytest.mark.parametrize('number', [0, 1], ids=['torch', 'onnx'])
def test_a_doubtful_sensor_fades_and_raises_its_tokens_level_but_not_what_pictures_say(pair, number):
    backend, known = pair[number], observed()
    tokens, level = tokens_of(backend, replace(known, sensor_level=np.array([[0, 0], [0, 0], [0.0, 1.0]])))
    wrench, rest = backend.layout.sensor_of(1), slice(0, backend.layout.sensor_of(1).start)
    np.testing.assert_allclose(tokens[-1, wrench], 0, atol=1e-6)
    np.testing.assert_allclose(level, [0, 0, PICTURES_ALONE / 4])          # one of four that look on: two cameras, two sensors
    sure = tokens_of(backend, known)[0]
    np.testing.assert_allclose(tokens[:2], sure[:2])
    np.testing.assert_allclose(tokens[-1, rest], sure[-1, rest] * np.cos(np.pi / 2 * level[-1]), rtol=1e-4, atol=1e-5)
    places = [np.asarray(backend.encode(known, Goal()).places if number == 0 else backend.encode(known, Goal()).read['places']) for known in
              (known, replace(known, sensor_level=np.array([[0, 0], [0, 0], [1.0, 1.0]])))]
    np.testing.assert_array_equal(*places)                                  # the reward is read off pictures alone


@pytest.mark.parametrize('number', [0, 1], ids=['torch', 'onnx'])
@pytest.mark.parametrize('sensors, said', [(None, 'got no sensors, expected .3, 7.: gripper .1., wrench .6.'),
                                           (np.zeros((3, 6)), 'got sensors of shape .3, 6., expected .3, 7.')])
def test_an_observation_that_feels_too_little_is_refused(pair, number, sensors, said):
    with pytest.raises(ValueError, match=f'^observation: {said}'):
        pair[number].encode(observed(sensors=sensors), Goal())


def test_cameras_are_not_mistaken_for_one_another(pair):
    same = observed()
    same.pictures[:, 1] = same.pictures[:, 0]
    for backend in pair:
        backend.forget()
        tokens, own = tokens_of(backend, same)[0], backend.layout
        assert np.abs(tokens[:, own.picture_of(0)] - tokens[:, own.picture_of(1)]).max() > 0.01
        backend.forget()
    np.testing.assert_allclose(tokens_of(pair[0], same)[0], tokens_of(pair[1], same)[0], rtol=1e-4, atol=1e-5)


def test_the_strangest_camera_counts_and_an_unseen_one_does_not(pair):
    said = []
    for backend in pair:
        backend.forget()
        whole, blind = observed(), observed(picture_level=np.array([[0.0, 1.0]] * 3))
        both, first = (backend.strange(backend.encode(one, Goal()), one) for one in (whole, blind))
        other = observed(picture_level=np.array([[1.0, 0.0]] * 3))
        second = backend.strange(backend.encode(other, Goal()), other)
        assert both['colours'] == first['colours'] > second['colours'] == 0
        assert all(both[name] == second[name] > first[name] for name in ('picture', 'latent'))
        said.append({**both, **{f'first {name}': value for name, value in first.items()}, **{f'second {name}': value for name, value in second.items()}})
        dark = observed(picture_level=np.ones((3, 2)))
        assert backend.strange(backend.encode(dark, Goal()), dark) == {}
    assert said[1] == pytest.approx(said[0], rel=1e-3)


def test_plans_are_made_and_go_on_with_what_was_imagined_of_sensors(folder):
    planner = load_planner(folder, ROBOT, LOOSE)
    assert planner.sensors == SENSORS
    first = planner.plan(observed(), Goal(1.0), 0)
    assert first.latent.shape == (LOOSE.fill_in + 1, 2 * 4 + 7) and np.isfinite(first.position_rad).all()
    again = planner.plan(observed(10.5), Goal(1.0), 1)            # its candidates include the last plan, whose latent they take whole
    assert planner.imagined_picture(again).shape == (96, 96, 3) and 'strange_colours' in again.breakdown


def test_tokens_come_back_from_what_was_decoded_of_them(pair):
    tokens = np.random.default_rng(0).normal(0, 1, (2, 3, pair[0].layout.width)).astype(np.float32)
    for backend, own in zip(pair, (torch.from_numpy, np.asarray)):
        decoded = backend.decode(own(tokens))
        np.testing.assert_allclose(np.asarray(backend.network_tokens(*(part[1] for part in decoded))), tokens[1], atol=1e-5)


def test_what_sensors_felt_matters_to_the_plan(folder):
    planner, far = load_planner(folder, ROBOT, LOOSE), []
    for factor in (1, -1):
        planner.reset()
        far.append(planner.plan(observed(sensors=factor * observed().sensors), Goal(0.0), 0).position_rad)
    assert np.abs(far[0] - far[1]).max() > 1e-4


def test_warming_up_needs_no_sensor(folder):
    network, config = checkpoint.load(folder)
    assert len(warm_up(Planner(TorchBackend(network, config['planning']), ROBOT, LOOSE), ROBOT, Goal())) == 2
