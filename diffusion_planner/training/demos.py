"""Make play data with the simulator: shards of episodes, several processes, resumable."""
import multiprocessing
from pathlib import Path

from diffusion_planner.data import store

SHARD = 100      # episodes per shard; the unit that is written whole or not at all


def make_demos(out, episodes, seed, workers):
    """Record episodes of play into a folder; shards that are there already are kept.

    Raises StoreError where the folder holds data of another seed.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    _check_seed(out, seed)
    count = -(-episodes // SHARD)
    missing = [index for index in range(count) if not store.shard_path(out, index).exists()]
    columns = TextColumn('episodes'), BarColumn(), MofNCompleteColumn(), TextColumn('thrown away {task.fields[lost]}'), TimeRemainingColumn()
    with Progress(*columns) as progress, multiprocessing.get_context('spawn').Pool(workers, maxtasksperchild=1) as pool:
        bar = progress.add_task('episodes', total=count * SHARD, completed=(count - len(missing)) * SHARD, lost=0)
        lost = 0
        for thrown in pool.imap_unordered(_record_shard, [(out, index, seed) for index in missing]):
            lost += thrown
            progress.update(bar, advance=SHARD, lost=lost)
    return out


def _check_seed(out, seed):
    marker = out / 'seed.txt'
    if marker.exists() and marker.read_text().strip() != str(seed):
        raise store.StoreError(f'{out}: holds episodes of seed {marker.read_text().strip()}, expected seed {seed}; '
                               'choose another folder or the same seed')
    marker.write_text(f'{seed}\n')


def _record_shard(arguments):
    """Record one shard in a process of its own, because ompl takes a seed once per process: -> episodes thrown away."""
    out, index, seed = arguments
    from diffusion_planner.sim.camera import Camera
    from diffusion_planner.sim.motion import NoPath, PathFinder
    from diffusion_planner.sim.rollout import Contact, play_episode
    from diffusion_planner.sim.scene import default_robot
    from diffusion_planner.sim.world import World
    world, robot, camera = World(), default_robot(), Camera()
    finder, episodes, thrown = PathFinder(world, robot, seed + index), [], 0
    while len(episodes) < SHARD:
        # Play scenes have seeds of a million and more, scenes that are evaluated stay below: no scene is in both.
        scene_seed = 1_000_000 * (seed + 1) + index * 10 * SHARD + len(episodes) + thrown
        try:
            episodes.append(play_episode(world, robot, finder, camera, scene_seed))
        except (NoPath, Contact):
            thrown += 1
    store.write_shard(store.shard_path(out, index), episodes, {
        'joint_names': list(robot.joint_names), 'cameras': [camera.name], 'robot': robot.name,
        'picture_shape': (camera.height_px, camera.width_px, 3)})
    world.close()
    return thrown
