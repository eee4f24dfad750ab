"""Command line: one subcommand per job, each handing over at once to the module that does it.

Imports are inside the functions, so that help and bad options are answered without loading torch, PyBullet or ROS.
"""
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Optional

import typer

from diffusion_planner.cli_bags import bags

app = typer.Typer(help='Plan arm motion by denoising an imagined, rewarded future.',
                  add_completion=False, pretty_exceptions_enable=False)

app.add_typer(bags)      # without a name: its commands stand beside the others

DEFAULT_MODEL = 'models/panda_reach'

Episodes = Annotated[int, typer.Option(min=1, help='How many episodes.')]
Count = Annotated[int, typer.Option(min=1, help='How many scenes.')]
Seed = Annotated[int, typer.Option(min=0, help='Seed of the first scene; the same seed gives the same scenes.')]
Workers = Annotated[int, typer.Option(min=1, help='Processes to share the work.')]
Ray = Annotated[Optional[str], typer.Option('--ray', metavar='[ADDRESS]', show_default=False,
                                            help='Share the work over ray: of this machine, with so many workers, where no address follows; else of a '
                                                 'cluster, host:port, on all of whose machines this package is installed and the model lies at the same path.')]
Model = Annotated[Path, typer.Option(help='Model folder.')]
Scale = Annotated[Optional[float], typer.Option(min=0, max=100, show_default="the model's own",
                                                help='Guidance scale; 0 takes the reward out of the plan.')]
Objective = Annotated[Optional[Path], typer.Option('--objective', help='Objective with constraints, YAML; see config/objectives.')]
Report = Annotated[Optional[Path], typer.Option('--json', help='Write the results to this file.')]
Data = Annotated[Path, typer.Option(help='Folder of recorded episodes.')]
Backend = Annotated[str, typer.Option(help='What runs the networks: torch or onnx.')]
Device = Annotated[str, typer.Option(help='Where they run: auto, cpu or cuda; with onnx tensorrt, too.')]
Deadline = Annotated[Optional[float], typer.Option(min=0, max=10_000, metavar='MS', show_default='none',
                                                   help='Wall-clock time that a plan has, in ms; 0: none.')]
Domain = Annotated[Optional[int], typer.Option(min=0, max=232, help='ROS_DOMAIN_ID to use instead of a free one.')]


@app.callback()
def options(debug: Annotated[bool, typer.Option('--debug', help='Show the traceback of an error.')] = False):
    """Accept --debug before the subcommand; main() reads it wherever it stands."""


@app.command()
def demos(out: Annotated[Path, typer.Option(help='Folder for the episodes; those that are there are kept.')] = Path('data/panda_reach'),
          episodes: Episodes = 10000, seed: Seed = 0, workers: Workers = 2, ray: Ray = None):
    """Record play data in the simulator."""
    from diffusion_planner.sim.fanout import check
    from diffusion_planner.training.demos import make_demos
    make_demos(out, episodes, seed, workers, check(ray))


@app.command()
def train(config: Annotated[Path, typer.Argument(help='Training configuration, YAML.')] = Path('config/panda_reach.yaml'),
          data: Data = Path('data/panda_reach'), out: Annotated[Path, typer.Option(help='Model folder to write.')] = Path(DEFAULT_MODEL),
          resume: Annotated[bool, typer.Option(help='Go on where the last run stopped.')] = True,
          stage: Annotated[str, typer.Option(help='all; representation, heads, familiarity or denoiser: up to there; or judges.')] = 'all'):
    """Train a model from recorded episodes."""
    from diffusion_planner.training.trainer import train as run
    run(config, data, out, resume, stage)


@app.command()
def export(model: Annotated[Optional[Path], typer.Argument(help='Model folder.', show_default=DEFAULT_MODEL)] = None,
           objective: Annotated[Optional[list[Path]], typer.Option('--objective', help='Objective to export too, YAML; may be repeated.')] = None,
           only_objectives: Annotated[bool, typer.Option('--only-objectives', help='Leave the graphs of the model as they are.')] = False,
           robot: Annotated[str, typer.Option(help='Robot file that objectives are exported for.')] = 'config/panda.yaml',
           cases: Annotated[int, typer.Option(min=1, help='How many cases the two backends are compared on.')] = 54):
    """Write a model's networks as ONNX graphs, gradients of guidance included, and prove that they plan as PyTorch does."""
    from diffusion_planner.config import ConfigError
    from diffusion_planner.evaluation import exporting
    if only_objectives and not objective:
        raise ConfigError('--only-objectives: expected at least one --objective FILE')
    exporting.run(_whole(model or Path(DEFAULT_MODEL)), objective or (), robot, cases, not only_objectives)


