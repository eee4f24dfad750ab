"""Pictures of planning in the maze: plans, the denoising of one plan, and the ablation as a page of plots."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.maze import methods, run
from diffusion_planner.benchmarks.maze.episodes import run_episodes
from diffusion_planner.benchmarks.maze.world import BALL, World, find_maze
from diffusion_planner.evaluation.video import write_gif
from diffusion_planner.planning.planner import NoSafeCandidate, Planner
from diffusion_planner.records import Goal

START, GOAL, PLAN, DRIVEN, NOISE = '#1f9e89', '#d1495b', '#2f6690', '#444444', '#b8b8b8'
GIF_RATE_HZ = 6


def _axes(count, grid, columns=3, size=4.2):
    from matplotlib.figure import Figure
    rows = -(-count // columns)
    height, width = grid.wall.shape
    figure = Figure(figsize=(size * columns, size * rows * (height / width) + 0.4 * rows), layout='constrained')
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        _maze(panel, grid)
    return figure, panels


def _maze(panel, grid):
    height, width = grid.wall.shape
    panel.imshow(grid.wall, extent=(-width / 2, width / 2, -height / 2, height / 2), cmap='Greys', vmax=1.6, zorder=0)
    panel.set_xticks([])
    panel.set_yticks([])
    panel.set_xlim(-width / 2, width / 2)
    panel.set_ylim(-height / 2, height / 2)


def _ends(panel, state, goal_m):
    panel.plot(*state[:2], 'o', color=START, ms=8, zorder=5)
    panel.plot(*goal_m, '*', color=GOAL, ms=13, zorder=5)


def _drawn(panel, path, colour, **style):
    curve = path.at(np.linspace(0, path.offset_s[-1], 400))[0]
    panel.plot(*curve.T, '-', color=colour, zorder=3, **style)
    panel.plot(*path.position_m[1:].T, '.', color=colour, ms=4, zorder=4)


def draw(maze_name, models, out, seed):
    """Write maze_plans.png, maze_methods.png and maze_denoising.gif to the folder `out`."""
    maze, out = find_maze(maze_name), Path(out)
    backend, world = run.load(maze_name, str(run.model_folder(models, maze_name))), World(maze)
    out.mkdir(parents=True, exist_ok=True)
    for name, action in (('maze_plans.png', draw_plans), ('maze_methods.png', draw_methods)):
        action(backend, world, seed).savefig(out / name, dpi=110)
        print(out / name)
    print(write_gif(out / 'maze_denoising.gif', draw_denoising(backend, world, seed), GIF_RATE_HZ))


def draw_plans(backend, world, seed):
    """Draw the first plan from six starts and the way that was driven: -> figure"""
    figure, panels = _axes(6, world.grid)
    for index, panel in enumerate(panels):
        state, goal_m = world.reset(seed + index, fixed_goal=False)
        path, = methods.Ours(backend).plan([state], [goal_m], [seed + index], [0])
        episode, = run_episodes([World(world.maze)], methods.Ours(backend), [seed + index], False, methods.REPLAN_STEPS['ours'])
        panel.plot(*np.array(episode.trace)[:, :2].T, color=DRIVEN, lw=4, alpha=0.25, zorder=2)
        if path is not None:
            _drawn(panel, path, PLAN, lw=1.2)
        reach = episode.result.first_reach
        panel.set_title(f'seed {seed + index}: ' + (f'plan {path.offset_s[-1]:.2f} s' if path else 'refused at first')
                        + (f', reached after {reach / 100:.2f} s' if reach else ', not reached'), fontsize=9)
        _ends(panel, state, goal_m)
    figure.suptitle('first plan (blue, a dot per token) and the way driven with replanning (grey)')
    return figure


def draw_methods(backend, world, seed, repeats=8):
    """Draw what every method plans from one start, several times over: -> figure"""
    every = methods.methods(backend, world.maze)
    figure, panels = _axes(len(every), world.grid)
    state, goal_m = world.reset(seed, fixed_goal=False)
    for panel, (name, method) in zip(panels, every.items()):
        seeds = [seed + index for index in range(repeats)]
        paths = [path for path in method.plan([state] * repeats, [goal_m] * repeats, seeds, seeds) if path is not None]
        for path in paths:
            _drawn(panel, path, PLAN, lw=0.8, alpha=0.6)
        _ends(panel, state, goal_m)
        panel.set_title(f'{name}: {len(paths)} of {repeats} planned', fontsize=9)
    for panel in panels[len(every):]:
        panel.set_axis_off()
        panel.images[0].set_visible(False)
    figure.suptitle(f'{repeats} plans of each method from one start, seed {seed}')
    return figure


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


def draw_denoising(backend, world, seed, steps=12):
    """Show one plan as it is denoised, far token first, then the rest settling: -> pictures [Y, X, 3] uint8"""
    watched = Watched(backend)
    settings = replace(methods.SETTINGS, far_steps=steps, fill_steps=steps, warm_samples=0)
    planner = Planner(watched, BALL, settings, methods.WEIGHTS)
    state, goal_m = world.reset(seed, fixed_goal=False)
    try:
        plan = planner.plan(methods.observe(state), Goal(position_rad=goal_m), seed)
    except NoSafeCandidate:
        return draw_denoising(backend, world, seed + 1, steps)
    arrivals = np.repeat(np.linspace(settings.shortest_s, planner.horizon_s, settings.arrivals), settings.samples)
    best = int(np.argmin(np.abs(arrivals[watched.chosen] - plan.offset_s[-1])))
    far = [position(backend, tokens)[:, -1] for tokens, _ in watched.frames['far']]
    fill = [position(backend, tokens)[best, -settings.fill_in - 1:] for tokens, _ in watched.frames['fill']]
    pictures = [_far_frame(world.grid, state, goal_m, places, arrivals, index, steps) for index, places in enumerate(far)]
    pictures += [pictures[-1]] * GIF_RATE_HZ
    pictures += [_fill_frame(world.grid, state, goal_m, places, plan.offset_s[-1], index, steps) for index, places in enumerate(fill)]
    return pictures + [pictures[-1]] * (2 * GIF_RATE_HZ)


def position(backend, tokens):
    """Bring tokens to metres: tokens [P, T, D] -> [P, T, 2]"""
    return backend.decode(tokens)[0]


def _far_frame(grid, state, goal_m, places, arrivals, index, steps):
    figure, (panel,) = _axes(1, grid, 1, 7.0)
    shown = panel.scatter(*places[:len(arrivals)].T, c=arrivals, cmap='viridis', s=28, zorder=4)
    figure.colorbar(shown, ax=panel, label='arrival, s', shrink=0.8)
    _ends(panel, state, goal_m)
    panel.set_title(f'far tokens, one per arrival time, pulled towards reward: step {min(index, steps)} of {steps}', fontsize=10)
    return _pixels(figure)


def _fill_frame(grid, state, goal_m, places, arrival_s, index, steps):
    figure, (panel,) = _axes(1, grid, 1, 7.0)
    shown = panel.scatter(*places.T, c=np.linspace(0, arrival_s, len(places)), cmap='viridis', s=28, zorder=4, vmin=0)
    figure.colorbar(shown, ax=panel, label='time, s', shrink=0.8)
    panel.plot(*np.concatenate([[state[:2]], places]).T, color=PLAN, lw=0.8, alpha=0.6, zorder=3)
    _ends(panel, state, goal_m)
    panel.set_title(f'both ends known, the tokens between settle: step {min(index, steps)} of {steps}', fontsize=10)
    return _pixels(figure)


def _pixels(figure):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    figure.set_dpi(90)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def ablation_page(json_path, out):
    """Draw the page of plots from the ablation's JSON: score per variation, and promised against realised over guidance scale."""
    from matplotlib.figure import Figure
    report = json.loads(Path(json_path).read_text())
    groups = [group for group in dict.fromkeys(row['group'] for row in report['rows']) if group != 'default']
    default = next(row for row in report['rows'] if row['group'] == 'default')
    figure = Figure(figsize=(16, 13), layout='constrained')
    panels = list(figure.subplots(4, 3).flat)
    for panel, group in zip(panels, groups):
        _group(panel, group, [row for row in report['rows'] if row['group'] == group], default)
    _scales(panels[len(groups)], [row for row in report['rows'] if row['group'] == 'guidance scale'] + [{**default, 'scale': 1.0}])
    for panel in panels[len(groups) + 1:]:
        panel.set_axis_off()
    figure.suptitle(f'{report["maze"]}, fixed goal, {report["seeds"]} seeds from {report["first_seed"]}: latched score, 95 % intervals; '
                    'vertical line: default')
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)
    print(out)


