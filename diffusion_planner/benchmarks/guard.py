"""What guard and judges cost: plans with them and without, one after the other in one run, so that only the ratio counts.

Twice: the time until a plan is there, and the work of all cores for it; pictures are judged on a second one, see planning.aside.
"""
import time
from dataclasses import replace

import numpy as np

from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.evaluation.offline import standing
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.records import Goal
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.world import World

BARE = PlannerSettings(guard=False, typicality_limit=float('inf'))
WAYS = {'guard and judges': PlannerSettings(), 'no picture judged': replace(PlannerSettings(), strange_limit=float('inf')),
        'no trust region, no easing': replace(PlannerSettings(), trust=float('inf'), ease_odds=0.0), 'nothing but the head that guides': BARE}


def measure(model, count=30, seed=3000, rounds=5, backend='torch'):
    """Time plans from standing starts, in turn: -> {way: {stage: median ms, 'total': median ms, 'work': of all cores}}"""
    world, robot = World(), scenes.default_robot()
    planners = {name: load_planner(model, robot, settings, backend) for name, settings in WAYS.items()}
    planners['nothing but the head that guides'].forecast = None
    looks = [standing(planners['guard and judges'], world, scenes.draw_scene(world, robot, seed + index)) for index in range(count)]
    world.close()
    laps = {name: {} for name in WAYS}
    for index, look in [*enumerate(looks)] * rounds:
        for name, planner in planners.items():
            planner.reset()
            begun_s = time.process_time()
            try:
                timing = planner.plan(look, Goal(1.0), index).timing_ms
            except NoSafeCandidate:
                continue
            for stage, milliseconds in {**timing, 'work': 1000 * (time.process_time() - begun_s)}.items():
                laps[name].setdefault(stage, []).append(milliseconds)
    return {name: {stage: float(np.median(values)) for stage, values in part.items()} for name, part in laps.items()}


def show(found):
    from rich.console import Console
    from rich.table import Table
    stages = list(found['guard and judges'])
    table = Table('median ms per plan, one thread and one for pictures', *stages, 'time saved', 'work saved')
    full = found['guard and judges']
    for name, part in found.items():
        table.add_row(name, *(f'{part[stage]:.1f}' for stage in stages), *(f'{1 - part[stage] / full[stage]:.1%}' for stage in ('total', 'work')))
    Console(width=140).print(table)