@app.command()
def probe(model: Model = Path(DEFAULT_MODEL), count: Count = 40, seed: Seed = 2000, json: Report = None,
          scales: Annotated[Optional[list[float]], typer.Option('--scale', min=0, max=100, help='Only this scale; may be repeated.')] = None):
    """Measure how far the imagined future is from the target, per guidance scale."""
    from diffusion_planner.evaluation.offline import probe as run
    chosen = {'scales': tuple(scales)} if scales else {}
    run(_whole(model), count, seed, json_path=json, **chosen)


@app.command()
def scenes(count: Count = 200, seed: Seed = 0):
    """Measure the share of scenes whose straight joint-space line to the goal collides."""
    from diffusion_planner.sim.scene import blocked_share
    typer.echo(f'straight line blocked in {blocked_share(count, seed):.1%} of {count} scenes')


@app.command()
def compare(model: Model = Path(DEFAULT_MODEL), episodes: Episodes = 100, seed: Seed = 1000, json: Report = None, workers: Workers = 2,
            methods: Annotated[Optional[list[str]], typer.Option('--method', help='Only this method; may be repeated.')] = None,
            guidance_scale: Scale = None, objective: Objective = None,
            guard: Annotated[bool, typer.Option(help='Bound and judge guidance; without, one head guides as it likes.')] = True,
            backend: Backend = 'torch', device: Device = 'cpu', deadline_ms: Deadline = None, ray: Ray = None):
    """Compare methods in closed loop on the same scenes."""
    from diffusion_planner.evaluation.compare import METHODS
    from diffusion_planner.evaluation.compare import compare as run
    from diffusion_planner.sim.fanout import check
    check(ray)
    run(_whole(model, backend, device), episodes, seed, json, workers, _known('--method', methods, METHODS), guidance_scale, guard,
        _objective(objective, backend, _found(model)), ray, backend=backend, device=device, deadline_ms=deadline_ms)


@app.command()
def audit(model: Annotated[Optional[Path], typer.Argument(help='Model folder.', show_default=DEFAULT_MODEL)] = None,
          episodes: Episodes = 100, seed: Seed = 1000,
          json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/audit.json'),
          plots: Annotated[Path, typer.Option(help='Write the page of plots to this file.')] = Path('runs/audit.png'),
          maze: Annotated[Optional[str], typer.Option(help='Audit the planner in this maze instead: umaze, medium or large.')] = None,
          objective: Objective = None,
          crossing: Annotated[bool, typer.Option('--crossing', help='With --objective: only scenes whose way leads across the wall.')] = False,
          planted_flaw: Annotated[bool, typer.Option(
              '--planted-flaw', help='Measure what becomes of it when a reward head with a planted flaw guides.')] = False,
          parts: Annotated[bool, typer.Option('--parts', help='Take the guard apart at eight times the shipped scale.')] = False,
          fit: Annotated[bool, typer.Option('--fit', help='Fit the combined judge first and choose the scale, on scenes of their own (--fit-seed).')] = False,
          fit_seed: Annotated[int, typer.Option(min=0, help='First of the scenes that the combined judge is fitted on.')] = 2000,
          fit_episodes: Annotated[int, typer.Option(min=1, help='How many of them, per setting.')] = 60,
          write: Annotated[bool, typer.Option(help='Write the scale to use, and what was fitted, into the checkpoint.')] = True,
          scales: Annotated[Optional[list[float]], typer.Option('--scale', min=0, max=1000, help='Only this scale; may be repeated.')] = None,
          work: Annotated[Path, typer.Option(help='Folder where finished episodes are kept, so that an interrupted run goes on.')] = Path('runs/audit'),
          workers: Workers = 2, ray: Ray = None):
    """Measure what guidance promises against what really happens, over its scale, and name the scale to use."""
    from diffusion_planner import cli_audit as command
    command.check({'--maze': maze, '--objective': objective, '--planted-flaw': planted_flaw, '--parts': parts, '--fit': fit, '--crossing': crossing,
                   '--scale': scales, '--ray': ray})
    pages = command.Pages(json, plots)
    if maze:
        with _interruptible():
            return command.in_maze(maze, episodes, seed, model or Path('models'), work, workers, write, pages)
    options = command.options(_whole(model or Path(DEFAULT_MODEL)), episodes, seed, objective=_objective(objective), flaw=planted_flaw,
                              crossing=crossing, work=work, workers=workers, ray=ray, scales=tuple(scales or ()))
    if objective or planted_flaw or parts:
        return command.compared('constrained' if objective else 'flawed' if planted_flaw else 'parts', options, pages)
    command.swept(options, command.Fit(fit, fit_seed, fit_episodes), write, bool(scales), pages)


