"""What an operator may change while plans are made: read, checked, and refused before anything changes."""
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion_planner.files import find


def locate(path):
    """Return a path as it is if it exists, else the shipped file of that name, else as it is, for the reader to complain."""
    try:
        return Path(path) if Path(path).exists() else find(path)
    except FileNotFoundError:
        return Path(path)


def read_objective(text, robot):
    """Read what a parameter `objective` names, a file or YAML text: -> Objective, or None for ''. Raises ConfigError."""
    if not text:
        return None
    from diffusion_planner.objectives.spec import load_objective
    return load_objective(text if '\n' in text or ': ' in text else locate(text), robot)


def read_zones(text, robot):
    """Read the keep_out zones of what read_objective reads: -> tuple of Zone"""
    objective = read_objective(text, robot)
    return () if objective is None else objective.zones


@dataclass(frozen=True)
class Wishes:
    """The parameters of the planner node that change while it runs, the objective as it was read."""

    guidance_scale: float
    guard: bool
    objective: object | None
    speed_scale: float = 1.0

    @classmethod
    def of(cls, values, robot):
        """Read them off parameter values. Raises ConfigError."""
        return cls(values['guidance_scale'], values['guard'], read_objective(values['objective'], robot), values['speed_scale'])

    def changed(self, changes, robot, position_rad):
        """Change some, name to parameter value: -> Wishes. Raises ConfigError for an objective that is no use where the arm stands."""
        if 'objective' in changes:
            changes = {**changes, 'objective': read_objective(changes['objective'], robot)}
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
