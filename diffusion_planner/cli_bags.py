"""Command line of bags: record, ingest, evaluate, replay. Registered by cli.py; imports are inside the functions, as there."""
from pathlib import Path
from typing import Annotated, Optional

import typer

bags = typer.Typer()

Bags = Annotated[list[Path], typer.Argument(help='Bags: rosbag2 folders, or single .mcap or .db3 files.')]
Mapping = Annotated[Path, typer.Option('--map', help='Which topic is what, YAML.')]


@bags.command()
def play(episodes: Annotated[int, typer.Option(min=0, help='How many episodes; 0: until Ctrl-C.')] = 100,
         seed: Annotated[int, typer.Option(min=0, help='Seed of the first scene; those below a million are for evaluation.')] = 1_000_000,
         speed: Annotated[float, typer.Option(min=0.01, max=1000, help='Simulated seconds per second, as far as the machine keeps up.')] = 1.0,
         record: Annotated[Optional[Path], typer.Option(help='Record it into this bag, a new folder.')] = None,
         domain: Annotated[Optional[int], typer.Option(min=0, max=232, help='ROS_DOMAIN_ID; the environment says which one where it is left out.')] = None):
    """Let the simulated arm play, on real topics, for a recorder to record."""
    from diffusion_planner.ros.play_session import PlayOptions, run_play
    raise typer.Exit(run_play(PlayOptions(episodes, seed, speed, record, domain=domain)))


@bags.command()
def record(topics: Annotated[Optional[list[str]], typer.Argument(help='Topics; those that --map names where none is given.', show_default=False)] = None,
           out: Annotated[Optional[Path], typer.Option('--out', '-o', help='Folder of the bag, a new one.', show_default='bag_DATE_TIME')] = None,
           mapping: Mapping = Path('config/mapping.yaml'),
           every: Annotated[bool, typer.Option('--all', help='Every topic there is.')] = False,
           duration: Annotated[Optional[float], typer.Option(min=0.1, help='Stop by itself after so many seconds.')] = None,
           compressed: Annotated[bool, typer.Option('--compressed/--plain', help='Compress chunks with Zstandard.')] = True,
           domain: Annotated[Optional[int], typer.Option(min=0, max=232, help='ROS_DOMAIN_ID; the environment says which one where it is left out.')] = None):
    """Record topics into a bag (mcap), for machines without "ros2 bag record"."""
    import time

    from diffusion_planner.ros import record as recording
    chosen = () if every else tuple(topics or recording.topics_of(mapping))
    raise typer.Exit(recording.record(out or Path(time.strftime('bag_%Y_%m_%d-%H_%M_%S')), chosen, duration, domain, compressed))


@bags.command()
def replay(bag: Annotated[Path, typer.Argument(help='Bag: a rosbag2 folder, or a single .mcap or .db3 file.')],
           model: Annotated[Path, typer.Option(help='Model folder.')] = Path('models/panda_reach'), mapping: Mapping = Path('config/mapping.yaml'),
           robot: Annotated[Optional[str], typer.Option(help='Robot file.', show_default='that of --map')] = None,
           rate: Annotated[float, typer.Option(help='Seconds of the bag per second.')] = 1.0,
           start: Annotated[float, typer.Option(min=0, help='Begin so many seconds after the beginning of the bag.')] = 0.0,
           duration: Annotated[float, typer.Option(min=0, help='Play so many seconds; 0: to the end.')] = 0.0,
           player: Annotated[str, typer.Option(help='What plays: own, rosbag2 (ros2 bag play), or auto for the one that can.')] = 'auto',
           guidance_scale: Annotated[Optional[float], typer.Option(min=0, max=100, show_default="the model's own", help='Guidance scale.')] = None,
           json: Annotated[Optional[Path], typer.Option('--json', help='Write the results to this file.')] = None,
           backend: Annotated[str, typer.Option(help='What runs the networks: torch or onnx.')] = 'torch',
           device: Annotated[str, typer.Option(help='Where they run: auto, cpu or cuda.')] = 'cpu',
           compare: Annotated[bool, typer.Option(help='Make every plan again offline, and compare.')] = True,
           domain: Annotated[Optional[int], typer.Option(min=0, max=232, help='ROS_DOMAIN_ID to use instead of a free one.')] = None):
    """Play a bag to the planner node in shadow mode, and hold its plans against those made offline from the same bag."""
    from diffusion_planner.ros.replay import ReplayOptions, run_replay
    from diffusion_planner.ros.wishes import locate
    raise typer.Exit(run_replay(ReplayOptions(bag, locate(model), locate(mapping), robot, rate, player, start, duration, guidance_scale, json, domain,
                                              backend, device, compare)))