@app.command()
def sim(episodes: Episodes = 10, seed: Seed = 0, guidance_scale: Scale = None, model: Model = Path(DEFAULT_MODEL), json: Report = None,
        gui: Annotated[bool, typer.Option('--gui', help="Show PyBullet's window; needs a display.")] = False,
        video: Annotated[Path, typer.Option(help='Write a video of the first episodes to this file.')] = Path('runs/sim.mp4'),
        no_video: Annotated[bool, typer.Option('--no-video', help='Write none.')] = False,
        domain: Annotated[Optional[int], typer.Option(min=0, max=232, help='ROS_DOMAIN_ID to use instead of a free one.')] = None,
        realtime: Annotated[bool, typer.Option(help='Keep to the wall clock instead of waiting for each plan.')] = False,
        objective: Objective = None,
        guard: Annotated[bool, typer.Option(help='Bound and judge guidance; without, one head guides as it likes.')] = True,
        oddity: Annotated[Optional[str], typer.Option(metavar='NAME', help='Scenes unlike the play data; an unknown one lists them.')] = None,
        backend: Backend = 'torch', device: Device = 'auto', deadline_ms: Deadline = None):
    """Run the planner node against the simulator node, episode after episode."""
    from diffusion_planner.ros.session import SimOptions, run_sim
    raise typer.Exit(run_sim(SimOptions(episodes=episodes, seed=seed, guidance_scale=guidance_scale, gui=gui, model=_found(model),
                                        json=json, video=None if no_video else video, domain=domain, realtime=realtime,
                                        objective=objective, guard=guard, oddity=oddity, backend=backend, device=device,
                                        deadline_ms=deadline_ms)))


@app.command()
def soak(minutes: Annotated[float, typer.Option(min=0.1, max=10_000, help='How long.')] = 10.0,
         seed: Annotated[int, typer.Option(min=0, help='Seed of the faults, and of the first scene.')] = 0,
         model: Model = Path(DEFAULT_MODEL), json: Report = None, domain: Domain = None, backend: Backend = 'torch', device: Device = 'auto'):
    """Run planner and simulator with faults at random, and count what must not happen."""
    from diffusion_planner.ros.soak import SoakOptions, run_soak
    raise typer.Exit(run_soak(SoakOptions(_whole(model, backend, device), minutes, seed, json, domain, backend, device)))


@app.command()
def robot(urdf: Annotated[Path, typer.Argument(help='URDF file, its xacro expanded.')],
          tip: Annotated[str, typer.Option(help='Link at the fingertip.')],
          base: Annotated[Optional[str], typer.Option(help='Link that positions are measured from.', show_default="the URDF's root")] = None,
          name: Annotated[Optional[str], typer.Option(help='What to call the robot.', show_default="the URDF's name")] = None,
          acceleration: Annotated[Optional[float], typer.Option(help='At most this, every joint, in rad/s^2.', show_default="the URDF's, or 2")] = None,
          jerk: Annotated[Optional[float], typer.Option(help='At most this, every joint, in rad/s^3.', show_default="the URDF's, or 20")] = None,
          home: Annotated[Optional[str], typer.Option(help='Posture to begin from, in rad: 0,-0.3,0 and so on.', show_default='zero, or mid-range')] = None,
          period: Annotated[float, typer.Option(help='Period of the controller, in s.')] = 0.01,
          out: Annotated[Optional[Path], typer.Option(help='Write a new file instead of showing it.')] = None):
    """Make a robot file from a URDF, to be checked and completed by hand."""
    from diffusion_planner import urdf as description
    from diffusion_planner.config import ConfigError
    try:
        posture = None if home is None else [float(angle) for angle in home.split(',')]
    except ValueError:
        raise ConfigError(f'--home: got {home!r}, expected numbers with commas between them') from None
    if out is not None and out.exists():
        raise ConfigError(f'--out: got {out}, which is there already, expected a new file')
    made = description.robot_from_urdf(urdf.read_bytes(), tip, base, None, name, acceleration, jerk, posture, period, str(urdf))
    text = description.to_yaml(made, f'Made from {urdf.name}: {base or "its root"} to {tip}.')
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text)


