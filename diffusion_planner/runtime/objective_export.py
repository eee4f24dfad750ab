"""Export of a user's objective: its values and gradients as graphs, proven equal to PyTorch's before they are written."""
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diffusion_planner.objectives import limits
from diffusion_planner.objectives.motion import Motion, dense
from diffusion_planner.objectives.spec import PER_STRETCH, excluding, load_objective
from diffusion_planner.objectives.written import read_spec
from diffusion_planner.runtime.exported_objective import FOLDER, FORMAT, KINDS, content_of, graph_path, robot_of, session, sha256
from diffusion_planner.runtime.pressure import TEMPERATURE
from diffusion_planner.runtime.tracing import ExportError, trace, with_gradient

TOLERANCE = 1e-4      # of the size of the numbers, by which a graph may differ from torch
NUDGE_RAD = 1e-6      # or by as much as torch's own do within this, or in single precision, as at an edge: nobody can be held to one side of it
EDGES = 0.1           # of all motions, that may need that
SIZES = (3, 2), (8, 13), (1, 5), (16, 9)      # of P and T, on random motions of which torch and the graph are compared,
ROUNDS = 12                                   # so many times


@dataclass(frozen=True)
class Graph:
    """A function to export: inputs {name: letters of its axes}, J and nothing else being a fixed size."""

    kind: str
    function: object
    inputs: dict
    outputs: tuple
    precision: torch.dtype = torch.float64

    def trace(self, robot):
        joints, random = len(robot.joint_names), np.random.default_rng(0)
        sizes = [size for size in (3, 5, 11, 13) if size != joints]
        given = dict(zip(self.inputs, self.motions(robot, random, sizes[0], sizes[2])))
        letters = {name: {axis: letter for axis, letter in enumerate(axes) if letter in 'PT'} for name, axes in self.inputs.items()}
        self.function(*given.values())     # what is computed once and kept, such as kinematics, must not be made of traced tensors
        return trace(self.function, given, list(self.outputs), letters)

    def motions(self, robot, random, count, points):
        """Draw motions of an arm, about as fast as it may be, from anywhere it can be: -> tensors"""
        low, high, fastest = (np.array(values) for values in (robot.position_min_rad, robot.position_max_rad, robot.velocity_max_rad_s))
        joints = len(low)
        offset_s = np.concatenate([np.zeros((count, 1)), random.uniform(0.02, 0.5, (count, points - 1)).cumsum(1)], 1)
        anywhere, home = random.uniform(low, high, (2, count, 1, joints)), random.normal(robot.home_rad, 0.6, (2, count, 1, joints))
        ends = np.where(random.random((count, 1, 1)) < 0.3, anywhere, home.clip(low, high))
        share = offset_s[..., None] / offset_s[:, -1:, None].clip(1e-9)
        position = ends[0] + random.uniform(0, 1, (count, 1, 1)) * share * (ends[1] - ends[0]) + random.normal(0, 0.02, (count, points, joints))
        velocity = random.uniform(0, 0.5, (count, 1, 1)) * random.normal(0, 1, (count, points, joints)) * fastest
        made = {'PTJ': position, 'PT': offset_s, 'P1J': position[:, :1], 'TJ': position[0], 'J': position[0, 0]}
        picked = [velocity[:, :points if axes == 'PTJ' else 1] if name == 'velocity_rad_s' else made[axes] for name, axes in self.inputs.items()]
        return [torch.as_tensor(values).to(self.precision) for values in picked]


def export_objective(path_or_text, robot, model_dir):
    """Write an objective, a YAML file or YAML text, as graphs into a model's folder, for backends without PyTorch: -> paths

    Raises ConfigError for an objective that cannot be used, and ExportError for one that cannot be exported.
    """
    objective, (spec, where, name) = load_objective(path_or_text, robot), read_spec(path_or_text)
    models = {}
    for graph in graphs(objective):
        try:
            models[graph.kind] = graph.trace(robot).SerializeToString()
            verify(graph, session(models[graph.kind]), robot)
        except ExportError as error:
            raise ExportError(f'{where}: {graph.kind}: {error}') from None
    return write(Path(model_dir) / FOLDER / f'{name}.json', describe(objective, spec, robot), models)


def graphs(objective):
    """List what an objective is exported as: -> [Graph]"""
    path = {'position_rad': 'PTJ', 'velocity_rad_s': 'PTJ', 'offset_s': 'PT'}
    found = [Graph('pull', with_gradient(lambda *given: objective.guidance(Motion(*given, objective.kinematics), TEMPERATURE)),
                   path, ('value', 'gradient'), torch.float32),
             Graph('judge', _judge(objective), path, ('robustness', 'share', 'guidance', 'here'))]
    if any(term.formula is None for term in objective.terms):
        found.append(Graph('end', with_gradient(_end(objective)), {'position_rad': 'P1J', 'velocity_rad_s': 'P1J'}, ('value', 'gradient'), torch.float32))
    if objective.zones:
        found.append(Graph('breaches', _breaches(objective), {'position_rad': 'TJ'}, ('clearance_m',)))
    if objective.demands():
        found.append(Graph('start', _start(objective), {'position_rad': 'J'}, ('robustness', 'quantities')))
    return found


