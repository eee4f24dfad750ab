"""The maze benchmark: its world, its play, its episodes and its books."""
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

pytest.importorskip('gymnasium_robotics')

from diffusion_planner import cli                                                                       # noqa: E402
from diffusion_planner.benchmarks.maze import ablation, play, promises, run                             # noqa: E402
from diffusion_planner.benchmarks.maze.episodes import crosses_wall, run_episodes                       # noqa: E402
from diffusion_planner.benchmarks.maze.methods import NAMES, Path                                       # noqa: E402
from diffusion_planner.benchmarks.maze.training import spread_evenly                                    # noqa: E402
from diffusion_planner.benchmarks.maze.world import BALL, MAZES, BenchmarkError, Grid, World, find_maze  # noqa: E402
from diffusion_planner.nets.world_model import ModelConfig, WorldModel                                  # noqa: E402
from diffusion_planner.runtime import checkpoint                                                        # noqa: E402

torch.set_num_threads(1)

# The U of gymnasium-robotics: open above and below, joined on the right. Cells are metres, the origin is the middle one.
UMAZE = Grid([[1, 1, 1, 1, 1],
              [1, 0, 0, 0, 1],
              [1, 1, 1, 0, 1],
              [1, 0, 0, 0, 1],
              [1, 1, 1, 1, 1]])


@pytest.fixture(scope='module')
def world():
    return World(MAZES['umaze'])


# The world

def test_the_umaze_is_the_one_that_is_reckoned_with_here(world):
    assert (world.grid.wall == UMAZE.wall).all()


@pytest.mark.parametrize('rows', [UMAZE.wall, np.ones((9, 12)), np.ones((8, 8))])
def test_centre_and_cell_are_inverse(rows):
    grid = Grid(rows)
    for cell in np.ndindex(grid.wall.shape):
        assert grid.cell(grid.centre(cell)) == cell
        for shift in ((0.49, 0.49), (-0.49, 0.49), (0.49, -0.49)):
            assert grid.cell(grid.centre(cell) + shift) == cell


def test_centres_by_hand():
    # Row 1 of five is one above the middle, column 1 one to the left of it: y goes up where rows go down.
    assert UMAZE.centre((2, 2)).tolist() == [0, 0]
    assert UMAZE.centre((1, 1)).tolist() == [-1, 1] and UMAZE.centre((3, 2)).tolist() == [0, -1]


def test_walls_and_clearance_by_hand():
    # In a corridor a metre wide; 0.1 from the right wall; a corner of the block in the middle, at (0.5, 0.5), is
    # hypot(0.3, 0.4) = 0.5 away; in the block; outside of everything.
    points = np.array([[-1.0, 1.0], [1.4, 0.0], [0.8, 0.9], [0.0, 0.0], [0.0, 9.0]])
    assert UMAZE.in_wall(points).tolist() == [False, False, False, True, True]
    np.testing.assert_allclose(UMAZE.clearance(points)[:4], [0.5, 0.1, 0.5, 0.0], atol=1e-12)


def test_the_way_goes_round_by_hand():
    random = np.random.default_rng(0)
    assert UMAZE.way((1, 1), (3, 1), random) == [(1, 1), (1, 2), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1)]
    assert UMAZE.way((1, 1), (1, 1), random) == [(1, 1)]
    assert UMAZE.way((1, 1), (2, 2), random) == []           # into a wall


@pytest.mark.parametrize('maze', MAZES.values(), ids=str)
def test_the_score_is_0_at_the_random_policys_return_and_100_at_the_experts(maze):
    low, high = maze.score_range
    np.testing.assert_allclose(maze.normalised([low, (low + high) / 2, high]), [0, 50, 100], atol=1e-12)


def test_equal_seeds_give_equal_starts_and_goals_and_other_seeds_others(world):
    for fixed_goal in (True, False):
        state, goal_m = world.reset(3, fixed_goal)
        world.step([1, 0])
        again, same_m = world.reset(3, fixed_goal)
        other, other_m = world.reset(4, fixed_goal)
        assert np.array_equal(state, again) and np.array_equal(goal_m, same_m)
        assert not np.array_equal(state, other) and not np.array_equal(goal_m, other_m)


