"""An objective that `diffusion-planner export` wrote as graphs: what planning asks of an Objective, without PyTorch."""
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError, to_mapping
from diffusion_planner.objectives import written
from diffusion_planner.runtime.onnx_graphs import small_session

FORMAT = 'diffusion_planner/objective/1'
FOLDER = 'objectives'      # of a model's folder
KINDS = 'pull', 'end', 'judge', 'breaches', 'start'     # graphs of an objective, of which it has those that it needs


@dataclass(frozen=True)
class ExportedTerm:
    """What is known of a term beside its graphs, as of objectives.spec.Term."""

    name: str
    hard: bool
    formula: bool
    scale: float


class ExportedObjective:
    """Meets what planning and the node use of objectives.spec.Objective, and has the gradients that a backend needs.

    told: as describe() of runtime.objective_export wrote it; sessions: {kind: function that returns its onnxruntime.InferenceSession}
    """

    def __init__(self, name, spec, told, sessions):
        self.name, self.weights, self.goal_pose, self.people, self.zones = name, spec.chosen_weights, spec.goal_pose, spec.people, spec.keep_out
        self.terms = tuple(ExportedTerm(**term) for term in told['terms'])
        self._demands, self._apart, self._sessions = told['demands'], told['apart'], sessions

    def pull(self, position_rad, velocity_rad_s, offset_s):
        """Weigh what is missing on paths, and which way there is less of it: -> value [P], at most 0, gradient [P, T, J] by position_rad

        pull(position_rad [P, T, J], velocity_rad_s [P, T, J], offset_s [P, T], the first point being the origin)
        """
        return self._run('pull', np.float32, position_rad, velocity_rad_s, offset_s)

    def pull_at_end(self, position_rad, velocity_rad_s):
        """Do the same for ends of paths of which nothing else is known: [B, J], [B, J] -> value [B], gradient [B, J]"""
        if 'end' not in self._sessions:
            return np.zeros(len(position_rad), np.float32), np.zeros_like(position_rad, np.float32)
        value, gradient = self._run('end', np.float32, position_rad[:, None], velocity_rad_s[:, None])
        return value, gradient[:, 0]

    def judge(self, position_rad, velocity_rad_s, offset_s):
        """Judge paths from the present instant on, as Objective.judge does: numpy [P, T, J], [P, T, J], [P, T] -> Judgement"""
        robustness, share, guidance, here = self._run('judge', np.float64, position_rad, velocity_rad_s, offset_s)
        names = [term.name for term in self.terms]
        return written.judge(self.terms, dict(zip(names, robustness)), dict(zip(names, here)), dict(zip(names, share)), guidance)

    def breaches(self, position_rad, velocity_rad_s, offset_s):
        """Name the zones that a motion really comes too near to, as Objective.breaches does: [T, J], [T, J], [T] -> names"""
        if not self.zones:
            return []
        return written.breaches(self.zones, self._run('breaches', np.float64, position_rad)[0])

    def check_together(self):
        """Refuse what no start could satisfy, as Objective.check_together does. Raises ConfigError."""
        written.check_together(self.name, [demand['text'] for demand in self._demands], self._apart)

    def check_start(self, position_rad):
        """Refuse a start, at rest, from which the hard terms are already broken: [J]. Raises ConfigError, as Objective.check_start does."""
        if not self._demands:
            return
        robustness, numbers = self._run('start', np.float64, position_rad)
        numbers = iter(numbers)
        words = [[written.quantity(name, next(numbers), unit) for name, unit in demand['quantities']] for demand in self._demands]
        written.check_demands(self.name, list(zip((demand['text'] for demand in self._demands), robustness, words)), self._apart)

    def _run(self, kind, precision, *given):
        session = self._sessions[kind]()
        return session.run(None, {node.name: np.ascontiguousarray(values, precision) for node, values in zip(session.get_inputs(), given)})


