"""Plans in turn: every backend makes the plan of each case, one after the other, from a camera's message to bytes on the wire."""
import time

import numpy as np

from diffusion_planner import messages
from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation.stages import quantiles
from diffusion_planner.planning.cycle import CycleSettings
from diffusion_planner.planning.pace import Stopwatch
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.planning.shaping import ShapingLimits, shape
from diffusion_planner.planning.stretching import stretch
from diffusion_planner.safety import check_chunk

STAGES = ('read', 'encode', 'far', 'fill', 'decode', 'choose', 'shape', 'publish')     # in the order in which they come
WARM = 5           # plans before those that count: sessions and traced graphs settle on the shapes they see
PAUSE_S = 0.02     # threads of one library that still wait for work must not take the time of the next
LEAD_S = 0.2       # from publication to the first point of a chunk
ALIKE_RAD = 0.01   # apart by less at every token: the same plan


def interleave(everybody, cases, plans, do, advance=lambda: None, warm=None):
    """Let everybody do the same in turn: do(contender, case) -> row or None; -> {name: rows that are not None}, those of warm-up left out"""
    rows, warm = {one.name: [] for one in everybody}, WARM if warm is None else warm
    for index in range(-warm, plans):
        case = cases[(index + warm) % len(cases)]
        for turn in range(len(everybody)):
            one = everybody[(index + turn) % len(everybody)]
            one.take_up(case)
            row = do(one, case)
            if index >= 0 and row is not None:
                rows[one.name].append(row)
            time.sleep(PAUSE_S)
        if index >= 0:
            advance()
    return rows


def latency(everybody, cases, robot, plans, publish, advance):
    """Time every stage: -> {name: {'stages_ms', 'plan_ms', 'whole_ms', 'plans_ms': each, 'refused', 'alike': share}}"""
    rows = interleave(everybody, cases, plans, lambda one, case: cycle(one, case, robot, publish), advance)
    return {name: _figures(name, laps) for name, laps in rows.items()}


def _figures(name, laps):
    made = [row for row in laps if 'total' in row]
    if not made:
        raise ConfigError(f'bench latency: {name} refused all of {len(laps)} plans that the recording backend made, expected the same plans')
    return {'stages_ms': {stage: quantiles([row[stage] for row in made]) for stage in STAGES if stage in made[0]},
            'plan_ms': quantiles([row['total'] for row in made]),
            'whole_ms': quantiles([sum(row.get(stage, 0.0) for stage in STAGES) for row in made]),
            'plans_ms': [round(row['total'], 3) for row in made], 'refused': len(laps) - len(made),
            'alike': float(np.mean([row['apart_rad'] < ALIKE_RAD for row in made]))}


def cycle(one, case, robot, publish=None):
    """Do what a robot's node does for one plan, from a camera's message to bytes on the wire: -> {stage: ms, 'total': ms of the plan}"""
    planner, watch = one.planner, Stopwatch()
    messages.fit(messages.read_image(case.message, planner.cameras[0]).pixels, planner.picture_shape)
    watch.lap('read')
    try:
        plan = planner.plan(case.observation, case.goal, case.seed)
    except NoSafeCandidate:
        return {}
    watch.lap('plan')
    chunk = shaped(plan, case.handover, robot)
    watch.lap('shape')
    if publish is not None:
        publish(chunk, robot.joint_names, chunk.origin_s + float(chunk.offset_s[0]) - LEAD_S)
        watch.lap('publish')
    return {**{stage: watch.laps[stage] for stage in ('read', 'shape', 'publish') if stage in watch.laps}, **plan.timing_ms,
            'apart_rad': apart_rad(plan, case.plan)}


def shaped(plan, handover, robot, settings=CycleSettings()):
    """Make a chunk of a plan and look at it once more, as PlanningCycle.finish does: -> ActionChunk"""
    limits = ShapingLimits.of(robot, settings.velocity_scale, settings.acceleration_scale, settings.jerk_rad_s3)
    offset_s, velocity_rad_s, _ = stretch(plan.offset_s, plan.position_rad, plan.velocity_rad_s, handover, limits)
    chunk = shape(offset_s, plan.position_rad, velocity_rad_s, handover, limits, settings.chunk_s)
    check_chunk(chunk, robot, handover)
    return chunk


def apart_rad(plan, other):
    """The most that two plans differ by in any joint at any token: -> rad, infinite where they do not arrive at the same time"""
    same = np.shape(plan.offset_s) == np.shape(other.offset_s) and np.allclose(plan.offset_s, other.offset_s)
    return float(np.abs(plan.position_rad - other.position_rad).max()) if same else float('inf')