def _judge(objective):
    def judge(position_rad, velocity_rad_s, offset_s):
        motion = dense(Motion(position_rad, velocity_rad_s, offset_s, objective.kinematics), PER_STRETCH)
        here = _standing(position_rad[:1, :1], objective)
        return (torch.stack(list(objective.robustness(motion).values())), torch.stack(list(objective.share(motion).values())),
                objective.guidance(motion),
                torch.cat([term.value(here) if term.bounded else torch.zeros_like(here.offset_s[0]) for term in objective.terms]))
    return judge


def _end(objective):
    return lambda *given: objective.guidance_at_end(Motion(*given, torch.zeros_like(given[0][..., 0]), objective.kinematics))


def _breaches(objective):
    def breaches(position_rad):
        motion = Motion(position_rad[None], None, None, objective.kinematics)
        return (torch.cat([limits.clearance(motion, zone) for zone in objective.zones]),)
    return breaches


def _start(objective):
    demands = objective.demands()

    def start(position_rad):
        motion = _standing(position_rad[None, None], objective)
        return (torch.cat([demand.value(motion) for demand in demands]),
                torch.stack([signal(motion).reshape(()) for demand in demands for _, _, signal in demand.quantities()]))
    return start


def _standing(position_rad, objective):
    return Motion(position_rad, torch.zeros_like(position_rad), torch.zeros_like(position_rad[..., 0]), objective.kinematics)


def describe(objective, spec, robot):
    """Say what the graphs do not: -> mapping for JSON"""
    demands = objective.demands()
    return {'format': FORMAT, 'content': content_of(spec), 'robot': robot_of(robot, spec),
            'terms': [{'name': term.name, 'hard': term.hard, 'formula': term.formula is not None, 'scale': term.scale} for term in objective.terms],
            'demands': [{'text': str(demand), 'quantities': [[name, unit] for name, unit, _ in demand.quantities()]} for demand in demands],
            'apart': excluding(demands)}


def verify(graph, session, robot):
    """Compare a graph with what torch computes in double precision, on hundreds of random motions. Raises ExportError."""
    random, edges, compared, seen = np.random.default_rng(1), 0, 0, []
    for count, points in SIZES * ROUNDS:
        given = graph.motions(robot, random, count, points)
        exact = [values.double() for values in given]
        wanted = _numbers(graph, exact)
        near = _numbers(graph, given), *(_numbers(graph, [exact[0] + nudge, *exact[1:]]) for nudge in (NUDGE_RAD, -NUDGE_RAD))
        found = session.run(None, dict(zip(graph.inputs, (values.numpy() for values in given))))
        for name, here, beside, there in zip(graph.outputs, wanted, zip(*near), found, strict=True):
            off, allowed = np.abs(there - here), TOLERANCE * _size(here)
            sharp = np.max([np.abs(other - here) for other in beside], 0)
            if not (off <= np.maximum(allowed, sharp)).all():     # nan fails too
                worst = (off / allowed).max() * TOLERANCE
                raise ExportError(f'{name}: differs from torch by {worst:.2g} of its size on a random motion, expected at most {TOLERANCE:g}')
            edges, compared = edges + (off > allowed).any(), compared + 1
        seen.append(wanted)
    if edges > EDGES * compared:
        raise ExportError(f'changes by leaps at {edges} of {compared} random motions, where torch itself cannot be compared; expected at most {EDGES:.0%}')
    _check_slope(graph, seen)


def _check_slope(graph, seen):
    """Refuse a value that changes although its gradient says that it does not, as what was rounded does. Raises ExportError."""
    if 'gradient' not in graph.outputs:
        return
    values, gradients = [np.concatenate([np.ravel(part[index]) for part in seen]) for index in (0, 1)]
    if np.ptp(values) > 0 and not gradients.any():
        raise ExportError('not differentiable: its value changes with the motion, and its gradient is 0 everywhere')


def _numbers(graph, given):
    return [values.numpy() for values in graph.function(*given)]


def _size(values):
    """How large numbers are, at least 1; of a gradient [P, T, J] that of the whole row."""
    size = np.abs(values)
    return np.maximum(size.max((1, 2), keepdims=True) if size.ndim == 3 else size, 1.0)


def write(path, told, models):
    """Write graphs and then what tells of them, each whole or not at all: JSON path, mapping, {kind: bytes} -> paths"""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {graph_path(path, kind): model for kind, model in models.items()}
    told = {**told, 'graphs': {kind: sha256(model) for kind, model in models.items()}}
    for file, content in (*files.items(), (path, (json.dumps(told, indent=1) + '\n').encode())):
        part = file.with_name(f'{file.name}.part')
        part.write_bytes(content)
        os.replace(part, file)
    for kind in set(KINDS) - set(models):
        graph_path(path, kind).unlink(missing_ok=True)
    return [*files, path]
