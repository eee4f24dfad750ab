"""Make play data with the simulator: shards of episodes, several processes or machines, resumable."""
import os
import tempfile
from pathlib import Path

from diffusion_planner.data import store
from diffusion_planner.sim import fanout

SHARD = 100      # episodes per shard; the unit that is written whole or not at all


def make_demos(out, episodes, seed, workers, ray=None, shard=SHARD):
    """Record episodes of play into a folder; shards that are there already are kept.

    ray: see sim.fanout; shards come back from its machines and are written here. Raises StoreError where the folder holds data of
    another seed, FanOutError.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _check_seed(out, seed)
    count = -(-episodes // shard)
    missing = [index for index in range(count) if not store.shard_path(out, index).exists()]
    columns = TextColumn('episodes'), BarColumn(), MofNCompleteColumn(), TextColumn('thrown away {task.fields[lost]}'), TimeRemainingColumn()
    with Progress(*columns) as progress:
        bar = progress.add_task('episodes', total=count * shard, completed=(count - len(missing)) * shard, lost=0)
        lost = 0
        work = [(index, seed, shard) for index in missing]
        for (index, *_), (content, thrown) in fanout.run(_record_shard, work, workers, ray, fresh=True):     # ompl takes a seed once per process
            _keep(store.shard_path(out, index), content)
            lost += thrown
            progress.update(bar, advance=shard, lost=lost)
    return out


def _keep(path, content):
    part = path.with_suffix('.part')
    part.write_bytes(content)
    os.replace(part, path)


def _check_seed(out, seed):
    marker = out / 'seed.txt'
    if marker.exists() and marker.read_text().strip() != str(seed):
        raise store.StoreError(f'{out}: holds episodes of seed {marker.read_text().strip()}, expected seed {seed}; '
                               'choose another folder or the same seed')
    marker.write_text(f'{seed}\n')


def _record_shard(work):
    """Record one shard in a process of its own: (index, seed, episodes) -> content of its file, episodes thrown away"""
    index, seed, size = work
    from diffusion_planner.sim.camera import Camera
    from diffusion_planner.sim.motion import NoPath, PathFinder
    from diffusion_planner.sim.rollout import Contact, play_episode
    from diffusion_planner.sim.scene import default_robot
    from diffusion_planner.sim.world import World
    world, robot, camera = World(), default_robot(), Camera()
    finder, episodes, thrown = PathFinder(world, robot, seed + index), [], 0
    while len(episodes) < size:
        # Play scenes have seeds of a million and more, scenes that are evaluated stay below: no scene is in both.
        scene_seed = 1_000_000 * (seed + 1) + index * 10 * size + len(episodes) + thrown
        try:
            episodes.append(play_episode(world, robot, finder, camera, scene_seed))
        except (NoPath, Contact):
            thrown += 1
    world.close()
    with tempfile.TemporaryDirectory() as folder:      # this machine may be another than the one that the data is for
        path = store.shard_path(folder, index)
        store.write_shard(path, episodes, {'joint_names': list(robot.joint_names), 'cameras': [camera.name], 'robot': robot.name,
                                           'picture_shape': (camera.height_px, camera.width_px, 3)})
        return path.read_bytes(), thrown
