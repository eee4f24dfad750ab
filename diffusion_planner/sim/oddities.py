"""Scenes unlike the play data, to see whether the planner notices. Nothing here changes how ordinary scenes are drawn."""
from dataclasses import replace

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.sim import scene as scenes

ODDITIES = {
    'target_off_table': 'The red ball lies on the floor beside, before or behind the table, out of reach and not always in view.',
    'second_arm': 'A second Panda stands still at a side of the table, in view of the camera.',
    'lights_out': 'Pictures have 5 to 15 % of their brightness, and sensor noise.',
    'unseen_obstacle': 'A green cylinder, a yellow bottle or a violet mug stands on the table, 15 to 30 cm high.',
    'camera_moved': 'The camera stands 10 cm from its place, looking the same way.',
}
GREEN, YELLOW, VIOLET = (0.15, 0.65, 0.25, 1), (0.95, 0.80, 0.15, 1), (0.60, 0.30, 0.75, 1)
BALL_GAP_M = (0.06, 1.00)      # from the table's edge to the ball's centre
OUT_OF_REACH_M = 1.05          # from the shoulder: the Panda's 0.855 m to its flange, and the hand
ARM_X_M, ARM_Y_M = (0.15, 0.55), (0.42, 0.58)
CAMERA_SHIFT_M = 0.10
BRIGHTNESS, NOISE_LEVELS = (0.05, 0.15), 3.0   # share; standard deviation, in levels of 255


def check(name):
    """Raise ConfigError unless `name` is one of ODDITIES, or None."""
    if name is not None and name not in ODDITIES:
        raise ConfigError(f'oddity: got {name!r}, expected one of {", ".join(ODDITIES)}')


def apply(env, name, seed):
    """Change a freshly drawn ordinary scene; ArmEnv.reset undoes it. Equal names and seeds give equal changes."""
    if name is not None:
        _APPLY[name](env, np.random.default_rng((seed, 0x0DD)))


def _target_off_table(env, random):
    from diffusion_planner.sim.world import TABLE_CENTRE_M, TABLE_HALF_M, TARGET_RADIUS_M
    shoulder_m, centre_m, half_m = env.robot.chain[0].xyz_m, np.array(TABLE_CENTRE_M), np.array(TABLE_HALF_M)
    target_m = np.zeros(3)
    while np.linalg.norm(target_m - shoulder_m) < OUT_OF_REACH_M:
        axis, side = random.choice(2), random.choice((-1, 1))
        target_m = centre_m + random.uniform(-1, 1, 3) * half_m
        target_m[axis] = centre_m[axis] + side * (half_m[axis] + random.uniform(*BALL_GAP_M))
        target_m[2] = centre_m[2] - half_m[2] + TARGET_RADIUS_M   # the table stands on the floor
    env.scene = replace(env.scene, target_m=tuple(target_m.tolist()))
    env.world.set_target(env.scene.target_m)


def _second_arm(env, random):
    world, robot = env.world, env.robot
    other = world.add_arm()
    while True:
        side = random.choice((-1, 1))
        base_m = (random.uniform(*ARM_X_M), side * random.uniform(*ARM_Y_M), 0.0)
        position_rad = np.array(robot.home_rad) + random.normal(0, 0.4, 7)
        position_rad = np.clip(position_rad, robot.position_min_rad, robot.position_max_rad)
        yaw_rad = random.normal(-side * np.pi / 2, 0.4)
        world.place_arm(other, base_m, yaw_rad, position_rad)
        if (_sees(env.camera, base_m + _turned(robot.tip_m(position_rad), yaw_rad))
                and np.hypot(*np.subtract(base_m, env.scene.target_m)[:2]) > 0.20
                and world.is_apart(world.arm, (other,), 0.08)
                and world.is_apart(other, (world.table, *world.obstacles), 0.02)):
            return


def _turned(point_m, yaw_rad):
    x, y, z = point_m
    return np.array((x * np.cos(yaw_rad) - y * np.sin(yaw_rad), x * np.sin(yaw_rad) + y * np.cos(yaw_rad), z))


def _sees(camera, point_m):
    pixel = camera.project(point_m[None])[0]
    return np.all(pixel >= 0) and np.all(pixel < (camera.width_px, camera.height_px))


def _lights_out(env, random):
    brightness = random.uniform(*BRIGHTNESS)
    env.spoil = lambda pixels: np.clip(
        np.rint(brightness * pixels + random.normal(0, NOISE_LEVELS, pixels.shape)), 0, 255).astype(np.uint8)


def _unseen_obstacle(env, random):
    world, build = env.world, (_cylinder, _bottle, _mug)[random.choice(3)]
    while True:
        place_m = np.array(scenes.sample_target(random)[:2])
        if np.linalg.norm(place_m - env.scene.target_m[:2]) < 0.13:   # the hand has room around the target
            continue
        build(world, random, *place_m.tolist())
        if world.is_apart(world.arm, world.extras, 0.06):
            return
        world.clear_extras()


def _cylinder(world, random, x, y):
    height_m = random.uniform(0.15, 0.30)
    world.add_cylinder((x, y, height_m / 2), random.uniform(0.035, 0.055), height_m, GREEN)


def _bottle(world, random, x, y):
    height_m, radius_m = random.uniform(0.22, 0.30), random.uniform(0.032, 0.042)
    world.add_cylinder((x, y, 0.3 * height_m), radius_m, 0.6 * height_m, YELLOW)
    world.add_cylinder((x, y, 0.8 * height_m), 0.4 * radius_m, 0.4 * height_m, YELLOW)


def _mug(world, random, x, y):
    height_m, radius_m, side = random.uniform(0.15, 0.18), random.uniform(0.045, 0.055), random.choice((-1, 1))
    handle_y = y + side * (radius_m + 0.025)
    world.add_cylinder((x, y, height_m / 2), radius_m, height_m, VIOLET)
    world.add_box((x, handle_y, height_m / 2), (0.008, 0.006, 0.3 * height_m), VIOLET)
    for z in (0.25, 0.75):
        world.add_box((x, handle_y - side * 0.015, z * height_m), (0.008, 0.021, 0.006), VIOLET)


def _camera_moved(env, random):
    direction = random.normal(size=3)
    shift_m = CAMERA_SHIFT_M * direction / np.linalg.norm(direction)
    env.camera = replace(env.camera, eye_m=tuple((env.camera.eye_m + shift_m).tolist()),
                         look_at_m=tuple((env.camera.look_at_m + shift_m).tolist()))


_APPLY = {'target_off_table': _target_off_table, 'second_arm': _second_arm, 'lights_out': _lights_out,
          'unseen_obstacle': _unseen_obstacle, 'camera_moved': _camera_moved}