def load_exported(path_or_text, robot, model_dir):
    """Load the graphs of an objective, a YAML file or YAML text, from a model's folder: -> ExportedObjective

    Comments and spacing do not count: what was exported is known by its content. Raises ConfigError, on one line, for an objective
    that cannot be read, was not exported for this model and robot, or whose files are not those that were written.
    """
    spec, where, name = written.read_spec(path_or_text)
    folder, remedy = Path(model_dir) / FOLDER, f'run `diffusion-planner export {model_dir} --objective {"FILE" if where == "objective" else where}`'
    described = {path: told for path in sorted(folder.glob('*.json')) if isinstance(told := _described(path), dict)}
    alike = {path: told for path, told in described.items() if told.get('content') == content_of(spec)}
    if not alike:
        changed = f'{folder / name}.json is of another content; ' if folder / f'{name}.json' in described else ''
        raise ConfigError(f'{where}: not exported for {model_dir}: {changed}{remedy}')
    fitting = [path for path, told in alike.items() if told.get('format') == FORMAT and told.get('robot') == robot_of(robot, spec)]
    path = fitting[0] if fitting else next(iter(alike))
    told = alike[path]
    if told.get('format') != FORMAT:
        raise ConfigError(f'{path}: format {told.get("format")!r}, expected {FORMAT!r}; {remedy}')
    if not fitting:
        raise ConfigError(f'{path}: exported for another robot than {robot.name}; {remedy}')
    return ExportedObjective(name, spec, told, _begin({kind: (graph_path(path, kind), _verified(path, kind, told, remedy)) for kind in told['graphs']}))


def content_of(spec):
    """Identify what an objective says: Spec -> sha256 of its canonical JSON; weights that it leaves alone do not count"""
    return sha256(json.dumps({**to_mapping(spec), 'weights': spec.chosen_weights}, sort_keys=True).encode())


def robot_of(robot, spec):
    """Identify what the graphs of an objective know of a robot: joints, chain and tip, with joint_margins also position limits."""
    known = ['joint_names', 'chain', 'tip', *(['position_min_rad', 'position_max_rad'] if spec.joint_margins else [])]
    mapping = to_mapping(robot)
    return sha256(json.dumps({name: mapping[name] for name in known}, sort_keys=True).encode())


def session(graph):
    """Make a graph ready to run on one core: bytes -> onnxruntime.InferenceSession"""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC     # more takes longer and gains nothing here
    return small_session(graph, options)


def _begin(graphs):
    """Make graphs ready beside whoever asked: {kind: (path, bytes)} -> {kind: function that waits for its session}. Raises ConfigError.

    Half a second is too long for the thread that a node's joint states come in by. The smallest is made at once, and shows
    whether there is a runtime that understands them.
    """
    order = sorted(graphs, key=lambda kind: len(graphs[kind][1]))
    path, smallest = graphs[order[0]]
    try:
        first = session(smallest)
    except ImportError:
        raise ConfigError('onnxruntime: not installed, which backend onnx needs; expected `pip install onnxruntime`') from None
    except Exception as error:     # onnxruntime has a class of its own for every way to fail
        raise ConfigError(f'{path}: onnxruntime cannot run it ({" ".join(str(error).split())[:200]})') from None
    pool = ThreadPoolExecutor(1, 'objective')
    sessions = {order[0]: lambda: first, **{kind: pool.submit(session, graphs[kind][1]).result for kind in order[1:]}}
    pool.shutdown(wait=False)
    return sessions


def graph_path(path, kind):
    """Where a graph of an objective is: its JSON file, one of KINDS -> path"""
    return path.with_name(f'{path.stem}.{kind}.onnx')


def _described(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):     # a file that somebody left there; what was looked for is then not found
        return None


def _verified(path, kind, told, remedy):
    """Read a graph that is the one that was written: -> bytes. Raises ConfigError."""
    file, digest = graph_path(path, kind), told['graphs'][kind]
    try:
        graph = file.read_bytes()
    except OSError as error:
        raise ConfigError(f'{file}: cannot be read ({error.strerror}); {remedy}') from None
    if (found := sha256(graph)) != digest:
        raise ConfigError(f'{file}: sha256 {found[:12]}…, expected {digest[:12]}… as in {path.name}; {remedy}')
    return graph


def sha256(content):
    """Identify bytes: -> text"""
    return hashlib.sha256(content).hexdigest()
