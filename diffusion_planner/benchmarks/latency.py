"""Where the time of a plan goes on every backend that is here, all in one run: everybody plans each case in turn, so ratios are fair."""
import json
import os
import platform
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffusion_planner.benchmarks import latency_cases as cases_of
from diffusion_planner.benchmarks import latency_plans, latency_report, latency_roofline, latency_start, latency_sweeps
from diffusion_planner.benchmarks.latency_contenders import load_all
from diffusion_planner.planning.planner import PlannerSettings
from diffusion_planner.sim.scene import default_robot


@dataclass(frozen=True)
class Options:
    """What is measured. `quick` asks for a look rather than figures.

    kinds: of latency_contenders, all that are here where none is named; settings: the reference; lenient: for random weights, nothing
    is refused.
    """

    model: Path
    plans: int = 100
    threads: int = 2
    deadline_ms: float = 10.0
    seed: int = 3000
    kinds: tuple = ()
    quick: bool = False
    settings: PlannerSettings = PlannerSettings()
    lenient: bool = False

    @property
    def cases(self):
        return 4 if self.quick else min(24, self.plans)

    @property
    def plans_per_point(self):
        """Plans at every point of a sweep and under the profiler."""
        return 3 if self.quick else max(10, self.plans // 5)


@contextmanager
def bars():
    """Show progress: -> function (what, how many) -> function to call after each"""
    from rich.console import Console
    from rich.progress import Progress
    progress = Progress(console=Console(stderr=True))

    def bar(what, total):
        progress.start()      # not before: an error is one line
        task = progress.add_task(what, total=total)
        return lambda: progress.advance(task)
    try:
        yield bar
    finally:
        if progress.tasks:
            progress.stop()


def measure(options, publish=None, bar=lambda what, total: lambda: None):
    """Measure everything: -> report, of which `write` makes a JSON file.

    publish: function (chunk, joint_names, now_s) -> bytes on the wire, None where there is no ROS. Raises ModelError and ConfigError.
    """
    robot, here = default_robot(), machine()      # its load before anything of ours
    everybody, missing = load_all(options, robot)
    if publish is None:
        missing.append('publish: ROS cannot be imported here, so neither this stage nor a node was measured')
    cases = cases_of.record(options, bar('recording', options.cases))
    report = {'settings': _settings(options, cases), 'machine': here, 'missing': missing,
              'backends': latency_plans.latency(everybody, cases, robot, options.plans, publish, bar('plans', options.plans)),
              'deadline': latency_sweeps.deadline(everybody, cases, options, bar),
              'sweeps': latency_sweeps.sweeps(everybody, cases, options, bar),
              'roofline': latency_roofline.measure(everybody, cases, options, bar),
              'start': latency_start.measure(everybody, cases[-1], options, publish is not None, bar)}
    report['sweeps']['cameras'] = latency_sweeps.cameras(cases, options, missing, bar)
    report['summary'] = latency_report.summarise(report)
    return report


def machine():
    """-> what the figures depend on"""
    with open('/proc/cpuinfo') as lines:
        facts = dict(line.strip().partition(':')[::2] for line in lines if ':' in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    wide = [flag for flag in ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16') if flag in facts.get('flags', '').split()]
    return {'cpu': facts.get('model name', platform.processor()), 'cores': os.cpu_count(), 'instructions': wide, 'load': os.getloadavg()[0],
            'python': platform.python_version(), **latency_start.versions()}


def _settings(options, cases):
    settings = options.settings
    return {'model': str(options.model), **{name: getattr(options, name) for name in ('plans', 'plans_per_point', 'threads', 'deadline_ms', 'seed', 'quick')},
            'candidates': settings.arrivals * settings.samples, 'warm_candidates': settings.warm_samples, 'paths': settings.plans,
            **{name: getattr(settings, name) for name in ('far_steps', 'fill_steps', 'fill_in', 'sampler', 'guidance_form')},
            'cases': len(cases), 'pictures_per_plan': cases_of.pictures_per_plan(cases), 'pause_ms': 1000 * latency_plans.PAUSE_S}


def write(report, path):
    """Write the JSON file, which is either as it was or whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(f'{path}.part')
    part.write_text(json.dumps(report, indent=1) + '\n')
    os.replace(part, path)
