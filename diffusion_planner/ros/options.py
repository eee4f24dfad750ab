"""What a session is asked for, what is refused at once, and the command lines that follow."""
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation.assembly import check_backend
from diffusion_planner.ros.wishes import locate, read_objective
from diffusion_planner.sim.oddities import ODDITIES
from diffusion_planner.sim.scene import default_robot

TRAINING_SEEDS = 1_000_000      # scenes from here on are those of the play data


@dataclass(frozen=True)
class SimOptions:
    """What `diffusion-planner sim` was asked for; None: no file, or the default."""

    model: Path
    episodes: int = 10
    seed: int = 0
    guidance_scale: float | None = None
    gui: bool = False
    json: Path | None = None
    video: Path | None = None
    domain: int | None = None
    realtime: bool = False      # the simulator never waits for the planner
    objective: Path | None = None
    guard: bool = True
    oddity: str | None = None
    backend: str = 'torch'
    device: str = 'auto'
    deadline_ms: float | None = None


def check(options):
    """Refuse what cannot work before anything is started: -> guidance scale, None for the planner's own"""
    from diffusion_planner.runtime.checkpoint import verify
    check_backend(options.backend, options.device)
    if options.oddity is not None and options.oddity not in ODDITIES:
        raise ConfigError(f'--oddity: got {options.oddity!r}, expected one of {", ".join(ODDITIES)}')
    if options.gui and sys.platform == 'linux' and not os.environ.get('DISPLAY'):
        raise ConfigError('--gui needs a display; DISPLAY is not set')
    if options.seed + options.episodes > TRAINING_SEEDS:
        raise ConfigError(f'--seed {options.seed} with --episodes {options.episodes}: reaches into the scenes of the play data; '
                          f'expected scenes below {TRAINING_SEEDS}')
    for name, path in (('--json', options.json), ('--video', options.video)):
        if path is not None and Path(path).is_dir():
            raise ConfigError(f'{name} {path}: is a folder; expected the name of a file')
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
    if options.objective is not None:
        read_objective(str(options.objective), default_robot(), options.backend, str(options.model))
    recommended = verify(options.model).get('planning', {}).get('recommended_scale')
    return recommended if options.guidance_scale is None else options.guidance_scale


def commands(options, scale):
    """Write the command lines of both nodes: -> {name: command}"""
    def node(name, parameters):
        given = [part for key, value in parameters.items() for part in ('-p', f'{key}:={yaml_text(value)}')]
        return [sys.executable, '-m', f'diffusion_planner.ros.{name}_node', '--ros-args', *given]
    guidance = {} if scale is None else {'guidance_scale': float(scale)}
    objective = {} if options.objective is None else {'objective': str(locate(options.objective).resolve())}
    oddity = {} if options.oddity is None else {'oddity': options.oddity}
    deadline = {} if options.deadline_ms is None else {'deadline_ms': float(options.deadline_ms)}
    # Lock-step at the pace of the wall clock: real time wherever the planner keeps up, and no episode lost to a busy machine.
    # Not the first scene yet: a seed is news to the simulator only where it differs from the last one.
    return {'sim': node('sim', {'scene_seed': options.seed + 1, 'gui': options.gui, 'lock_step': not options.realtime,
                            **objective, **oddity}),
            'planner': node('planner', {'use_sim_time': True, 'autostart': True, 'model': str(Path(options.model).resolve()),
                                    'backend': options.backend, 'device': options.device, 'guard': options.guard, **deadline, **guidance, **objective})}


def yaml_text(value):
    """Write a parameter's value as rcl reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
