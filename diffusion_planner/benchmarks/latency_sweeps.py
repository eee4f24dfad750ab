"""Latency over what an operator may change, and under a deadline."""
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffusion_planner.benchmarks.latency_cases import seen_by
from diffusion_planner.benchmarks.latency_contenders import KINDS, load_all
from diffusion_planner.benchmarks.latency_plans import interleave
from diffusion_planner.evaluation.stages import quantiles
from diffusion_planner.planning.planner import NoSafeCandidate
from diffusion_planner.runtime import checkpoint
from diffusion_planner.runtime.onnx_files import ENTRY, FORMAT
from diffusion_planner.sim.scene import default_robot

# What a point is called on the axis, and what it changes; the quick ones are the first and the last.
SWEEPS = {'candidates': {5: {'arrivals': 5, 'samples': 1}, 10: {'arrivals': 10, 'samples': 1}, 20: {'arrivals': 10, 'samples': 2},
                         40: {'arrivals': 20, 'samples': 2}, 80: {'arrivals': 20, 'samples': 4}},
          'tokens': {count: {'fill_in': count} for count in (5, 11, 23)},
          'steps': {count: {'far_steps': count, 'fill_steps': count} for count in (2, 3, 4, 8)}}
CAMERAS = (1, 2)


def plan_ms(one, case, deadline_s=None):
    """Plan, and nothing around it: -> (ms, steps), steps None where the plan was refused"""
    begun_s = one.clock()
    try:
        steps = one.planner.plan(case.observation, case.goal, case.seed, deadline_s).steps
    except NoSafeCandidate:
        steps = None
    return 1000 * (one.clock() - begun_s), steps


def deadline(everybody, cases, options, bar):
    """Plan under a deadline: -> {name: {'deadline_ms', 'kept': share, 'refused', 'plan_ms', 'steps': {stage: mean} or None}}

    A plan that is refused keeps the deadline or breaks it like any other; of steps only those that became plans tell.
    """
    seconds = options.deadline_ms / 1000
    rows = interleave(everybody, cases, options.plans, lambda one, case: plan_ms(one, case, seconds), bar('deadline', options.plans))
    found = {}
    for name, laps in rows.items():
        steps = [taken for _, taken in laps if taken]
        found[name] = {'deadline_ms': options.deadline_ms, 'kept': float(np.mean([took <= options.deadline_ms for took, _ in laps])),
                       'refused': len(laps) - len(steps), 'plan_ms': quantiles([took for took, _ in laps]),
                       'steps': {stage: float(np.mean([taken[stage] for taken in steps])) for stage in ('far', 'fill')} if steps else None}
    return found


def sweeps(everybody, cases, options, bar):
    """Change one setting at a time: -> {sweep: [{'at', name: {'plans', 'p50', 'p95', 'p99', 'max'} or None}]}"""
    found = {}
    for sweep, points in SWEEPS.items():
        chosen = [*points][::len(points) - 1] if options.quick else [*points]
        advance = bar(sweep, len(chosen) * options.plans_per_point)
        found[sweep] = [{'at': at, **_point(everybody, cases, points[at], options.plans_per_point, advance)} for at in chosen]
    return found


def _point(everybody, cases, changes, plans, advance):
    reference = {one.name: one.planner.settings for one in everybody}
    try:
        for one in everybody:
            one.planner.settings = replace(reference[one.name], **changes)
        return _quantiles(interleave(everybody, cases, plans, plan_ms, advance))
    finally:
        for one in everybody:
            one.planner.settings = reference[one.name]


def _quantiles(rows):
    """Plans that were refused have no time: they ended before the last stage."""
    made = {name: [took for took, steps in laps if steps] for name, laps in rows.items()}
    return {name: quantiles(taken) if taken else None for name, taken in made.items()}


def cameras(cases, options, missing, bar):
    """Show the same to several cameras: the model itself, and networks of its shape with more cameras and random weights. -> as in `sweeps`"""
    advance, points = bar('cameras', len(CAMERAS) * options.plans_per_point), []
    for count in CAMERAS:
        with tempfile.TemporaryDirectory() as scratch:
            own = replace(options, lenient=True) if count == 1 else replace(options, lenient=True, model=Path(scratch))
            if count > 1:
                several(options.model, count, own.model)
                if not _export(own, missing, bar) and options.kinds and set(options.kinds) == {'onnx'}:
                    continue        # nobody is left to measure
            everybody, _ = load_all(own, default_robot(), strict=False)
            looks = [seen_by(case, count) for case in cases]
            points.append({'at': count, **_quantiles(interleave(everybody, looks, options.plans_per_point, plan_ms, advance))})
    return points


def _export(options, missing, bar):
    """Write the ONNX graphs of a folder, where ONNX Runtime is measured at all: -> whether they are there

    That they compute the same is for others to prove.
    """
    if 'onnx' not in (options.kinds or KINDS):
        return False
    if options.quick:
        missing.append('onnx with two cameras: the export of a network for it takes a minute; not with --quick')
        return False
    try:
        from diffusion_planner.runtime import export, tracing
    except ImportError as error:
        missing.append(f'onnx with two cameras: {error}')
        return False
    network, config = checkpoint.load(options.model)
    advance = bar('exporting', len(export.recipes(network)))
    try:
        files = export.write_graphs(network, options.model / 'model.safetensors', options.model, lambda name: advance())
    except tracing.ExportError as error:
        missing.append(f'onnx with two cameras: {error}')
        return False
    checkpoint.write_config(options.model, {**config, ENTRY: {'format': FORMAT, 'weights_sha256': config['sha256'], 'files': files}})
    return True


def several(model, count, folder):
    """Write a model folder like another one, with so many cameras and random weights."""
    import torch

    from diffusion_planner.nets.world_model import WorldModel
    network, config = checkpoint.load(model)
    torch.manual_seed(0)
    checkpoint.save(folder, WorldModel(replace(network.config, cameras=tuple(f'camera {number}' for number in range(count)))), config['planning'], {})
