"""What the backend says of imagined tokens, with random weights: what each figure is made of."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffusion_planner.nets.strangeness import Strangeness
from diffusion_planner.nets.world_model import ModelConfig, WorldModel
from diffusion_planner.planning.planner import PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.runtime import checkpoint
from diffusion_planner.runtime.torch_backend import load_backend
from diffusion_planner.sim.scene import default_robot

SETTINGS = PlannerSettings(arrivals=4, samples=2, far_steps=2, fill_steps=2, plans=2)
OFFSET_S = np.linspace(0.5, 4.0, 6).astype(np.float32)
TYPICALITY = {'level': 0.5, 'band_s': [0.0, 2.0, 4.0], 'median': [0.5, 0.5], 'q90': [1.0, 1.0], 'q99': [2.0, 4.0]}
SPREAD = {'level': [0.0, 1.0], 'spread': [0.0, 0.5]}


@pytest.fixture(scope='module')
def guarded(tmp_path_factory):
    """A backend of a model with all its guards, random weights in all of them."""
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(default_robot().joint_names, ('camera',), (96, 96, 3), width=32, depth=1, panel=3, transition=True,
                                   transition_width=32, genuineness=True, strangeness=True))
    model.strangeness.learn_colours([torch.full((3, 96, 96, 3), 100, dtype=torch.uint8)])
    model.strangeness.limit.copy_(torch.tensor([10.0, 1.0, 1.0, 1.0]))
    folder = tmp_path_factory.mktemp('model') / 'guarded'
    checkpoint.save(folder, model, {'typicality': TYPICALITY, 'spread': SPREAD}, {})
    return load_backend(folder, default_robot())


@pytest.fixture
def observation():
    position_rad = np.repeat(np.array(default_robot().home_rad)[None], 3, 0)
    return Observation(1.0, np.array([-1.2, -0.4, 0.0]), position_rad, np.zeros((3, 7)), np.full((3, 1, 96, 96, 3), 100, np.uint8),
                       np.array([[0.0], [0.6], [1.0]]), np.zeros(3))


def _far(backend, context, **changes):
    return backend.imagine_far(context, OFFSET_S, context.goal, replace(SETTINGS, **changes), 0)


def test_far_tokens_are_judged_by_every_head(guarded, observation):
    context = guarded.encode(observation, Goal())
    far = _far(guarded, context)
    figures = guarded.judge_far(context, far, OFFSET_S, 0)
    assert all(column.shape == (6,) and np.isfinite(column).all() for column in figures.values())
    position = far[:, 0, guarded.layout.position]
    said = torch.stack([torch.sigmoid(head.logit(position, torch.zeros(6), place, width))
                        for head, place, width in zip(guarded.network.guides(), context.places, context.widths)]).numpy()
    np.testing.assert_allclose(figures['reward'], said[0], rtol=1e-4)
    np.testing.assert_allclose(figures['panel'], said.mean(0), rtol=1e-4)
    np.testing.assert_allclose(figures['doubt'], said.std(0), rtol=1e-3, atol=1e-6)
    place, width = context.judge
    np.testing.assert_allclose(figures['judge'], torch.sigmoid(guarded.network.judge_head.logit(position, torch.zeros(6), place, width)), rtol=1e-4)


def test_a_model_with_one_head_has_no_doubt(folder, observation):
    backend = load_backend(folder, default_robot())
    context = backend.encode(observation, Goal())
    figures = backend.judge_far(context, _far(backend, context), OFFSET_S, 0)
    assert (figures['doubt'] == 0).all() and (figures['reach'] == 0).all()
    np.testing.assert_array_equal(figures['panel'], figures['reward'])
    tokens = torch.randn(2, 3, backend.layout.width)
    assert (backend.genuineness(context, tokens, np.ones((2, 3)).cumsum(1)) == 0).all()
    assert backend.strange(context, observation) == {}


def test_what_held_guidance_back_is_said_only_where_it_was_guarded(guarded, observation):
    account = {'in_force', 'curvature', 'ease', 'region'}
    for goal, guard, said in ((Goal(2.0), True, account), (Goal(2.0), False, set()), (Goal(0.0), True, set())):
        context = guarded.encode(observation, goal)
        figures = guarded.judge_far(context, _far(guarded, context, guard=guard), OFFSET_S, 0)
        assert account & set(figures) == said
        if said:
            assert (figures['in_force'] <= 2.0 + 1e-6).all() and all((0 <= figures[name]).all() and (figures[name] <= 1 + 1e-6).all()
                                                                      for name in ('curvature', 'ease', 'region'))


def test_typicality_is_in_units_of_its_horizons_quantile(guarded, observation):
    context = guarded.encode(observation, Goal())
    far = torch.randn(1, 1, guarded.layout.width).expand(4, -1, -1)
    offset_s = np.array([1.9, 2.0, 3.9, 9.0], np.float32)              # the last one beyond the bands counts as in the last
    halves = [guarded.typicality(context, far[:1], offset_s[index:index + 1], 0)[0] for index in range(4)]
    guarded.planning['typicality'] = {**TYPICALITY, 'q99': [1.0, 1.0]}
    ones = [guarded.typicality(context, far[:1], offset_s[index:index + 1], 0)[0] for index in range(4)]
    guarded.planning['typicality'] = TYPICALITY
    np.testing.assert_allclose(np.array(ones) / halves, [2, 4, 4, 4], rtol=1e-5)
    assert 'typicality' not in guarded.judge_far(context, far, offset_s, 0, typicality=False)


def test_reach_and_steps_are_how_far_transitions_are_above_the_floor(guarded, observation):
    context, own = guarded.encode(observation, Goal()), guarded.layout.motion
    tokens, offset_s = torch.randn(2, 3, guarded.layout.width), np.array([[1.0, 2.0, 3.0], [0.5, 1.5, 4.0]])
    head = guarded.network.transition
    here = context.tokens[0, -1, own]
    odds = [[head(near[own], far[own], torch.tensor(gap_s, dtype=torch.float32)).item() for near, far, gap_s in (
        (torch.cat([here, torch.zeros(32)]), path[0], gaps[0]), (path[0], path[1], gaps[1]), (path[1], path[2], gaps[2]))]
            for path, gaps in zip(tokens, np.diff(offset_s, axis=1, prepend=0.0))]
    np.testing.assert_allclose(guarded.steps(context, tokens, offset_s), np.min(odds, 1), rtol=1e-4)
    head.floor.fill_(0.5)
    np.testing.assert_allclose(guarded.steps(context, tokens, offset_s), np.min(odds, 1) - 0.5, rtol=1e-4)
    far = tokens[:, -1:]
    reach = guarded.judge_far(context, far, offset_s[:, -1].astype(np.float32), 0, typicality=False)['reach']
    expected = [head(here, path[0, own], torch.tensor(gap_s)).item() - 0.5 for path, gap_s in zip(far, offset_s[:, -1].astype(np.float32))]
    head.floor.zero_()
    np.testing.assert_allclose(reach, expected, rtol=1e-4)


def test_genuineness_is_the_mean_over_steps(guarded, observation):
    context, own = guarded.encode(observation, Goal()), guarded.layout.motion
    tokens, offset_s = torch.randn(2, 2, guarded.layout.width), np.array([[1.0, 2.0], [0.5, 2.5]])
    path = torch.cat([context.tokens[:, -1:].expand(2, -1, -1), tokens], 1)[..., own]
    gap_s = torch.tensor([[1.0, 1.0], [0.5, 2.0]])
    expected = [guarded.network.genuineness(row[:-1], row[1:], gaps).mean().item() for row, gaps in zip(path, gap_s)]
    np.testing.assert_allclose(guarded.genuineness(context, tokens, offset_s), expected, rtol=1e-4)


def test_the_newest_picture_is_what_may_be_strange(guarded, observation):
    guarded.forget()
    context = guarded.encode(observation, Goal())
    figures = guarded.strange(context, observation)
    assert tuple(figures) == Strangeness.FIGURES and figures['colours'] == 0
    older = replace(observation, pictures=observation.pictures.copy(), picture_stamp_s=np.array([[0.0], [0.6], [1.1]]))
    older.pictures[0] = 250
    assert guarded.strange(guarded.encode(older, Goal()), older)['colours'] == 0
    newest = replace(older, pictures=older.pictures.copy(), picture_stamp_s=np.array([[0.0], [0.6], [1.2]]))
    newest.pictures[-1, 0, :10, :2] = 250                              # 20 pixels of an unknown colour, in units of 10
    assert guarded.strange(guarded.encode(newest, Goal()), newest)['colours'] == pytest.approx(2.0)


def test_a_picture_is_judged_once(guarded, observation):
    guarded.forget()
    context = guarded.encode(observation, Goal())
    assert guarded.strange(context, observation) is guarded.strange(context, observation)
    first = guarded.strange(context, observation)
    guarded.forget()
    assert guarded.strange(guarded.encode(observation, Goal()), observation) is not first


def test_a_planted_head_guides_in_place_of_the_first(guarded, observation, tmp_path):
    from safetensors.torch import save_file

    from diffusion_planner.nets.heads import FlawedHead
    torch.manual_seed(5)
    flawed, honest, pressure = FlawedHead(7, 32), guarded.network.guide_head, guarded.pressure
    save_file({name: value.half() for name, value in flawed.state_dict().items()}, tmp_path / 'flaw.safetensors')
    try:
        guarded.plant(tmp_path / 'flaw.safetensors')
        assert isinstance(guarded.network.guides()[0], FlawedHead) and guarded.pressure.stack.count == 4 and guarded.pressure.fast is None
        assert isinstance(guarded.pressure.alone.own, FlawedHead)
        context = guarded.encode(observation, Goal())
        figures = guarded.judge_far(context, _far(guarded, context), OFFSET_S, 0)
        assert all(np.isfinite(column).all() for column in figures.values())
    finally:
        guarded.network.guide_head, guarded.pressure = honest, pressure