bench = typer.Typer(help='Benchmarks against the field; need the benchmark extra.', no_args_is_help=True)
app.add_typer(bench, name='bench')

Maze = Annotated[Optional[list[str]], typer.Option('--maze', help='Only this maze (umaze, medium, large); may be repeated.')]
Seeds = Annotated[int, typer.Option(min=1, help='How many episodes, each from its own random start.')]
Models = Annotated[Path, typer.Option(help='Folder of the models pointmaze_<maze>.')]
Work = Annotated[Path, typer.Option(help='Folder where finished episodes are kept, so that an interrupted run goes on.')]


@bench.command('maze')
def bench_maze(maze: Maze = None, seeds: Seeds = 100, first_seed: Seed = 0, models: Models = Path('models'),
               method: Annotated[Optional[list[str]], typer.Option(help='Only this method; may be repeated.')] = None,
               goal: Annotated[Optional[list[str]], typer.Option(help='fixed or resampled; both if left out.')] = None,
               train: Annotated[bool, typer.Option('--train', help='Record play and train the models anew first, into --models.')] = False,
               data: Annotated[Path, typer.Option(help='Folder of play data, for --train.')] = Path('data'),
               json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/maze.json'),
               work: Work = Path('runs/maze'), workers: Workers = 2):
    """Compare planners in gymnasium-robotics' PointMaze, by every way of scoring."""
    from diffusion_planner.benchmarks.maze import methods, run, tables
    from diffusion_planner.benchmarks.maze.world import MAZES
    mazes = _known('--maze', maze, MAZES)
    options = run.Options(mazes, _known('--method', method, methods.NAMES), _known('--goal', goal, run.GOALS), seeds, first_seed, models,
                          work, workers)
    if train:
        run.check_untrained(mazes, models)
    with _interruptible():
        if train:
            from diffusion_planner.benchmarks.maze.training import train_mazes
            train_mazes(mazes, data, models, workers)
        report = run.bench(options)
    run.write(report, json)
    tables.show(report)


@bench.command('tune')
def bench_tune(maze: Maze = None, seeds: Seeds = 20, first_seed: Seed = 2000, models: Models = Path('models'),
               method: Annotated[Optional[list[str]], typer.Option(help='Only this peer; may be repeated.')] = None,
               goal: Annotated[Optional[list[str]], typer.Option(help='fixed or resampled; both if left out.')] = None,
               json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/maze_tuning.json'),
               work: Work = Path('runs/maze'), workers: Workers = 2):
    """Tune the peers of the mazes, on the seeds that this planner's settings were chosen on."""
    from diffusion_planner.benchmarks.maze import methods, run, tuning
    from diffusion_planner.benchmarks.maze.world import MAZES
    options = run.Options(_known('--maze', maze, MAZES), _known('--method', method, methods.PEERS), _known('--goal', goal, run.GOALS), seeds,
                          first_seed, models, work, workers)
    with _interruptible():
        report = tuning.tune(options)
    run.write(report, json)
    tuning.show(report)


@bench.command('guard')
def bench_guard(model: Model = Path(DEFAULT_MODEL), count: Count = 30, seed: Seed = 3000):
    """Time plans with guard and judges and without, in turn."""
    from diffusion_planner.benchmarks import guard
    guard.show(guard.measure(_whole(model), count, seed))


@bench.command('seams')
def bench_seams(replans: Annotated[int, typer.Option(min=1, help='How many chunks take over from one before.')] = 10, seed: Seed = 3000,
                model: Model = Path(DEFAULT_MODEL),
                json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/seams.json'),
                plot: Annotated[Path, typer.Option(help='Write the picture to this file.')] = Path('runs/seams.png'), backend: Backend = 'torch'):
    """Show what the controller commands where one chunk takes over from another, and what it would with positions alone."""
    from diffusion_planner.benchmarks import seams
    found = seams.measure(_whole(model, backend), replans, seed, backend=backend)
    seams.write(found, json)
    seams.show(found)
    seams.draw(json, plot)
    typer.echo(f'{json}, {plot}')


