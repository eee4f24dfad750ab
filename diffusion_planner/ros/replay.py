"""Replay: the planner node in shadow mode and a player as processes of their own, and the node's plans held against offline ones."""
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from diffusion_planner.config import ConfigError
from diffusion_planner.evaluation.assembly import check_backend
from diffusion_planner.evaluation.report import number
from diffusion_planner.files import find
from diffusion_planner.ros import domains, launching, replay_options
from diffusion_planner.ros.children import ChildDied, running
from diffusion_planner.ros.listener import last_refusal
from diffusion_planner.ros.options import yaml_text
from diffusion_planner.ros.parameters import PLANNER
from diffusion_planner.ros.session import Interrupted, Interrupts

PROFILE = 'config/fastdds_localhost.xml'


@dataclass(frozen=True)
class ReplayOptions:
    """What `diffusion-planner replay` was asked for; None: no file, or the default."""

    bag: Path
    model: Path
    mapping: Path
    robot: str | None = None
    rate: float = 1.0
    player: str = 'auto'
    start_s: float = 0.0
    duration_s: float = 0.0
    guidance_scale: float | None = None
    json: Path | None = None
    domain: int | None = None
    backend: str = 'torch'
    device: str = 'cpu'
    compare: bool = True


def run_replay(options):
    """Replay a bag and print what came of it: -> exit status

    0 when it was played to its end, 1 when a node failed, 128 + number after a signal. Raises BagError, ConfigError, ModelError and ReplayError.
    """
    from rich.console import Console
    player, planner = settings(options)
    console = Console()
    with Interrupts() as interrupts, domains.lease(options.domain) as domain, replay_options.scratch() as folder:
        player['report'] = str(folder / 'live.json')
        told = f'{options.bag}, {options.model}, {options.backend}, rate {options.rate:g}, ROS domain {domain}'
        try:
            with console.status(f'replaying {told}'):
                status = _play(commands(player, planner), folder, interrupts)
        except Interrupted as interrupted:
            print(f'diffusion-planner: interrupted by {interrupted} while replaying', file=sys.stderr)
            return 128 + interrupts.number
        except ChildDied as died:
            return _told(died.log, str(died))
        if status:
            return _told((folder / 'player.log').read_text(errors='replace').splitlines()[-3:], f'player node ended with exit status {status}')
        live = replay_options.read_json(player['report'])
    return _conclude(options, player, planner, live, console)


def settings(options):
    """Refuse what cannot work before anything is started: -> parameters of the player, parameters of the planner"""
    check_backend(options.backend, options.device)
    if options.json is not None and Path(options.json).is_dir():
        raise ConfigError(f'--json {options.json}: is a folder; expected the name of a file')
    player, planner = replay_options.chosen({'bag': str(options.bag), 'map': str(options.mapping), 'model': str(options.model), 'rate': float(options.rate),
                                             'start_s': options.start_s, 'duration_s': options.duration_s, 'player': options.player}, options.robot)
    scale = {} if options.guidance_scale is None else {'guidance_scale': float(options.guidance_scale)}
    return player, planner | scale | {'backend': options.backend, 'device': options.device}


def commands(player, planner):
    """Write the command lines of both nodes: -> {name: command}"""
    def node(module, values):
        given = [part for name, value in values.items() for part in ('-p', f'{name}:={yaml_text(value)}')]
        return [sys.executable, '-m', f'diffusion_planner.ros.{module}', '--ros-args', *given]
    return {'planner': node('planner_node', planner), 'player': node('player_node', player)}


def _play(lines, folder, interrupts):
    """Run both nodes until the player ends: -> its exit status. Raises ChildDied where the planner ends first, and Interrupted."""
    kept = dict(os.environ)
    os.environ.update(launching.profile(PROFILE, find('config').parent))
    try:
        with running(lines, folder, interrupts.in_a_hurry) as (planner, player):
            while player.process.poll() is None:
                interrupts.check()
                planner.check()
                time.sleep(0.05)
            return player.process.returncode
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _told(log, text):
    for line in log:
        print(f'  | {line}', file=sys.stderr)
    print(f'diffusion-planner: {text}', file=sys.stderr)
    return 1


def _conclude(options, player, planner, live, console):
    """Hold the live plans against offline ones, write and print: -> exit status"""
    report = {'played': live['played'], 'diagnostics': live['diagnostics'], 'said': live['said'], 'finished': len(live['plans']), 'chunks': len(live['chunks'])}
    if options.compare and live['plans']:
        from diffusion_planner.ros import replay_compare
        every = {entry.name: entry.default for entry in PLANNER} | planner
        recording, _ = replay_options.open_checked({'start_s': 0.0, 'duration_s': 0.0, **player})
        with recording:
            report['comparison'] = replay_compare.compare(recording, every, live, console)
    if options.json is not None:
        replay_options.write_json(options.json, report | {'planner': planner, 'plans': live['plans']})
    for line in summary(report):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


def summary(report):
    """Say in a few lines what came of it: -> list of str"""
    played, facts = report['played'], report['diagnostics']
    lines = [f'{"played":<16} {played["end_s"] - played["begin_s"]:.1f} s in {played["wall_s"]:.1f} s, by {played["player"]}',
             f'{"plans":<16} {facts.get("plans", "?")}, {report["finished"]} of them finished, {report["chunks"]} chunks in shadow',
             f'{"deadline misses":<16} {facts.get("deadline_misses", "?")}', f'{"refused":<16} {facts.get("rejected", "?")}']
    lines += [f'{name:<16} {rest}' for name, _, rest in (text.partition(': ') for text in last_refusal(report['said']))]
    return lines + (compared_lines(report['comparison']) if 'comparison' in report else [])


def compared_lines(found):
    """Say how live plans and offline ones differ: -> list of str"""
    def rad(value):
        return number(value, '{:.2g} rad')
    count = found['plans']
    return [f'{"same inputs":<16} {found["same_inputs"]} of {count} plans, of which {found["same_inputs_agree"]} agree; '
            f'largest difference {rad(found["same_inputs_largest_rad"])}',
            f'{"agree offline":<16} {found["agree"]} of {count} within {found["tolerance_rad"]:g} rad; '
            f'largest {rad(found["largest_rad"])}, rms {rad(found["rms_rad"])}',
            f'{"made again":<16} {found["remade_agree"]} of {count} from what the node says it saw; largest {rad(found["remade_largest_rad"])}',
            f'{"chunks agree":<16} {found["chunks_agree"]} of {found["chunks"]}',
            *(f'{"  at":<16} {other["now_s"]:.2f} s: {rad(other["largest_rad"])}: {"; ".join(other["why"])}' for other in found['others'][:5])]
