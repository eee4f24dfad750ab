"""What an operator may change while plans are made: read, checked, and refused before anything changes."""
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion_planner.evaluation.assembly import load_objective
from diffusion_planner.files import find
from diffusion_planner.objectives import written


def locate(path):
    """Return a path as it is if it exists, else the shipped file of that name, else as it is, for the reader to complain."""
    try:
        return Path(path) if Path(path).exists() else find(path)
    except FileNotFoundError:
        return Path(path)


def read_objective(text, robot, backend='torch', model=None):
    """Read what a parameter `objective` names, a file or YAML text: -> an objective, or None for ''. Raises ConfigError.

    With backend onnx it is what was exported for that model's folder, which needs no torch.
    """
    if not text:
        return None
    return load_objective(_located(text), robot, backend, model and locate(model))


def read_zones(text):
    """Read the keep_out zones of what read_objective reads: -> tuple of Zone"""
    return written.read_spec(_located(text))[0].keep_out if text else ()


def _located(text):
    return text if '\n' in text or ': ' in text else locate(text)


@dataclass(frozen=True)
class Wishes:
    """The parameters of the planner node that change while it runs, the objective as it was read."""

    guidance_scale: float
    guard: bool
    objective: object | None
    speed_scale: float = 1.0
    deadline_ms: float = 0.0
    backend: str = 'torch'     # these two say what an objective is read for
    model: str = ''

    @classmethod
    def of(cls, values, robot):
        """Read them off parameter values. Raises ConfigError."""
        source = values['backend'], values['model']
        return cls(values['guidance_scale'], values['guard'], read_objective(values['objective'], robot, *source), values['speed_scale'],
                   values['deadline_ms'], *source)

    def changed(self, changes, robot, position_rad):
        """Change some, name to parameter value: -> Wishes. Raises ConfigError for an objective that is no use where the arm stands."""
        if 'objective' in changes:
            changes = {**changes, 'objective': read_objective(changes['objective'], robot, self.backend, self.model)}
        wanted = replace(self, **changes)
        if 'objective' in changes:
            wanted.check_start(position_rad)
        return wanted

    def check_start(self, position_rad):
        """Raise ConfigError where the objective cannot be met from joints [J]; None: nobody knows yet."""
        if self.objective is not None and position_rad is not None:
            self.objective.check_start(position_rad)


class Recent:
    """Tells whether a count has grown within the last seconds."""

    def __init__(self, seconds):
        self._seconds, self._count, self._since_s = seconds, 0, float('-inf')

    def __call__(self, count, now_s):
        if count != self._count:
            self._count, self._since_s = count, now_s
        return 0 <= now_s - self._since_s < self._seconds
