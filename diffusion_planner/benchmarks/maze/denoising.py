"""The denoising of one plan as moving pictures: the far tokens first, then the tokens between."""
from dataclasses import replace

import numpy as np

from diffusion_planner.benchmarks.maze import methods
from diffusion_planner.benchmarks.maze.world import BALL
from diffusion_planner.planning.planner import NoSafeCandidate, Planner
from diffusion_planner.records import Goal

START, GOAL, LINE, WALL = '#ffffff', '#e03131', '#2f6690', '#727272'      # none of them in the colour map of time
KEPT = START, GOAL, LINE, WALL
RATE_HZ = 6
DOTS = {'cmap': 'viridis', 's': 30, 'zorder': 4}


def draw_maze(panel, grid):
    """Draw the walls."""
    height, width = grid.wall.shape
    panel.imshow(grid.wall, extent=(-width / 2, width / 2, -height / 2, height / 2), cmap='Greys', vmax=1.6, zorder=0)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_xlim(-width / 2, width / 2)
    panel.set_ylim(-height / 2, height / 2)


def draw_ends(panel, state, goal_m):
    """Draw where the ball starts, a white square, and the goal, a red star."""
    panel.plot(*state[:2], 's', color=START, mec='black', mew=1.6, ms=9, zorder=5, label='start')
    panel.plot(*goal_m, '*', color=GOAL, mec='black', mew=0.6, ms=15, zorder=5, label='goal')


class Watched:
    """A backend whose sampling loop is watched: the clean estimates of every step, of the far tokens and then of the rest."""

    def __init__(self, backend):
        self.backend, self.frames = backend, {'far': [], 'fill': []}
        self._stage, self._denoise = None, backend.denoise

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def _watching(self, stage):
        def denoise(noisy, level, offset_s):
            clean = self._denoise(noisy, level, offset_s)
            self.frames[stage].append((noisy.detach().clone(), level.clone()))
            return clean
        return denoise

    def _staged(self, stage, method, *arguments):
        self.backend.denoise = self._watching(stage)
        try:
            tokens = method(*arguments)
        finally:
            self.backend.denoise = self._denoise
        self.frames[stage].append((tokens, None))
        return tokens

    def imagine_far(self, *arguments):
        return self._staged('far', self.backend.imagine_far, *arguments)

    def fill_in(self, context, far, chosen, *arguments):
        self.chosen = chosen
        return self._staged('fill', self.backend.fill_in, context, far, chosen, *arguments)


def draw(backend, world, seed, steps=12):
    """Show one plan as it is denoised, far token first, then the rest settling: -> pictures [Y, X, 3] uint8"""
    watched = Watched(backend)
    settings = replace(methods.SETTINGS, far_steps=steps, fill_steps=steps, warm_samples=0)
    planner = Planner(watched, BALL, settings, methods.WEIGHTS)
    state, goal_m = world.reset(seed, fixed_goal=False)
    try:
        plan = planner.plan(methods.observe(state), Goal(position_rad=goal_m), seed)
    except NoSafeCandidate:
        return draw(backend, world, seed + 1, steps)
    arrivals = np.repeat(np.linspace(settings.shortest_s, planner.horizon_s, settings.arrivals), settings.samples)
    best = int(np.argmin(np.abs(arrivals[watched.chosen] - plan.offset_s[-1])))
    far = [position(backend, tokens)[:, -1] for tokens, _ in watched.frames['far']]
    fill = [position(backend, tokens)[best, -settings.fill_in - 1:] for tokens, _ in watched.frames['fill']]
    scene, own = (world.grid, state, goal_m), (steps, _steps(methods.SETTINGS))
    pictures = [_far_frame(scene, places, arrivals, index, own) for index, places in enumerate(far)]
    pictures += [pictures[-1]] * RATE_HZ
    pictures += [_fill_frame(scene, places, plan.offset_s[-1], index, own) for index, places in enumerate(fill)]
    return pictures + [pictures[-1]] * (2 * RATE_HZ)


def position(backend, tokens):
    """Bring tokens to metres: tokens [P, T, D] -> [P, T, 2]"""
    return backend.decode(tokens)[0]


def _steps(settings):
    far, fill = settings.far_steps, settings.fill_steps
    return str(far) if far == fill else f'{far} and {fill}'


def _far_frame(scene, places, arrivals, index, steps):
    title = f'1. Far tokens, one per arrival time, pulled towards reward: step {min(index, steps[0])} of {steps[0]}'
    return _frame(scene, title, steps, lambda panel: panel.scatter(*places[:len(arrivals)].T, c=arrivals, vmin=0, label='far token', **DOTS), 'arrival, s')


def _fill_frame(scene, places, arrival_s, index, steps):
    def dots(panel):
        panel.plot(*np.concatenate([[scene[1][:2]], places]).T, color=LINE, lw=1, zorder=3)
        return panel.scatter(*places.T, c=np.linspace(0, arrival_s, len(places)), vmin=0, label='token of the plan', **DOTS)
    return _frame(scene, f'2. Both ends known, the tokens between settle: step {min(index, steps[0])} of {steps[0]}', steps, dots, 'time, s')


def _frame(scene, title, steps, dots, label):
    """Draw one picture; nothing in it moves from picture to picture but what `dots` draws."""
    from matplotlib.figure import Figure
    grid, state, goal_m = scene
    height, width = grid.wall.shape
    figure = Figure(figsize=(8.6, 7.4 * height / width + 1.3))
    panel, bar = figure.add_axes((0.02, 0.13, 0.84, 0.80)), figure.add_axes((0.88, 0.16, 0.025, 0.74))
    draw_maze(panel, grid)
    figure.colorbar(dots(panel), cax=bar, label=label)
    draw_ends(panel, state, goal_m)
    panel.set_title(title, fontsize=11)
    figure.legend(*panel.get_legend_handles_labels(), loc='lower left', bbox_to_anchor=(0.01, 0.055), ncols=3, frameon=False, fontsize=10,
                  columnspacing=1.5, handletextpad=0.3)
    figure.text(0.02, 0.03, f'Drawn with {steps[0]} steps per stage, to be followed by eye; the planner takes {steps[1]}.', fontsize=9)
    return _pixels(figure)


def _pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    figure.set_dpi(90)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