@bench.command('dropout')
def bench_dropout(model: Model = Path(DEFAULT_MODEL), episodes: Episodes = 100, seed: Seed = 1000, workers: Workers = 2,
                  json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/dropout.json'),
                  backend: Backend = 'torch'):
    """Measure success while a share of the camera's pictures never arrives."""
    from diffusion_planner.benchmarks import dropout
    dropout.show(dropout.measure(_whole(model, backend), episodes, seed, json, workers, backend=backend))


@bench.command('deadline')
def bench_deadline(model: Model = Path(DEFAULT_MODEL), episodes: Episodes = 100, seed: Seed = 1000,
                   deadlines: Annotated[Optional[list[float]], typer.Option('--deadline-ms', min=1, max=10_000, metavar='MS', show_default='10, 15, 30, 100',
                                                                            help='Only this deadline; may be repeated. None at all comes last.')] = None,
                   plans: Annotated[int, typer.Option(min=0, help='Time so many plans per deadline instead, without a simulation.')] = 0,
                   json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/deadline.json'),
                   plot: Annotated[Path, typer.Option(help='Write the picture to this file.')] = Path('runs/deadline.png'),
                   workers: Annotated[int, typer.Option(min=1, help='Processes to share the work; deadlines are of the wall clock, so that more '
                                                                    'than one makes plans worse.')] = 1,
                   backend: Backend = 'torch', device: Device = 'cpu',
                   threads: Annotated[int, typer.Option(min=1, max=64, help='CPU threads of the backend, in each process.')] = 1):
    """Measure success and time to target over the time that a plan has, and in which share of plans that time was kept."""
    from diffusion_planner.benchmarks import deadline, deadline_report
    options = deadline.Options(_whole(model, backend, device), tuple(deadlines or deadline.DEADLINES_MS), episodes, seed, workers, backend, device, threads)
    if plans:
        return deadline_report.show_timed(deadline.timed(options, plans, json))
    deadline_report.show(deadline.measure(options, json))
    deadline_report.draw(json, plot)
    typer.echo(f'{json}, {plot}')


@bench.command('camera')
def bench_camera(seconds: Annotated[float, typer.Option(min=1, max=3600, help='Length of each run.')] = 20.0,
                 width: Annotated[int, typer.Option(min=1, max=4096)] = 640, height: Annotated[int, typer.Option(min=1, max=4096)] = 480,
                 rate: Annotated[float, typer.Option(min=1, max=1000, help='Pictures per second.')] = 30.0,
                 readers: Annotated[int, typer.Option(min=1, max=16, help='Processes that listen.')] = 1,
                 every_qos: Annotated[bool, typer.Option('--every-qos', help="Not only the planner's quality of service.")] = False,
                 domain: Annotated[Optional[int], typer.Option(min=0, max=232, help='ROS_DOMAIN_ID to use instead of a free one.')] = None,
                 json: Report = None):
    """Count the pictures that are lost between two processes, with and without the Fast DDS profiles."""
    from diffusion_planner.benchmarks import camera
    from diffusion_planner.ros import domains
    with domains.lease(domain):
        report = camera.measure(camera.Options(seconds, width, height, rate, readers, every_qos), typer.echo)
    if json:
        camera.write(report, json)
    camera.show(report)


@bench.command('kills')
def bench_kills(kills: Annotated[int, typer.Option(min=1, max=1000, help='How many.')] = 20, seed: Seed = 0, model: Model = Path(DEFAULT_MODEL),
                json: Report = None, domain: Domain = None, backend: Backend = 'torch'):
    """Kill the planner while the arm moves, and see whether it comes to rest in time and within limits."""
    from diffusion_planner.benchmarks import kills as benchmark
    from diffusion_planner.ros import soak_rig as rig
    raise typer.Exit(rig.carry_out(rig.real_time(_whole(model, backend), seed, backend=backend), domain, lambda made: benchmark.run(made, kills, seed, json)))