def test_starts_and_goals_are_free_and_a_fixed_goal_is_about_its_cell(world):
    for seed in range(20):
        state, goal_m = world.reset(seed, fixed_goal=True)
        assert world.grid.clearance(np.array([state[:2], goal_m])).min() > 0.1 and (state[2:] == 0).all()
        assert np.abs(goal_m - world.grid.centre(world.maze.goal_cell)).max() <= 0.25 + 1e-6


@pytest.mark.parametrize('seed', range(3))
def test_reward_comes_exactly_inside_45_centimetres(world, seed):
    _, goal_m = world.reset(seed, fixed_goal=True)
    for gap_m, expected in ((0.0, 1), (0.449, 1), (0.451, 0), (0.5, 0)):
        world.put([goal_m[0] + gap_m, goal_m[1], 0, 0])      # along the corridor, at rest and not pushed
        assert world.step([0, 0])[1] == expected


def test_an_unknown_maze_is_named_with_the_known_ones():
    with pytest.raises(BenchmarkError, match="--maze: got 'tiny', expected one of umaze, medium, large"):
        find_maze('tiny')


# Paths

def _path(position_m, velocity_m_s, offset_s=(0.0, 1.0)):
    return Path(np.array(offset_s), np.array(position_m, float), np.array(velocity_m_s, float))


def _cubics(coefficients, offset_s):
    """Evaluate one cubic per axis and its rate: coefficients [4, 2], offset_s [N] -> [N, 2] each"""
    powers = offset_s[:, None] ** np.arange(4)
    rates = np.arange(1, 4) * offset_s[:, None] ** np.arange(3)
    return powers @ coefficients, rates @ coefficients[1:]


