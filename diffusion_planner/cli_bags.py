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
    from diffusion_planner.ros.wishes import locate
    chosen = () if every else tuple(topics or recording.topics_of(locate(mapping)))
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


@bags.command()
def ingest(bag: Bags, out: Annotated[Path, typer.Option(help='Folder for the episodes, a new one.')], mapping: Mapping = Path('config/mapping.yaml')):
    """Make episodes of bags, for training: one folder of data, with a report of what was found."""
    from diffusion_planner.data import ingest_show
    from diffusion_planner.ros.wishes import locate
    ingest_show.run(bag, locate(mapping), out)


@bags.command('to-lerobot')
def to_lerobot(data: Annotated[Path, typer.Argument(help='Folder of recorded episodes.')],
               out: Annotated[Path, typer.Option('--out', '-o', help='Folder of the dataset, a new one.')],
               video: Annotated[bool, typer.Option('--video/--images', help='Videos are small, images lossless.')] = True,
               fps: Annotated[Optional[int], typer.Option(min=1, max=1000, help='Frames per second.', show_default='rate of the joints')] = None,
               task: Annotated[str, typer.Option(help='What the episodes are about, in words.')] = 'play'):
    """Write recorded episodes as a LeRobot dataset (v3)."""
    from diffusion_planner.data.lerobot_export import export
    episodes, frames = export(data, out, video, fps, task)
    typer.echo(f'{out}: {episodes} episodes, {frames} frames')


@bags.command('from-lerobot')
def from_lerobot(folder: Annotated[Path, typer.Argument(help='Folder of a LeRobot dataset (v3).')],
                 out: Annotated[Path, typer.Option('--out', '-o', help='Folder for the episodes, a new one.')],
                 robot: Annotated[str, typer.Option(help='Robot file.')] = 'config/panda.yaml',
                 mapping: Annotated[Optional[Path], typer.Option('--map', help='Which feature is what, YAML.', show_default='by their usual names')] = None,
                 joints: Annotated[Optional[str], typer.Option(metavar='A,B,...', help="Names of the robot's joints in the dataset, in the robot's order.",
                                                               show_default="the robot's")] = None,
                 camera: Annotated[Optional[list[str]], typer.Option(metavar='NAME=FEATURE', help='Only this camera; may be repeated.')] = None,
                 units: Annotated[Optional[str], typer.Option(help='Of positions, velocities and actions: rad or deg.', show_default='rad')] = None,
                 joint_hz: Annotated[Optional[float], typer.Option(help='Grid of the joints.', show_default='20')] = None,
                 camera_hz: Annotated[Optional[float], typer.Option(help='Grid of the pictures.', show_default='5')] = None):
    """Read a LeRobot dataset (v3) as recorded episodes."""
    from diffusion_planner import config, files
    from diffusion_planner.data import lerobot_import, lerobot_mapping
    from diffusion_planner.robot import Robot
    arm = config.load(Robot, robot if Path(robot).exists() else files.find(robot))
    loaded = lerobot_import.load(folder, out, arm, lerobot_mapping.chosen(mapping, arm, joints, camera, units=units, joint_hz=joint_hz, camera_hz=camera_hz))
    for line in loaded.lines(arm.joint_names):
        typer.echo(line)


@bags.command()
def evaluate(bag: Annotated[Path, typer.Argument(help='Bag: a rosbag2 folder, or a single .mcap or .db3 file.')],
             out: Annotated[Path, typer.Option(help='Folder for the report; one that is there is replaced.')],
             model: Annotated[Path, typer.Option(help='Model folder.')] = Path('models/panda_reach'), mapping: Mapping = Path('config/mapping.yaml'),
             every: Annotated[float, typer.Option(min=0.05, help='Time of the bag from one plan to the next, in s.')] = 0.5,
             limit: Annotated[Optional[int], typer.Option(min=1, help='Make only so many plans.', show_default='all')] = None,
             objective: Annotated[Optional[Path], typer.Option(help='Objective with constraints, YAML; see config/objectives.')] = None,
             backend: Annotated[str, typer.Option(help='What runs the networks: torch or onnx.')] = 'torch',
             seed: Annotated[int, typer.Option(min=0, help='Seed of the first plan; each one adds one.')] = 0):
    """Say what a model would have planned along a bag, and hold it against what really happened: JSON, a page, a recording."""
    from diffusion_planner.evaluation import bag_evaluate
    from diffusion_planner.evaluation.bag_walk import WalkSettings
    from diffusion_planner.ros.inputs import Inputs      # what decodes and refuses messages in the node does so here; it needs no rclpy
    from diffusion_planner.ros.wishes import locate
    bag_evaluate.run(bag, locate(model), out, locate(mapping), WalkSettings(every, limit, seed), objective, backend, Inputs)