def _group(panel, group, rows, default):
    names = [row['name'] for row in rows]
    for index, row in enumerate(rows):
        mean, low, high = row['latched']
        panel.plot([low, high], [index, index], color=PLAN, lw=2)
        panel.plot(mean, index, 'o', color=PLAN)
        panel.annotate(f'{row["success"][0]:.0%}, wall {row["wall_crossing"][0]:.1%}', (high, index), xytext=(6, -3),
                       textcoords='offset points', fontsize=7)
    panel.axvline(default['latched'][0], color=GOAL, lw=1)
    panel.set_yticks(range(len(rows)), names, fontsize=8)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.margins(x=0.25)
    panel.set_title(group, fontsize=10)


def _scales(panel, rows):
    rows = sorted(rows, key=lambda row: row['scale'])
    scales = [max(row['scale'], 0.01) for row in rows]      # 0 is drawn at the left end of the logarithmic axis
    for name, colour, label in (('promised', GOAL, 'promised by the plan'), ('kept', PLAN, 'came true by then')):
        panel.plot(scales, [row[name] for row in rows], 'o-', color=colour, label=label)
    panel.plot(scales, [row['success'][0] for row in rows], 'o--', color=DRIVEN, label='episodes that reached the goal')
    panel.set_xscale('log')
    panel.set_xticks(scales, [f'{row["scale"]:g}' for row in rows], fontsize=7)
    panel.set_ylim(-0.05, 1.05)
    panel.legend(fontsize=7)
    panel.set_title('predicted against realised reward over guidance scale', fontsize=10)