@bench.command('turnaround')
def bench_turnaround(seconds: Annotated[float, typer.Option(min=1, max=36_000, help='How long.')] = 60.0, seed: Seed = 0,
                     model: Model = Path(DEFAULT_MODEL), json: Report = None, domain: Domain = None,
                     backend: Backend = 'torch', deadline_ms: Deadline = None,
                     stall: Annotated[bool, typer.Option(
                         '--stall', help='Measure instead what a planner that stalls for two seconds does to callbacks.')] = False):
    """Time the way from the newest picture to the published chunk, stage by stage, on the wall clock as on a real arm."""
    from diffusion_planner.benchmarks import turnaround
    from diffusion_planner.ros import domains
    from diffusion_planner.ros import soak_rig as rig
    if stall:
        with domains.lease(domain):
            raise typer.Exit(turnaround.run_stalls(seconds, json))
    lines = rig.on_the_wall_clock(_whole(model, backend), seed, backend=backend, deadline_ms=deadline_ms)
    raise typer.Exit(rig.carry_out(lines, domain, lambda made: turnaround.run(made, seconds, seed, json)))


@bench.command('ingest')
def bench_ingest(seconds: Annotated[float, typer.Option(min=2, max=3600, help='Length of the bag; the second one is ten times longer.')] = 20.0,
                 width: Annotated[int, typer.Option(min=16, max=4096)] = 640, height: Annotated[int, typer.Option(min=16, max=4096)] = 480,
                 rate: Annotated[float, typer.Option(min=1, max=100, help='Pictures per second.')] = 30.0,
                 storage: Annotated[str, typer.Option(help='mcap or sqlite3.')] = 'mcap',
                 longer: Annotated[bool, typer.Option(help='Ingest a bag ten times longer, too.')] = True,
                 scratch: Annotated[Optional[Path], typer.Option(help='Where the bags are for a while; gigabytes.', show_default='the system')] = None,
                 json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/ingest.json')):
    """Measure how fast bags of a camera become episodes, and the memory it takes."""
    from diffusion_planner.benchmarks import ingest
    _known('--storage', (storage,), ('mcap', 'sqlite3'))
    report = ingest.measure(ingest.Options(seconds, width, height, rate, storage, longer, scratch), typer.echo)
    ingest.write(report, json)
    ingest.show(report)


@bench.command('latency')
def bench_latency(model: Annotated[Optional[Path], typer.Argument(help='Model folder.', show_default=DEFAULT_MODEL)] = None,
                  plans: Annotated[int, typer.Option(min=1, help='How many plans each backend makes; 1000 for a p99 worth the name.')] = 100,
                  threads: Annotated[int, typer.Option(min=1, help='Of each backend.')] = 2,
                  backend: Annotated[Optional[list[str]], typer.Option('--backend', help='Only torch, eager or onnx; may be repeated.')] = None,
                  deadline_ms: Annotated[float, typer.Option(min=0.1, max=10_000, help='Deadline whose keeping is counted.')] = 10.0,
                  seed: Seed = 3000,
                  quick: Annotated[bool, typer.Option('--quick', help='A look in a minute: few plans, and the ends of every sweep.')] = False,
                  json: Annotated[Path, typer.Option('--json', help='Write the report to this file.')] = Path('runs/latency.json'),
                  plot: Annotated[Path, typer.Option(help='Write the picture to this file.')] = Path('runs/latency.png')):
    """Time plans stage by stage on every backend that is here, in turn: latency, memory, start-up, deadline, roofline."""
    from diffusion_planner.benchmarks import latency, latency_contenders, latency_plot, latency_report
    options = latency.Options(_whole(model or Path(DEFAULT_MODEL)), min(plans, 10) if quick else plans, threads, deadline_ms, seed,
                              _known('--backend', backend, latency_contenders.KINDS) if backend else (), quick)
    publish = None
    with suppress(ImportError):      # without ROS nothing is published
        from diffusion_planner.ros.wire import to_wire as publish
    with latency.bars() as bar:
        report = latency.measure(options, publish, bar)
    latency.write(report, json)
    latency_report.show(report)
    latency_plot.draw(json, plot)
    typer.echo(f'{json}, {plot}')


@bench.command('ablate')
def bench_ablate(maze: Annotated[str, typer.Option(help='umaze, medium or large.')] = 'large', seeds: Seeds = 25, first_seed: Seed = 0,
                 models: Models = Path('models'), json: Annotated[Path, typer.Option('--json')] = Path('runs/maze_ablation.json'),
                 plots: Annotated[Path, typer.Option(help='Write the page of plots to this file.')] = Path('runs/maze_ablation.png'),
                 markdown: Annotated[Optional[Path], typer.Option(help='Write the table to this file, too.')] = None,
                 work: Work = Path('runs/maze'), workers: Workers = 2):
    """Switch parts of the planner off and vary the others: one table, one page of plots."""
    from diffusion_planner.benchmarks.maze import ablation, plots as page, run
    options = run.Options(seeds=seeds, first_seed=first_seed, models=models, work=work, workers=workers)
    with _interruptible():
        report = ablation.ablate(options, maze)
    run.write(report, json)
    ablation.show(report)
    if markdown:
        ablation.markdown(report, markdown)
    page.draw(json, plots)


@bench.command('pictures')
def bench_pictures(maze: Annotated[str, typer.Option(help='umaze, medium or large.')] = 'large', seed: Seed = 0,
                   models: Models = Path('models'), out: Annotated[Path, typer.Option(help='Folder to write to.')] = Path('runs')):
    """Draw plans in the maze, and the denoising of one plan as a GIF."""
    from diffusion_planner.benchmarks.maze import pictures
    with _interruptible('draws them anew'):
        pictures.draw(maze, models, out, seed)


def main(arguments=None):
    """Run the command line and return the exit status: 2 and one line on stderr for what the user can mend."""
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ['--help']
    debug = '--debug' in arguments
    command = typer.main.get_command(app)
    try:
        return command.main(_with_address([argument for argument in arguments if argument != '--debug']), 'diffusion-planner', standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if debug or not _is_the_users(error):
            raise
        print(f'diffusion-planner: {_one_line(error)}', file=sys.stderr)
        return 2


@contextmanager
def _interruptible(again='goes on from there'):
    """Say in one line, on Ctrl-C, what the same command would do."""
    try:
        yield
    except KeyboardInterrupt:
        print(f'diffusion-planner: interrupted; the same command {again}', file=sys.stderr)
        raise typer.Exit(130) from None


def _with_address(arguments):
    """Give `--ray` its default where no address follows it: typer has no options whose value may be left out."""
    following = [*arguments[1:], '-']
    return [f'{argument}=local' if argument == '--ray' and after.startswith('-') else argument for argument, after in zip(arguments, following)]


def _is_the_users(error):
    """Tell bad input from a defect: typer's errors, file errors, and the ValueErrors this package raises on purpose."""
    ours = isinstance(error, ValueError) and type(error).__module__.startswith('diffusion_planner.')
    missing = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError))
    return ours or missing or hasattr(error, 'format_message')


