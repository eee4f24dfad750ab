"""Play: clear motion between random postures, recorded with pictures and rewards. Nobody says what it was for."""
import numpy as np

from diffusion_planner.records import Episode
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.motion import Limits, NoPath
from diffusion_planner.sim.task import reward

PERIOD_S = 1 / 240
JOINT_EVERY, FRAME_EVERY = 12, 48          # physics steps: joint samples at 20 Hz, pictures at 5 Hz
MOTIONS = 2                                # per episode
TOUCH_SHARE, NEAR_SHARE, TABLE_SHARE = 0.12, 0.08, 0.30
PLAY_VELOCITY, PLAY_ACCELERATION, PLAY_JERK_RAD_S3 = 0.55, 0.25, 40.0    # shares of the robot's limits; jerk


class Contact(RuntimeError):
    """The arm touched something; the episode is thrown away."""


def play_episode(world, robot, finder, camera, seed):
    """Record one episode of play. Raises Contact or NoPath where the draw cannot be played.

    play_episode(world, robot, finder: PathFinder, camera, seed) -> Episode
    """
    random = np.random.default_rng((seed, 0xDE40))
    scene = scenes.draw_scene(world, robot, seed)
    position_rad, velocity_rad_s = _reference(world, robot, finder, scene, random)
    world.set_target(scene.target_m)
    world.set_joints(scene.start_rad)
    rows, frames = [], []
    for step, (target, rate) in enumerate(zip(position_rad, velocity_rad_s)):
        if step % JOINT_EVERY == 0:
            if world.touching():
                raise Contact(f'episode {seed}: the arm touched something at {step * PERIOD_S:.2f} s')
            rows.append((step * PERIOD_S, *world.joint_state(), target, world.tip_m()))
        if step % FRAME_EVERY == 0:
            frames.append((step * PERIOD_S, world.render(camera)))
        world.drive(target, rate)
        world.step()
    return _episode(seed, scene, rows, frames)


def _reference(world, robot, finder, scene, random):
    """Draw postures and join clear motions between them, with a pause at each: -> position, velocity [N, J]."""
    limits = play_limits(robot, random.uniform(0.7, 1.0))
    here, position_rad, velocity_rad_s = np.array(scene.start_rad), [], []

    def pause(seconds):
        count = int(seconds / PERIOD_S)
        position_rad.append(np.repeat(here[None], count, 0))
        velocity_rad_s.append(np.zeros((count, len(here))))

    pause(random.uniform(0.0, 0.4))
    for _ in range(MOTIONS):
        there = _posture(world, robot, scene, random)
        motion = finder.move(here, there, limits)
        positions, rates = motion.samples(PERIOD_S)
        position_rad.append(positions)
        velocity_rad_s.append(rates)
        here = there
        pause(random.choice((0.05, random.uniform(0.2, 0.9))))
    return np.concatenate(position_rad), np.concatenate(velocity_rad_s)


def play_limits(robot, speed=1.0):
    """What play may use of the robot's limits at a speed in (0, 1]."""
    return Limits(speed * PLAY_VELOCITY * np.array(robot.velocity_max_rad_s),
                  speed * PLAY_ACCELERATION * np.array(robot.acceleration_max_rad_s2), PLAY_JERK_RAD_S3)


def _posture(world, robot, scene, random):
    for _ in range(50):
        posture = scenes.sample_posture(world, robot, random, _tip(scene, random), attempts=4)
        if posture is not None:
            return posture
    raise NoPath(f'no clear posture in scene {scene.seed}')


def _tip(scene, random):
    """Draw where the fingertip goes next: on the target, near it, low over the table, or anywhere."""
    kind, target_m = random.random(), np.array(scene.target_m)
    if kind < TOUCH_SHARE:
        tip_m = target_m + random.normal(0, 0.010, 3)
    elif kind < TOUCH_SHARE + NEAR_SHARE:
        tip_m = target_m + random.normal(0, (0.05, 0.05, 0.03))
    else:
        tip_m = scenes.sample_tip(random)
        if kind < TOUCH_SHARE + NEAR_SHARE + TABLE_SHARE and abs(tip_m[1]) >= scenes.SIDE_M[0]:
            tip_m[2] = random.uniform(0.025, 0.08)
    return np.array((tip_m[0], tip_m[1], max(tip_m[2], 0.022)))


def _episode(seed, scene, rows, frames):
    stamp_s, position_rad, velocity_rad_s, command_rad, tip_m = (np.array(column, np.float32) for column in zip(*rows))
    terminal = np.zeros(len(stamp_s), bool)
    terminal[-1] = True
    return Episode(seed, stamp_s, position_rad, velocity_rad_s, command_rad, reward(tip_m, scene.target_m), terminal,
                   np.array([stamp for stamp, _ in frames], np.float32), np.stack([pixels for _, pixels in frames])[:, None],
                   {'target_m': np.array(scene.target_m, np.float32)})
