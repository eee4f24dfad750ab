"""The command `evaluate`: a bag in, report.json with its pictures, timing.json, the page and the recording out."""
import json
import os
from pathlib import Path

from diffusion_planner.data import bags
from diffusion_planner.data import mapping as mappings
from diffusion_planner.data.ingest_reward import read_intervals
from diffusion_planner.evaluation import bag_page, bag_rerun, bag_report
from diffusion_planner.evaluation.assembly import load_objective, load_planner
from diffusion_planner.evaluation.bag_gallery import Gallery
from diffusion_planner.evaluation.bag_statistics import plain
from diffusion_planner.evaluation.bag_topics import EvaluationError, Topics
from diffusion_planner.evaluation.bag_walk import Walk, WalkSettings
from diffusion_planner.records import Goal

LEVELS = {'ok': 'green', 'warn': 'yellow', 'bad': 'red', 'unknown': 'dim'}


def run(bag, model, out, mapping, settings, objective, backend, make_inputs):
    """Evaluate a bag, write OUT and tell of it; see evaluate. The page and the recording are made of what was written before."""
    report, moments = evaluate(bag, model, out, mapping, settings, objective, backend, make_inputs)
    page = bag_page.write(out)
    recording = bag_rerun.write(out, moments, report['bag']['joint_names'], report['model']['cameras'])
    _tell(report, [path for path in (Path(out) / 'report.json', page, recording) if path])


def evaluate(bag, model, out, mapping, settings=WalkSettings(), objective=None, backend='torch', make_inputs=None):
    """Evaluate a bag with a model and write OUT/report.json, timing.json and pictures: -> report, [bag_records.Moment]

    make_inputs: the node's class of inputs, ros.inputs.Inputs. report.json appears when all that it names is there. Raises BagError,
    ConfigError, ModelError, EvaluationError.
    """
    table, robot = mappings.load(mapping)
    if Path(out).exists() and not Path(out).is_dir():
        raise EvaluationError(f'--out: got {out}, which is a file, expected the name of a folder')
    with bags.open_bag(bag) as opened:
        planner = load_planner(model, robot, backend=backend)
        walk = Walk(_topics(opened, table, robot, planner, mapping), planner, robot, _goal(planner, robot, objective, backend, model), settings, make_inputs)
        gallery, steps = Gallery(_expected(walk)), []
        for step in _shown(walk):
            gallery.look(step)
            steps.append(step)
        if not steps:
            raise EvaluationError(f'{bag}: no plan could be made: {"; ".join([*walk.missing(), *walk.warnings]) or "nothing was received"}; '
                                  'expected joint states and pictures at the same time')
        report = bag_report.make(walk, steps, opened, model, table)
    return _write(Path(out), report, gallery, steps), [step.moment for step in steps]


def _topics(bag, table, robot, planner, path):
    intervals = read_intervals(mappings.interval_file(table, path)) if table.reward.intervals else None
    return Topics(bag, table, robot, planner.cameras, [name for name, _ in planner.model.sensors], intervals)


def _goal(planner, robot, objective, backend, model):
    """Say what is wanted, at the scale that the model recommends: -> Goal"""
    wanted = load_objective(objective, robot, backend, model) if objective else None
    return Goal(planner.backend.planning.get('recommended_scale', 1.0), objective=wanted)


def _expected(walk):
    """Guess how many plans there will be."""
    count = int(walk.clock.duration_s / walk.settings.every_s) + 1
    return count if walk.settings.limit is None else min(count, walk.settings.limit)


def _shown(walk):
    """Walk, with a progress bar: yields Step"""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    columns = TextColumn('evaluating'), BarColumn(), TextColumn('{task.completed:.0f} of {task.total:.0f} s, {task.fields[plans]} plans'), TimeRemainingColumn()
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task('evaluating', total=walk.clock.duration_s, plans=0)
        for count, step in enumerate(walk.steps(), 1):
            progress.update(bar, completed=walk.elapsed_s, plans=count)
            yield step


def _write(out, report, gallery, steps):
    """Write OUT, report.json last: -> report as JSON has it"""
    out.mkdir(parents=True, exist_ok=True)
    for name in ('report.json', bag_page.NAME, bag_rerun.NAME):      # of another evaluation: nothing old beside anything new
        (out / name).unlink(missing_ok=True)
    report['pictures'] = bag_report.pictures(steps, gallery.write(out))
    _write_json(out / 'timing.json', bag_report.timing(steps))
    _write_json(out / 'report.json', report)
    return plain(report)


def _write_json(path, content):
    """Write a file whole or not at all."""
    part = path.with_suffix('.part')
    part.write_text(json.dumps(plain(content), indent=1, sort_keys=True, allow_nan=False) + '\n')
    os.replace(part, path)


def _tell(report, paths):
    """Print the verdict and what was written."""
    from rich.console import Console
    console, plans = Console(), report['plans']
    for check in report['verdict']['checks']:
        value = '-' if check['value'] is None else f'{check["value"]:.3g}'
        console.print(f'[{LEVELS[check["level"]]}]{check["level"]:<8}[/]{check["title"]}: {value} {check["unit"]}', highlight=False, soft_wrap=True)
    console.print(report['verdict']['sentence'], soft_wrap=True, highlight=False, markup=False)
    console.print(f'{plans["guided"]} plans of {plans["due"]} due over {report["bag"]["walked_s"]:.1f} s: {", ".join(map(str, paths))}',
                  soft_wrap=True, highlight=False, markup=False)