CUBICS = st.lists(st.floats(-3, 3), min_size=8, max_size=8).map(lambda numbers: np.array(numbers).reshape(4, 2))
GAPS = st.lists(st.floats(0.02, 0.5), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(CUBICS, GAPS)
def test_a_path_passes_through_its_tokens_and_is_exact_for_a_cubic(coefficients, gaps_s):
    offset_s = np.concatenate([[0.0], np.cumsum(gaps_s)])
    path = Path(offset_s, *_cubics(coefficients, offset_s))
    position, velocity = path.at(offset_s)
    np.testing.assert_allclose(position, path.position_m, atol=1e-9)
    np.testing.assert_allclose(velocity, path.velocity_m_s, atol=1e-9)
    between = np.linspace(0, offset_s[-1], 50)
    expected = _cubics(coefficients, between)
    for found, wanted in zip(path.at(between), expected):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(CUBICS, GAPS)
def test_after_its_end_a_path_is_at_rest_where_it_ended(coefficients, gaps_s):
    offset_s = np.concatenate([[0.0], np.cumsum(gaps_s)])
    path = Path(offset_s, *_cubics(coefficients, offset_s))
    position, velocity = path.at(offset_s[-1] + np.array([1e-6, 0.5, 100.0]))
    assert (velocity == 0).all()
    np.testing.assert_allclose(position, np.repeat(path.position_m[-1:], 3, 0), atol=1e-12)


def test_a_line_through_a_wall_is_found_between_free_tokens():
    across = _path([[-1, 1], [-1, -1]], [[0, -2], [0, -2]])  # down through (2, 1), which is wall
    assert not UMAZE.in_wall(across.position_m).any() and crosses_wall(across, UMAZE)
    along = _path([[-1, 1], [1, 1]], [[2, 0], [2, 0]])       # right, along the upper corridor
    assert not crosses_wall(along, UMAZE)


def test_a_cubic_that_bulges_into_a_wall_is_found_between_free_tokens():
    # From (-1, 1) to (1, 1), leaving upward at 4 m/s: halfway it is share (1 - share)^2 4 = 0.5 above, on the wall's face
    # at 1.5, and at a third 4 / 3 * 4 / 9 = 0.59 above. At 3 m/s it stays below 0.45.
    assert crosses_wall(_path([[-1, 1], [1, 1]], [[2, 4], [2, 0]]), UMAZE)
    assert not crosses_wall(_path([[-1, 1], [1, 1]], [[2, 3], [2, 0]]), UMAZE)


# Play

@pytest.mark.parametrize('seed', [0, 5])
def test_play_hardly_ever_touches_a_wall(world, seed):
    state, force = play._episode(world, seed)
    assert state.shape == (play.EPISODE_STEPS, 4) and force.shape == (play.EPISODE_STEPS, 2)
    assert np.isfinite(state).all() and (np.abs(force) <= 1).all()
    # The ball's radius is 0.1 m: nearer than that it is pressed into the wall.
    assert (world.grid.clearance(state[:, :2]) < 0.1).mean() < 0.01
    assert np.linalg.norm(np.diff(state[:, :2], axis=0), axis=1).sum() > 10     # and it did not stand about: 10 m in 20 s


def test_play_of_equal_seeds_is_equal(world, monkeypatch):
    monkeypatch.setattr(play, 'EPISODE_STEPS', 50)
    one, same, other = (play._episode(world, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / 'play_0000.npz'
    np.savez_compressed(path, state=np.random.default_rng(0).random((2, 10, 4)), force=np.zeros((2, 10, 2)), version=play.VERSION)
    return path


def test_play_is_read_shard_after_shard(shard, tmp_path):
    np.savez(tmp_path / 'play_0001.npz', state=np.ones((3, 10, 4)), force=np.ones((3, 10, 2)), version=play.VERSION)
    state, force = play.read_play(tmp_path)
    assert state.shape == (5, 10, 4) and force.shape == (5, 10, 2) and (state[2:] == 1).all()


@pytest.mark.parametrize('left', [0, 2, 10, 0.5, -1])
def test_a_truncated_shard_is_named(shard, left):
    whole = shard.read_bytes()
    shard.write_bytes(whole[:left if isinstance(left, int) else len(whole) // 2])
    with pytest.raises(BenchmarkError, match='play_0000.npz: cannot be read .* delete it'):
        play.read_play(shard.parent)


def test_a_damaged_shard_is_named(shard):
    whole = bytearray(shard.read_bytes())
    whole[len(whole) // 3] ^= 0xff
    shard.write_bytes(whole)
    with pytest.raises(BenchmarkError, match='play_0000.npz: cannot be read'):
        play.read_play(shard.parent)


def test_play_of_another_version_is_named(shard):
    np.savez(shard, state=np.zeros((1, 10, 4)), force=np.zeros((1, 10, 2)), version=play.VERSION + 1)
    with pytest.raises(BenchmarkError, match=f'play_0000.npz: play of version {play.VERSION + 1}, expected {play.VERSION}'):
        play.read_play(shard.parent)


def test_a_folder_without_play_is_named(tmp_path):
    with pytest.raises(BenchmarkError, match=str(tmp_path)):
        play.read_play(tmp_path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=80), st.integers(1, 5))
def test_every_square_keeps_at_most_so_many_places(squares, most):
    place_m = (torch.tensor(squares) + 0.5) * 0.25 + 0.05 * torch.rand(len(squares), 2)
    kept = torch.floor(spread_evenly(place_m, cell_m=0.25, most=most) / 0.25).long().tolist()
    for square in set(squares):
        assert kept.count(list(square)) == min(squares.count(square), most)


def test_places_that_are_kept_are_places_that_were_given():
    place_m = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
    kept = spread_evenly(place_m, cell_m=0.2, most=3)
    assert len(kept) == 75                                   # 25 squares, each visited more than three times
    assert {tuple(place) for place in kept.tolist()} <= {tuple(place) for place in place_m.tolist()}


# Episodes

class StandingWorld:
    """A world where nothing moves and reward comes at given steps."""

    grid = UMAZE

    def __init__(self, steps, rewarded):
        self.maze, self.rewarded, self.now = replace(MAZES['umaze'], steps=steps), set(rewarded), 0

    def reset(self, seed, fixed_goal):
        self.now = 0
        return np.array([-1.0, 1.0, 0.0, 0.0]), np.array([1.0, 1.0])

    def step(self, force):
        self.now += 1
        return np.array([-1.0, 1.0, 0.0, 0.0]), float(self.now in self.rewarded)


class Written:
    """A method whose plans are written down: one answer for all."""

    def __init__(self, path=None):
        self.path, self.asked, self.elapsed_s = path, [], 0.0

    def plan(self, starts, goals_m, seeds, episodes):
        self.asked.append(list(seeds))
        return [self.path] * len(starts)

    def elapsed(self, episode, seconds):
        self.elapsed_s += seconds


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.sets(st.integers(1, 30)))
def test_latched_and_first_reach_add_up(steps, rewarded):
    result = run_episodes([StandingWorld(steps, rewarded)], Written(), [7], True, None)[0].result
    due = sorted(step for step in rewarded if step <= steps)
    assert result.reward == len(due) and result.seed == 7
    assert result.first_reach == (due[0] if due else None)
    assert result.latched == (steps - result.first_reach + 1 if due else 0)
    assert result.latched >= result.reward


# A plan that arrives after 0.05 s promises reward by step 5 + 10 of grace; an episode of 14 steps ends before that.
@pytest.mark.parametrize('steps, rewarded, kept, late_s', [(40, [15], 1, 0.1), (40, [1], 1, -0.04), (40, [16], 0, 0.11), (40, [], 0, None),
                                                           (14, [1], None, -0.04)])
def test_a_promise_is_kept_by_reward_until_shortly_after_the_arrival(steps, rewarded, kept, late_s):
    assert promises.GRACE_STEPS == 10
    path = replace(_path([[-1, 1], [-0.9, 1]], np.zeros((2, 2)), (0.0, 0.05)), promised=0.9)
    result = run_episodes([StandingWorld(steps, rewarded)], Written(path), [0], True, None)[0].result
    assert (result.promised, result.kept, result.late_s, result.plans, result.crossing) == ([0.9], [kept], [late_s], 1, 0)


def test_a_method_is_asked_again_every_so_many_steps_for_all_at_once():
    path = _path([[-1, 1], [-1, -1]], np.zeros((2, 2)))
    method = Written(path)
    episodes = run_episodes([StandingWorld(40, []), StandingWorld(40, [])], method, [2, 3], True, 20)
    assert method.asked == [[2000, 3000], [2020, 3020]]
    assert [episode.result.plans for episode in episodes] == [2, 2]
    assert [episode.result.crossing for episode in episodes] == [2, 2]          # it goes through the wall
    assert method.elapsed_s == pytest.approx(2 * 40 * 0.01)


def test_without_a_plan_it_is_tried_again_soon_and_counted_as_refused():
    method = Written(None)
    result = run_episodes([StandingWorld(12, [])], method, [0], True, None)[0].result
    assert method.asked == [[0], [5], [10]]
    assert (result.plans, result.refused, result.promised) == (0, 3, [])


# Summary and ledger

def _result(seed, reward=0.0, latched=0.0, first_reach=None, plans=1, crossing=0, refused=0):
    return {'seed': seed, 'reward': reward, 'latched': latched, 'first_reach': first_reach, 'plans': plans, 'crossing': crossing,
            'refused': refused, 'plan_ms': [1.0], 'promised': [0.5], 'kept': [1], 'late_s': [0.0]}


def test_a_summary_by_hand():
    # One episode of 300 steps reached the goal at step 201 and kept it, so it has 100 rewards either way; one never did and
    # counts with all its steps. 100 rewards are 100 (100 - 23.85) / 138.01 = 55.18 points, none are -17.28.
    row = run.summary(MAZES['umaze'], [_result(0, 100.0, 100.0, 201, plans=3, crossing=1, refused=2), _result(1, plans=5)])
    expected = 100 * (100 - 23.85) / 138.01, 100 * -23.85 / 138.01
    assert row['normalised'][0] == row['latched'][0] == pytest.approx(sum(expected) / 2)
    assert row['normalised'][1:] == pytest.approx(sorted(expected))             # two episodes: anything from one to the other
    assert row['first_reach_steps'][0] == (201 + 300) / 2
    assert row['success'][0] == 0.5 and row['wall_crossing'][0] == 1 / 8
    assert row['plans'] == 8 and row['refused'] == 2


def test_a_summary_of_nothing_but_refusals_divides_by_no_plans():
    row = run.summary(MAZES['umaze'], [_result(0, plans=0, refused=60)])
    assert row['wall_crossing'][0] == 0 and row['success'][0] == 0 and row['refused'] == 60


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-100, 200), min_size=1, max_size=40))
def test_the_interval_contains_the_mean_and_repeats_exactly(values):
    mean, low, high = run.mean_interval(values)
    assert low - 1e-9 <= mean <= high + 1e-9
    assert min(values) - 1e-9 <= low and high <= max(values) + 1e-9
    assert run.mean_interval(values) == [mean, low, high]


def test_a_ledger_finds_again_what_was_added(tmp_path):
    path = tmp_path / 'deep' / 'umaze.jsonl'
    ledger = run.Ledger(path, 'a')
    assert ledger.results == {}
    ledger.add([_result(3), _result(5, 10.0)])
    ledger.add([_result(4)])
    again = run.Ledger(path, 'a')
    assert set(again.results) == set(ledger.results) == {3, 4, 5}
    assert {key: again.results[5][key] for key in _result(5)} == _result(5, 10.0)


def test_a_ledger_ignores_a_line_that_was_cut_off_and_other_fingerprints(tmp_path):
    path = tmp_path / 'umaze.jsonl'
    run.Ledger(path, 'a').add([_result(0)])
    run.Ledger(path, 'b').add([_result(1)])
    run.Ledger(path, 'a').add([_result(2)])
    whole = path.read_text()
    for cut in range(1, 40):
        path.write_text(whole[:-cut])
        assert set(run.Ledger(path, 'a').results) == ({0, 2} if cut == 1 else {0})     # the first cut only takes the line's end
    assert set(run.Ledger(path, 'b').results) == {1}
    assert run.Ledger(path, 'c').results == {}


def test_a_ledger_that_was_cut_off_keeps_what_is_added_afterwards(tmp_path):
    path = tmp_path / 'umaze.jsonl'
    run.Ledger(path, 'a').add([_result(0), _result(1)])
    path.write_text(path.read_text()[:-10])
    run.Ledger(path, 'a').add([_result(1)])
    assert set(run.Ledger(path, 'a').results) == {0, 1}


@pytest.fixture
def booked(monkeypatch):
    """Let bench() believe in models and keep what it asks for instead of running it: -> {ledger's file: [seeds]}"""
    asked = {}

    def collect(jobs, workers, title):
        for ledger, (maze, _, name, seeds, _) in jobs:
            asked.setdefault(ledger.path.stem, []).extend(seeds)
            ledger.add([_result(seed) for seed in seeds])

    monkeypatch.setattr(run, 'collect', collect)
    monkeypatch.setattr(run, 'load', lambda *_: None)
    monkeypatch.setattr(run, 'timing', lambda *_: {})
    monkeypatch.setattr(run, 'fingerprint', lambda folder, *parts: repr(parts))
    return asked


def test_only_missing_seeds_are_run(booked, tmp_path):
    options = run.Options(('umaze',), ('ours', 'best of N'), ('fixed',), seeds=7, first_seed=100, models=tmp_path, work=tmp_path / 'work')
    assert [row['plans'] for row in run.bench(options)['rows']] == [7, 7]
    everything = list(range(100, 107))
    assert booked == {'umaze-fixed-ours': everything, 'umaze-fixed-best_of_N': everything}
    booked.clear()
    run.bench(options)
    assert booked == {}
    run.bench(replace(options, seeds=9, first_seed=99, names=('ours',)))
    assert booked == {'umaze-fixed-ours': [99, 107]}


def test_another_fingerprint_is_run_again(booked, tmp_path, monkeypatch):
    options = run.Options(('umaze',), ('ours',), ('fixed',), seeds=3, models=tmp_path, work=tmp_path / 'work')
    run.bench(options)
    booked.clear()
    monkeypatch.setattr(run, 'fingerprint', lambda folder, *parts: 'other')
    run.bench(options)
    assert booked == {'umaze-fixed-ours': [0, 1, 2]}


def test_the_fingerprint_tells_weights_and_settings_apart(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({'sha256': 'one'}))
    one, same, other = (run.fingerprint(tmp_path, part) for part in ('a', 'a', 'b'))
    (tmp_path / 'config.json').write_text(json.dumps({'sha256': 'two'}))
    assert one == same and len({one, other, run.fingerprint(tmp_path, 'a')}) == 3


def test_every_variation_of_the_ablation_has_its_own_name():
    rows = ablation.variations(MAZES['umaze'])
    assert len({row[:2] for row in rows}) == len(rows) and rows[0][:2] == ('default', 'default')


# Bad input

def _save_model(folder, maze_name):
    """Write a model folder with random weights, said to be trained for a maze."""
    torch.manual_seed(0)
    model = WorldModel(ModelConfig(BALL.joint_names, context_offset_s=(0.0,), horizon_s=2.0, latent=0, width=32, depth=1,
                                   familiarity_octaves=5, transition=True, goal='position'))
    typicality = {'level': 0.5, 'band_s': [0.0, 2.0], 'median': [0.5], 'q90': [1.0], 'q99': [2.0]}
    checkpoint.save(folder, model, {'typicality': typicality}, {'maze': maze_name})


@pytest.fixture
def bench(tmp_path, capsys):
    """Run `bench` on a folder of models and return its one line of complaint."""
    def complain(command, *arguments):
        keep = ('--json', str(tmp_path / 'report.json'), '--work', str(tmp_path / 'work')) if command != 'pictures' else ()
        assert cli.main(['bench', command, '--models', str(tmp_path), *keep, *arguments]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        return lines[0]
    return complain


@pytest.mark.parametrize('command, option, value, expected', [
    ('maze', '--maze', 'tiny', 'umaze, medium, large'), ('ablate', '--maze', 'tiny', 'umaze, medium, large'),
    ('pictures', '--maze', 'tiny', 'umaze, medium, large'), ('maze', '--method', 'magic', ', '.join(NAMES)),
    ('maze', '--goal', 'everywhere', 'fixed, resampled')])
def test_an_unknown_choice_is_one_line_with_what_was_given_and_what_was_expected(bench, command, option, value, expected):
    line = bench(command, option, value)
    assert option in line and value in line and expected in line


@pytest.mark.parametrize('command, option, value', [
    ('maze', '--seeds', '0'), ('ablate', '--seeds', '0'), ('maze', '--workers', '0'), ('maze', '--first-seed', '-1'),
    ('pictures', '--seed', 'x')])
def test_an_impossible_number_is_one_line_with_what_was_given(bench, command, option, value):
    line = bench(command, option, value)
    assert option in line and repr(value) in line


@pytest.mark.parametrize('command', ['maze', 'ablate', 'pictures'])
def test_a_missing_model_is_named(bench, tmp_path, command):
    assert str(tmp_path / 'pointmaze_large') in bench(command, '--maze', 'large')


@pytest.mark.parametrize('command', ['maze', 'ablate', 'pictures'])
def test_a_model_of_another_maze_is_named(bench, tmp_path, command):
    _save_model(tmp_path / 'pointmaze_large', 'umaze')
    line = bench(command, '--maze', 'large')
    assert "pointmaze_large: trained for maze 'umaze', expected 'large'" in line


def test_a_truncated_model_is_named(bench, tmp_path):
    _save_model(tmp_path / 'pointmaze_umaze', 'umaze')
    weights = tmp_path / 'pointmaze_umaze' / 'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-100])
    assert 'model.safetensors' in bench('maze', '--maze', 'umaze')


def test_a_missing_mujoco_is_named(bench, tmp_path, monkeypatch):
    _save_model(tmp_path / 'pointmaze_umaze', 'umaze')
    run._worlds.cache_clear()
    monkeypatch.setitem(sys.modules, 'mujoco', None)
    monkeypatch.setattr(run, 'collect', lambda jobs, *_: [ledger.add(run.play(*job)) for ledger, job in jobs])   # no processes
    line = bench('maze', '--maze', 'umaze', '--seeds', '1')
    assert 'mujoco is not installed' in line and 'make setup' in line


def test_a_missing_mujoco_is_named_in_a_process_that_has_imported_nothing_yet():
    program = ("import sys; sys.modules['mujoco'] = None\n"
               'from diffusion_planner.benchmarks.maze.world import MAZES, BenchmarkError, World\n'
               'try:\n    World(MAZES["umaze"])\nexcept BenchmarkError as error:\n    print(error)')
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=120)
    assert 'mujoco is not installed' in done.stdout


def test_a_missing_gymnasium_robotics_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gymnasium_robotics', None)
    with pytest.raises(BenchmarkError, match='gymnasium_robotics is not installed.*benchmark extra'):
        World(MAZES['umaze'])
