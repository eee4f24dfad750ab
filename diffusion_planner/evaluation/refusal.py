"""Refusal: whether scenes unlike the play data raise the alarm before anything moves, and ordinary ones do not."""
import numpy as np

from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings
from diffusion_planner.evaluation.metrics import wilson
from diffusion_planner.planning.history import History
from diffusion_planner.planning.planner import StrangeScene
from diffusion_planner.sim.oddities import ODDITIES


def first_look(loop, seed, oddity=None):
    """Look at a scene with the arm at rest, as an episode begins: -> {figure: in units of its limit}, refused"""
    env, planner = loop.env, loop.planner
    env.zones, env.trace = (), None
    env.reset(seed, oddity)
    planner.reset()
    history = History(len(loop.robot.joint_names), planner.cameras, planner.context_offset_s)
    history.append(env.joints())
    history.append(env.render())
    observation, _ = loop.cycle(history).begin(env.now_s)
    figures = planner.backend.strange(planner.backend.encode(observation, loop.goal()), observation)
    try:
        planner.check_scene(figures)
    except StrangeScene:
        return figures, True
    return figures, False


def measure(model, ordinary=200, odd=40, seed=1000, progress=lambda: None):
    """Show the planner ordinary scenes and odd ones: -> rows of figures"""
    loop, rows = Loop(LoopSettings(str(model), 1.0)), []
    for name, count in ((None, ordinary), *((name, odd) for name in ODDITIES)):
        found = []
        for index in range(count):
            found.append(first_look(loop, seed + index, name))
            progress()
        rows.append(summarise(name or 'ordinary', found))
    loop.env.close()
    return rows


def summarise(name, found):
    """Sum up first looks of one kind: -> dict; 'alarm': refused, or planned with a worry that makes the node DEGRADED"""
    refused, names = [alarm for _, alarm in found], found[0][0]
    alarm = [strange or max(figures.values(), default=0.0) > 1 for figures, strange in found]
    return {'scene': name, 'scenes': len(found), 'alarm': [float(np.mean(alarm)), *wilson(sum(alarm), len(found))],
            'refused': [float(np.mean(refused)), *wilson(sum(refused), len(found))],
            'by': {figure: float(np.mean([figures[figure] > 1 for figures, _ in found])) for figure in names},
            'median': {figure: float(np.median([figures[figure] for figures, _ in found])) for figure in names}}


def show(rows):
    from rich.console import Console
    from rich.table import Table
    table = Table('scene', 'alarm before motion', '95 % interval', 'no plan', *(f'by {name}' for name in rows[0]['by']))
    for row in rows:
        table.add_row(f'{row["scene"]} ({row["scenes"]})', f'{row["alarm"][0]:.1%}', f'{row["alarm"][1]:.0%} to {row["alarm"][2]:.0%}',
                      f'{row["refused"][0]:.0%}', *(f'{share:.0%} (median {row["median"][name]:.2f})' for name, share in row['by'].items()))
    Console(width=140).print(table)
