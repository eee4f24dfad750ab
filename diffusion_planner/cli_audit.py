"""What the command `audit` does: options that go together, the kind of audit that was asked for, its files."""
from dataclasses import dataclass, replace
from pathlib import Path

from diffusion_planner.config import ConfigError

# An option -> those that would be ignored beside it; and -> the one that it says nothing without.
APART = {'--maze': ('--objective', '--planted-flaw', '--parts', '--fit', '--crossing', '--scale', '--ray'),
         '--objective': ('--planted-flaw', '--parts', '--fit', '--scale'), '--planted-flaw': ('--parts', '--fit', '--scale'),
         '--parts': ('--fit', '--scale')}
WITHOUT = {'--crossing': '--objective'}


@dataclass(frozen=True)
class Pages:
    """Where reports go."""

    json: Path
    plots: Path


@dataclass(frozen=True)
class Fit:
    """Whether the combined judge is fitted first, and on which scenes."""

    wanted: bool
    seed: int
    episodes: int


def check(given):
    """Refuse options that would be ignored: {option: value, false where it was not given}. Raises ConfigError."""
    named = [name for name, value in given.items() if value]
    for name in named:
        for other in APART.get(name, ()):
            if other in named:
                raise ConfigError(f'{other}: got {_told(given[other])} with {name}, expected only one of them')
        if WITHOUT.get(name, name) not in named:
            raise ConfigError(f'{name}: got it without {WITHOUT[name]}, expected both')


def _told(value):
    return 'it' if value is True else ', '.join(map(str, value)) if isinstance(value, list) else repr(str(value))


def options(model, episodes, seed, scales=(), ray=None, **more):
    """Put together what is audited: -> audit_run.Options. Raises FanOutError."""
    from diffusion_planner.evaluation.audit_run import Options
    from diffusion_planner.sim.fanout import check as check_ray
    return Options(model, episodes, seed, ray=check_ray(ray), **({'scales': scales} if scales else {}), **more)


def in_maze(name, episodes, seed, models, work, workers, write, pages):
    """Audit the planner in a maze."""
    from diffusion_planner.benchmarks.maze import run
    from diffusion_planner.benchmarks.maze.audit import audit_maze, show
    _finish(audit_maze(run.Options(seeds=episodes, first_seed=seed, models=models, work=work, workers=workers), name, write), pages, show)


def compared(kind, options, pages):
    """Compare settings on the same scenes: kind, a function of audit_compared."""
    from diffusion_planner.evaluation import audit_compared
    from diffusion_planner.evaluation.audit_run import write
    from diffusion_planner.evaluation.audit_show import show_compared
    report = getattr(audit_compared, kind)(options)
    write(report, pages.json)
    show_compared(report)
    print(pages.json)


def swept(options, fit, write, partly, pages):
    """Audit over the scale, after the combined judge was fitted and the scale chosen, if that is wanted; partly: not every scale is swept."""
    from diffusion_planner.evaluation import audit, audit_fit
    from diffusion_planner.evaluation.audit_show import show
    fitted = audit_fit.fit(replace(options, episodes=fit.episodes), fit.seed, write) if fit.wanted else None
    # Part of a sweep chooses nothing; nor does a sweep whose scale was chosen on other scenes already.
    report = audit.audit(options, write, choose=not (fit.wanted or partly), chosen_on=fit.seed if fit.wanted and write else None)
    _finish({**report, **({'fitted': fitted} if fitted else {})}, pages, show)


def _finish(report, pages, show):
    from diffusion_planner.evaluation import audit_page
    from diffusion_planner.evaluation.audit_run import write
    write(report, pages.json)
    show(report)
    audit_page.draw(pages.json, pages.plots)
    print(f'{pages.json}, {pages.plots}')
