"""Training on play that two cameras saw and a wrench felt: every stage, on a tiny setting, ending in a folder that plans."""
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import SETTINGS, episode, write

from diffusion_planner.config import ConfigError, from_mapping
from diffusion_planner.data import store
from diffusion_planner.data.windows import STALE_S, Windows
from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.layout import Layout, ModelConfig
from diffusion_planner.nets.encoders import Decoder, Encoder, encode_views
from diffusion_planner.nets.normalizer import Normalizer
from diffusion_planner.planning.planner import PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime import checkpoint
from diffusion_planner.sim.scene import default_robot
from diffusion_planner.training import denoising, imagined, trainer
from diffusion_planner.training.batches import RepresentationBatches

torch.set_num_threads(1)
CAMERAS, WRENCH = ('front', 'wrist'), 6
STAGE = {'steps': 2, 'batch': 16, 'learning_rate': 1e-3}
LOOSE = PlannerSettings(arrivals=2, samples=1, far_steps=2, fill_steps=2, fill_in=3, plans=2, typicality_limit=1e9, reach_limit=-1e9,
                        refuse_unfamiliar=False, strange_limit=1e9)     # two steps of training are typical of nothing
FREE = SimpleNamespace(joint_names=default_robot().joint_names, velocity_max_rad_s=[1e9] * 7, position_min_rad=[-1e9] * 7, position_max_rad=[1e9] * 7)


def felt(seed):
    """Play with two cameras, the second of which sees the negative of the first, and a wrench: forces of newtons, torques of millinewton metres."""
    one = episode(seed)
    wave = np.sin(one.stamp_s[:, None] * np.arange(1, WRENCH + 1)) * [10, 10, 10, 1e-3, 1e-3, 0] + [0, 0, -20, 0, 0, 9.81]
    return replace(one, pixels=np.concatenate([one.pixels, 255 - one.pixels], 1), sensors={'gripper': one.position_rad[:, :1], 'wrench': wave})


@pytest.fixture(scope='module')
def play(tmp_path_factory):
    folder = tmp_path_factory.mktemp('felt')
    store.write_shard(store.shard_path(folder, 0), [felt(seed) for seed in range(30)],
                      {'joint_names': list(default_robot().joint_names), 'cameras': list(CAMERAS), 'picture_shape': (96, 96, 3)})
    return folder


@pytest.fixture(scope='module')
def trained(play, tmp_path_factory):
    """Train every stage on it: -> model folder"""
    folder = tmp_path_factory.mktemp('trained')
    trainer.train(write(folder, SETTINGS), play, folder / 'model')
    return folder / 'model'


def test_every_stage_trains_and_the_folder_says_what_its_tokens_hold(trained):
    model, config = checkpoint.load(trained)
    assert model.config.cameras == CAMERAS and model.config.sensors == (('gripper', 1), ('wrench', WRENCH))
    layout = model.layout
    assert layout.width == 14 + 2 * 32 + 7 == model.denoiser.enter.in_features
    assert model.guide_head.place[0].in_features == 2 * 32         # reads all cameras, and no sensor
    wrench = layout.sensor_of(1)
    mean, spread = model.normalizer.mean[wrench], model.normalizer.spread[wrench]
    assert mean[2] == pytest.approx(-20, abs=2) and 5 < spread[0] < 9
    assert 5e-4 < spread[3] < 9e-4 and spread[5] == 1              # small units are no reason to be small, and what never changes no scale
    assert model.encoder.camera.abs().max() > 0 and not torch.equal(model.encoder.camera[0], model.encoder.camera[1])
    assert (model.normalizer.spread[layout.picture] != 1).all()    # of both cameras
    assert {'typicality', 'reward_calibration'} <= set(config['planning'])


