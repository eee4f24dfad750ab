"""Pictures of planning in the maze: plans, and what every method plans."""
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.maze import denoising, methods, run
from diffusion_planner.benchmarks.maze.episodes import run_episodes
from diffusion_planner.benchmarks.maze.world import World, find_maze
from diffusion_planner.evaluation.video import write_gif

PLAN, DRIVEN = '#2f6690', '#444444'


def _axes(count, grid, columns=3, size=4.2):
    from matplotlib.figure import Figure
    rows = -(-count // columns)
    height, width = grid.wall.shape
    figure = Figure(figsize=(size * columns, size * rows * (height / width) + 0.4 * rows), layout='constrained')
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        denoising.draw_maze(panel, grid)
    return figure, panels


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
    print(write_gif(out / 'maze_denoising.gif', denoising.draw(backend, world, seed), denoising.RATE_HZ, keep=denoising.KEPT))


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
        denoising.draw_ends(panel, state, goal_m)
    figure.suptitle('first plan (blue, a dot per token) and the way driven with replanning (grey), from the square to the star')
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
        denoising.draw_ends(panel, state, goal_m)
        panel.set_title(f'{name}: {len(paths)} of {repeats} planned', fontsize=9)
    for panel in panels[len(every):]:
        panel.set_axis_off()
        panel.images[0].set_visible(False)
    figure.suptitle(f'{repeats} plans of each method from one start, seed {seed}')
    return figure
