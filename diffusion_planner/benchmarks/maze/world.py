"""The mazes of gymnasium-robotics: somebody else's physics and reward, seen as a robot of two sliding joints."""
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

import numpy as np

from diffusion_planner.robot import JointFrame, Robot

REWARD_RADIUS_M = 0.45   # of gymnasium-robotics; D4RL has 0.5
SPEED_MAX_M_S = 5.0      # beyond it the environment clips, per axis
PERIOD_S = 0.01


class BenchmarkError(ValueError):
    """A benchmark that cannot be run as asked; the message names the value and what was expected."""


@dataclass(frozen=True)
class Maze:
    """One maze: gymnasium's id, D4RL's goal cell (row, column), episode length and score range (min, max)."""

    name: str
    env_id: str
    goal_cell: tuple[int, int]
    steps: int
    score_range: tuple[float, float]
    horizon_s: float      # what the planner looks ahead: the longest way at about three quarters of full speed

    def normalised(self, reward):
        """Turn a return into D4RL's score (Fu et al. 2020): 0 for its random policy, 100 for its expert."""
        low, high = self.score_range
        return 100 * (np.asarray(reward) - low) / (high - low)


MAZES = {maze.name: maze for maze in (
    Maze('umaze', 'PointMaze_UMaze-v3', (1, 1), 300, (23.85, 161.86), 2.0),
    Maze('medium', 'PointMaze_Medium-v3', (6, 6), 600, (13.13, 277.39), 3.5),
    Maze('large', 'PointMaze_Large-v3', (7, 9), 800, (6.70, 273.99), 5.5))}

BALL = Robot('point', ('ball_x', 'ball_y'), (-8.0, -8.0), (8.0, 8.0), (20.0, 20.0), (30.0, 30.0), (1e4, 1e4), PERIOD_S,
             (JointFrame((0, 0, 0), (0, 0, 0)),) * 2, JointFrame((0, 0, 0), (0, 0, 0)), (0.0, 0.0))


def find_maze(name):
    """Look up a maze by name. Raises BenchmarkError."""
    if name not in MAZES:
        raise BenchmarkError(f'--maze: got {name!r}, expected one of {", ".join(MAZES)}')
    return MAZES[name]


class World:
    """One maze with its physics. Positions in metres, x to the right and y up, the origin in the middle."""

    def __init__(self, maze):
        try:
            import mujoco  # noqa: F401  (first: without it gymnasium raises an error of its own)
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):     # it talks of environments that nobody asked for
                import gymnasium
                import gymnasium_robotics
        except ImportError as error:
            raise BenchmarkError(f'{error.name} is not installed; the maze needs the benchmark extra: '
                                 "make setup, or pip install -e '.[benchmark]'") from None
        gymnasium.register_envs(gymnasium_robotics)
        self.maze, self.env = maze, gymnasium.make(maze.env_id)
        self.grid = Grid(self.env.unwrapped.maze.maze_map)

    def reset(self, seed, fixed_goal):
        """Start episode `seed`; both goals get the environment's own noise: -> state [4], goal_m [2]"""
        options = {'goal_cell': np.array(self.maze.goal_cell)} if fixed_goal else None
        observation, _ = self.env.reset(seed=seed, options=options)
        return observation['observation'].copy(), observation['desired_goal'].copy()

    def put(self, state):
        """Place the ball: state [4]."""
        self.env.unwrapped.point_env.set_state(np.asarray(state[:2], float), np.asarray(state[2:], float))

    def step(self, force):
        """Push the ball for 0.01 s with force [2] in [-1, 1]: -> state [4], reward"""
        observation, reward, _, _, _ = self.env.step(np.asarray(force, np.float32))
        return observation['observation'].copy(), float(reward)


class Grid:
    """Which cells are walls. Knows where a path may be; only judges and pictures use it, never the planner."""

    def __init__(self, rows):
        self.wall = np.array(rows) == 1
        self.free = [tuple(cell) for cell in np.argwhere(~self.wall)]

    def centre(self, cell):
        """Return the centre of a cell (row, column): -> [2] m"""
        rows, columns = self.wall.shape
        return np.array([cell[1] + 0.5 - columns / 2, rows / 2 - cell[0] - 0.5])

    def cell(self, point_m):
        """Return the cell of a point: (row, column)."""
        row, column = self._cells(np.asarray(point_m))
        return int(row), int(column)

    def _cells(self, point_m):
        rows, columns = self.wall.shape
        row = np.floor(rows / 2 - point_m[..., 1]).astype(int).clip(0, rows - 1)
        return row, np.floor(point_m[..., 0] + columns / 2).astype(int).clip(0, columns - 1)

    def in_wall(self, point_m):
        """Tell which points lie in a wall: point_m [..., 2] -> bool [...]"""
        return self.wall[self._cells(np.asarray(point_m))]

    def clearance(self, point_m):
        """Measure how far points are from the nearest wall: point_m [N, 2] -> m [N], 0 inside"""
        boxes = np.array([self.centre(cell) for cell in np.argwhere(self.wall)])
        gap = np.maximum(np.abs(np.asarray(point_m)[:, None] - boxes) - 0.5, 0)
        return np.sqrt((gap ** 2).sum(-1)).min(1)

    def way(self, start, end, random):
        """Find a shortest way over free cells, ties broken at random: -> cells, or [] where there is none"""
        queue, came = [start], {start: None}
        for cell in queue:
            if cell == end:
                break
            for index in random.permutation(4):
                row, column = ((0, 1), (1, 0), (0, -1), (-1, 0))[index]
                following = (cell[0] + row, cell[1] + column)
                if not self.wall[following] and following not in came:
                    came[following] = cell
                    queue.append(following)
        cells, cell = [], end if end in came else None
        while cell is not None:
            cells.append(cell)
            cell = came[cell]
        return cells[::-1]