def test_guards_are_trained_beside_it_and_know_each_cameras_pictures(trained, play, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / 'model')
    original = imagined.imagine
    monkeypatch.setattr(imagined, 'imagine', lambda job, head, episodes, rounds, **how: original(job, head, episodes, 2, batch=8, **how))
    stages = dict.fromkeys(('panel', 'transition', 'genuineness', 'flaw'), STAGE)
    trainer.train(write(tmp_path, SETTINGS | stages), play, tmp_path / 'model', stage='judges')
    model, _ = checkpoint.load(tmp_path / 'model')
    front, wrist = model.strangenesses()
    assert model.config.sensors == (('gripper', 1), ('wrench', WRENCH)) and model.panel[0].place[0].in_features == 2 * 32
    # Noise and its negative: to the camera that always sees the one the other is as strange as can be.
    assert front.known.any() and wrist.known.any() and not torch.equal(front.known, wrist.known)
    assert not torch.equal(front.all_centre, wrist.all_centre)
    planner = load_planner(tmp_path / 'model', FREE, LOOSE)
    seen = Observation(1.0, np.array([-1.2, -0.4, 0.0]), np.repeat(np.array(default_robot().home_rad)[None], 3, 0), np.zeros((3, 7)),
                       np.zeros((3, 2, 96, 96, 3), np.uint8), np.array([[0.0] * 2, [0.6] * 2, [1.0] * 2]), np.zeros(3), sensors=np.zeros((3, 7)))
    plan = planner.plan(seen, Goal(1.0), seed=0)
    assert np.isfinite(plan.position_rad).all() and plan.latent.shape[1] == 2 * 32 + 7 and 'strange_colours' in plan.breakdown


def test_slices_of_a_token_lie_side_by_side():
    layout = Layout(2, 2, 3, (('wrench', 6), ('gripper', 1)))
    slices = layout.position, layout.velocity, layout.picture_of(0), layout.picture_of(1), layout.sensor_of(0), layout.sensor_of(1)
    assert [number for part in slices for number in range(layout.width)[part]] == list(range(layout.width)) == list(range(17))
    assert (layout.picture, layout.sensor, layout.seen) == (slice(4, 10), slice(10, 17), slice(4, 17))


@pytest.mark.parametrize('sensors, expected', [
    ([['wrench', 0]], 'sensors: wrench: got 0 numbers, expected at least 1'), ([['front', 6]], 'expected names that differ from one another'),
    ([['wrench', 6], ['wrench', 3]], 'expected names that differ'), ([['joint_states', 6]], 'expected names that differ'),
    ([['wrench']], 'sensors.0.: got 1 values, expected 2'), ([['wrench', 'six']], 'expected int')])
def test_sensors_that_make_no_token_are_refused(sensors, expected):
    with pytest.raises(ConfigError, match=expected):
        from_mapping(ModelConfig, {'joint_names': ['one'], 'cameras': ['front'], 'sensors': sensors})


def test_a_model_of_before_there_were_sensors_has_none():
    assert from_mapping(ModelConfig, {'joint_names': ['one'], 'cameras': ['front']}).layout == Layout(1, 1, 32)


def test_cameras_share_an_encoder_but_for_a_shift_of_their_own():
    one, two = (type(net)(8, cameras=2) for net in (Encoder(8), Decoder(8)))
    pixels = torch.randint(0, 256, (3, 2, 96, 96, 3), dtype=torch.uint8)
    same = pixels[:, :1].expand(-1, 2, -1, -1, -1)
    latent = encode_views(one, same)
    assert torch.equal(latent[:, :8], latent[:, 8:])               # nothing is known of either to begin with
    with torch.no_grad():
        one.camera[1] += 0.5
        two.camera[1] += 0.5
    apart = encode_views(one, same)
    assert torch.equal(apart[:, :8], latent[:, :8]) and not torch.allclose(apart[:, 8:], latent[:, 8:])
    assert not torch.allclose(two(latent[:, :8], 0), two(latent[:, :8], 1))
    mixed = one(pixels.flatten(0, 1).permute(0, 3, 1, 2).float() / 255, torch.tensor([0, 1] * 3))     # as the graph is called
    torch.testing.assert_close(mixed.view(3, -1), encode_views(one, pixels))
    assert not [name for name in Encoder(8).state_dict() if 'camera' in name]      # with one camera there is nothing to tell apart


