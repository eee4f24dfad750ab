"""Play data: a ball that wanders from one random place to the next, never told of any task."""
import os
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.maze.world import PERIOD_S, BenchmarkError, World
from diffusion_planner.sim import fanout

EPISODE_STEPS, SHARD_EPISODES = 2000, 25
ACCELERATION = 23.8   # m/s^2 at full force
VERSION = 1           # of the controller: data of another one is not used


class Wanderer:
    """A controller that goes to random places along shortest ways of cells, at a pace that it picks anew each time."""

    def __init__(self, grid, random):
        self.grid, self.random = grid, random
        self.way, self.rest, self.noise = [], 0, np.zeros(2)

    def _set_out(self, point):
        random, grid = self.random, self.grid
        cells = []
        while not cells:
            end = grid.free[random.integers(len(grid.free))]
            cells = grid.way(grid.cell(point), end, random)
        spot = random.uniform(-0.35, 0.35, 2)
        self.way = [grid.centre(cell) for cell in cells[1:-1]] + [grid.centre(cells[-1]) + spot]
        self.way.insert(0, self._toward(point, cells))
        self.pace = 5.3 if random.random() < 0.7 else random.uniform(1.5, 5.0)
        self.ahead = random.uniform(0.55, 0.75)
        self.stops = random.random() < 0.5
        self.rest = int(random.uniform(0, 60)) if self.stops else 0
        self.shake = random.uniform(0, 0.25) if random.random() < 0.5 else 0.0

    def _toward(self, point, cells):
        """Return where the way begins: on the line of the corridor, so that it does not start into a wall's corner."""
        if len(cells) < 2:
            return point.copy()
        here, there = self.grid.centre(cells[0]), self.grid.centre(cells[1])
        along = np.abs(there - here) > 0.5
        return np.where(along, point, here)

    def _carrot(self, point):
        """Return the point `ahead` metres further along the way, dropping the corners that were passed."""
        while len(self.way) > 1 and np.abs(self.way[0] - point).max() < self.ahead * 0.98:
            nearer = self.way[0] - point
            left = self.ahead - np.abs(nearer).max()
            onward = self.way[1] - self.way[0]
            length = np.abs(onward).max()
            if left < length or len(self.way) == 2:
                carrot = self.way[0] + onward * min(1.0, left / max(length, 1e-9))
                if np.abs(nearer).max() < 0.12 or (np.dot(onward, nearer) < 0):
                    self.way.pop(0)
                    continue
                return carrot
            self.way.pop(0)
        target = self.way[0]
        step = target - point
        size = np.abs(step).max()
        return target if size <= self.ahead else point + step * self.ahead / size

    def force(self, state):
        """Return the force [2] for a state [4]."""
        point, speed = state[:2], state[2:]
        if not self.way:
            self._set_out(point)
        goal = self.way[-1]
        near = np.abs(goal - point).max()
        if len(self.way) == 1 and ((not self.stops and near < 0.35) or (near < 0.06 and np.abs(speed).max() < 0.4)):
            self.rest -= 1
            if self.rest < 0:
                self.way = []
                return np.zeros(2)
        gap = self._carrot(point) - point
        wanted = np.sign(gap) * np.minimum(self.pace, np.sqrt(1.8 * ACCELERATION * np.abs(gap)))
        wanted = np.where(np.abs(gap) < 0.08, gap * 12.0, wanted)
        self.noise = 0.9 * self.noise + 0.45 * self.random.standard_normal(2) * self.shake
        return np.clip((wanted - speed) / (ACCELERATION * PERIOD_S) * 0.5 + self.noise, -1, 1)


def _episode(world, seed):
    random = np.random.default_rng((17, seed))
    wanderer = Wanderer(world.grid, random)
    world.reset(seed, fixed_goal=False)
    cell = world.grid.free[random.integers(len(world.grid.free))]
    world.put(np.concatenate([world.grid.centre(cell) + random.uniform(-0.3, 0.3, 2), np.zeros(2)]))
    state = np.concatenate([world.env.unwrapped.point_env.data.qpos, world.env.unwrapped.point_env.data.qvel])
    states, forces = [], []
    for _ in range(EPISODE_STEPS):
        force = wanderer.force(state)
        states.append(state)
        forces.append(force)
        state, _ = world.step(force)
    return np.array(states, np.float32), np.array(forces, np.float32)


def _shard(maze, path):
    world = World(maze)
    first = int(path.stem.removeprefix('play_')) * SHARD_EPISODES
    states, forces = zip(*(_episode(world, first + index) for index in range(SHARD_EPISODES)))
    part = path.with_suffix('.part')
    with part.open('wb') as file:
        np.savez_compressed(file, state=np.array(states), force=np.array(forces), version=VERSION)
    os.replace(part, path)


def make_play(maze, folder, steps, workers=2):
    """Record at least `steps` steps of play; shards that are there are kept: -> number of steps recorded."""
    from rich.progress import track
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    size = SHARD_EPISODES * EPISODE_STEPS
    wanted = [folder / f'play_{index:04d}.npz' for index in range(-(-steps // size))]
    missing = [path for path in wanted if not path.exists()]
    for _ in track(fanout.run(partial(_shard, maze), missing, workers), f'play data of {maze.name}', len(missing), disable=not missing):
        pass
    return len(wanted) * size


def read_play(folder):
    """Read recorded play: -> state [N, EPISODE_STEPS, 4], force [N, EPISODE_STEPS, 2]. Raises BenchmarkError."""
    states, forces = [], []
    for path in sorted(Path(folder).glob('play_*.npz')):
        try:
            with np.load(path) as shard:
                if int(shard['version']) != VERSION:
                    raise BenchmarkError(f'{path}: play of version {int(shard["version"])}, expected {VERSION}; delete it')
                states.append(shard['state'])
                forces.append(shard['force'])
        except BenchmarkError:
            raise
        except (OSError, KeyError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise BenchmarkError(f'{path}: cannot be read ({error}); delete it, and it is recorded again') from None
    if not states:
        raise BenchmarkError(f'{folder}: no play_*.npz in it; expected a folder of recorded play')
    return np.concatenate(states), np.concatenate(forces)
