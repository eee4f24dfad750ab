"""Open-loop probe: what is imagined from a standing start, against where the target really is."""
import json
from pathlib import Path

import numpy as np

from diffusion_planner.evaluation.assembly import load_planner
from diffusion_planner.planning.planner import NoSafeCandidate, PlannerSettings
from diffusion_planner.records import Goal, Observation
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.camera import Camera
from diffusion_planner.sim.world import World


def standing(planner, world, scene):
    """Look at a scene with the arm at rest in its start posture: -> Observation"""
    count, start_rad = len(planner.context_offset_s), np.array(scene.start_rad)
    world.set_obstacles(scene.obstacles)
    world.set_target(scene.target_m)
    world.set_joints(start_rad)
    pixels = world.render(Camera())
    level = np.ones(count)
    level[-1] = 0.0   # nothing is known of the time before
    return Observation(0.0, np.array(planner.context_offset_s), np.repeat(start_rad[None], count, 0), np.zeros((count, 7)),
                       np.repeat(pixels[None, None], count, 0), np.full((count, 1), float(scene.seed)), level)


def probe_scene(planner, world, robot, scene, scale):
    """Plan once and measure: -> row of figures"""
    planner.reset()
    try:
        plan = planner.measure(planner.plan(standing(planner, world, scene), Goal(scale), scene.seed))
    except NoSafeCandidate as refused:
        return {'seed': scene.seed, 'refused': str(refused)}
    path_rad = np.concatenate([[scene.start_rad], plan.position_rad])
    dense_rad = np.concatenate([np.linspace(a, b, 6) for a, b in zip(path_rad, path_rad[1:])])
    collides = [not world.is_clear(position_rad, 0.0, 0.0) for position_rad in dense_rad]
    error_m = robot.tip_m(plan.position_rad[-1]) - scene.target_m
    return {'seed': scene.seed, 'miss_m': float(np.linalg.norm(error_m)), 'collides': bool(any(collides)),
            'error_m': error_m.tolist(), 'plan_ms': plan.timing_ms['total'], **plan.breakdown}


def probe(model, count=40, seed=2000, scales=(0.0, 0.5, 1.0, 2.0, 4.0), json_path=None, settings=None):
    """Print, per guidance scale, how far the imagined far token is from the target and how often its path collides."""
    from rich.console import Console
    from rich.table import Table
    world, robot = World(), scenes.default_robot()
    planner = load_planner(model, robot, settings or PlannerSettings())
    table = Table('scale', 'predicted reward', 'second head', 'fingertip to target, median', 'within 4 cm', 'path collides',
                  'arrival', 'typicality', 'plan p50', 'refused')
    rows = {}
    for scale in scales:
        rows[scale] = [probe_scene(planner, world, robot, scenes.draw_scene(world, robot, seed + index), scale) for index in range(count)]
        plans = [row for row in rows[scale] if 'refused' not in row]
        if plans:
            table.add_row(f'{scale:g}', *_figures(plans), str(len(rows[scale]) - len(plans)))
    Console(width=140).print(table)
    if json_path:
        Path(json_path).write_text(json.dumps({str(scale): part for scale, part in rows.items()}, indent=1))
    world.close()
    return rows


def _figures(plans):
    def column(name):
        return np.array([row[name] for row in plans])
    return (f'{column("reward").mean():.2f}', f'{column("judge").mean():.2f}', f'{np.median(column("miss_m")) * 100:.1f} cm',
            f'{(column("miss_m") <= 0.04).mean():.0%}', f'{column("collides").mean():.0%}', f'{column("arrival_s").mean():.2f} s',
            f'{np.median(column("typicality")):.2f}', f'{np.median(column("plan_ms")):.0f} ms')