def test_both_cameras_are_learned_from(play, tmp_path):
    """What either camera sees is encoded, decoded and told to the heads."""
    job = trainer.Job(trainer.configuration.load(trainer.TrainingConfig, write(tmp_path, SETTINGS)), play, tmp_path / 'm', False, torch.device('cpu'))
    job._motion_normalizer()
    pictures = trainer.representation.Pictures(job.episodes, np.ones(30, bool), 2)
    assert pictures.pixels.shape[1:] == (2, 96, 96, 3)
    batches = RepresentationBatches(job, pictures)
    loss, _ = batches.loss(torch.Generator().manual_seed(0))
    loss.backward()
    assert all(job.model.encoder.camera.grad[camera].abs().sum() > 0 for camera in (0, 1))
    assert all(job.model.decoder.camera.grad[camera].abs().sum() > 0 for camera in (0, 1))
    assert job.model.guide_head.place[0].weight.grad[:, 32:].abs().sum() > 0
    for camera in (0, 1):
        before = batches.loss(torch.Generator().manual_seed(0))[1]
        pictures.pixels[:, camera] = 200
        after = batches.loss(torch.Generator().manual_seed(0))[1]
        assert all(after[name] != before[name] for name in ('picture', 'guide_bce', 'judge_bce'))


def test_a_token_holds_what_sensors_felt_and_the_origin_what_they_felt_a_little_before():
    stamp_s = np.arange(200) * 0.05
    episodes = SimpleNamespace(stamp_s=stamp_s, frame_stamp_s=stamp_s[::4], joint_start=np.array([0, 100, 200]), frame_start=np.array([0, 25, 50]),
                               position_rad=np.zeros((200, 1), np.float32), velocity_rad_s=np.zeros((200, 1), np.float32),
                               sensors={'row': np.arange(200)[:, None], 'twice': 2 * np.arange(200)[:, None]})
    windows = Windows(episodes, (-0.4, 0.0), 2.0)
    joint, frame, sensor, _, present = windows.draw(np.arange(2), 500, 3, np.random.default_rng(0))
    model = SimpleNamespace(layout=Layout(1, 1, 1, (('twice', 1), ('row', 1))), normalizer=lambda tokens: tokens)
    tokens = denoising.WindowTokens(windows, model, torch.zeros(50, 1), 'cpu').tokens(joint, frame, sensor)
    assert torch.equal(tokens[..., 3], 2 * tokens[..., 4]) and torch.equal(tokens[..., 4], torch.from_numpy(sensor).float())
    behind = joint - sensor
    assert (behind[:, [0, 2, 3, 4]] == 0).all() and (sensor // 100 == joint // 100).all()
    assert (behind[:, 1] >= 0).all() and 0.9 * STALE_S / 0.05 < behind[:, 1].max() <= STALE_S / 0.05 + 1


def test_the_vote_of_the_path_is_the_same_however_many_look_on():
    one, three = (denoising.token_weight(Layout(7, cameras, 32)) for cameras in (1, 3))
    assert (one[:7].sum() / one.sum()).item() == pytest.approx((three[:7].sum() / three.sum()).item())
    assert (denoising.token_weight(Layout(7, 1, 32, (('wrench', 6),)))[-6:] > 0).all()


def test_one_part_of_a_normalizer_is_fitted():
    normalizer = Normalizer(4)
    normalizer.fit_part(slice(1, 3), torch.tensor([[1e-5, 9.81], [3e-5, 9.81]]))
    torch.testing.assert_close(normalizer.mean, torch.tensor([0.0, 2e-5, 9.81, 0.0]))
    torch.testing.assert_close(normalizer.spread, torch.tensor([1.0, 1e-5, 1.0, 1.0]))