def _one_line(error):
    """Say in one line what was given and what was expected."""
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}; expected a path that exists and that you may use'
    text = error.format_message() if hasattr(error, 'format_message') else str(error)
    if hasattr(error.__cause__, 'errors'):   # newer typer leaves out the value
        text = f'{text}, got {error.__cause__.errors()[0]["input"]!r}'
    return ' '.join(text.split())


def _found(model):
    """Return the model folder, the package's own where the user stands elsewhere and named none."""
    from diffusion_planner.files import find
    if str(model) == DEFAULT_MODEL and not model.exists():
        with suppress(FileNotFoundError):
            return find(DEFAULT_MODEL)
    return model


def _whole(model, backend='torch', device='auto'):
    """Find a model folder and check it and what shall run it, before processes are started that would each fail on it."""
    from diffusion_planner.evaluation.assembly import check_backend, load_planner
    from diffusion_planner.runtime.checkpoint import verify
    verify(_found(model))
    check_backend(backend, device)
    if backend == 'onnx' or device not in ('auto', 'cpu'):      # which only loading shows: graphs, libraries, a GPU
        from diffusion_planner.sim.scene import default_robot
        load_planner(_found(model), default_robot(), backend=backend, device=device)
    return _found(model)


def _objective(path, backend='torch', model=None):
    """Check an objective for the arm of the simulator before processes are started that would each fail on it: -> path"""
    if path is not None:
        from diffusion_planner.evaluation.assembly import load_objective
        from diffusion_planner.sim.scene import default_robot
        load_objective(path, default_robot(), backend, model)
    return path


def _known(option, given, choices):
    """Check names against the choices: -> tuple of names, all of them where none is given."""
    from diffusion_planner.config import ConfigError
    for name in given or ():
        if name not in choices:
            raise ConfigError(f'{option}: got {name!r}, expected one of {", ".join(choices)}')
    return tuple(given or choices)


if __name__ == '__main__':     # as accelerate and torchrun start it
    sys.exit(main())
