"""Zones: what is inside, and how the environment counts and traces the fingertip."""
from types import SimpleNamespace

import numpy as np
import pytest

from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.zones import inside

BOX = SimpleNamespace(centre_m=(0.5, 0.0, 0.2), half_m=(0.1, 0.2, 0.3), radius_m=None)
SPHERE = SimpleNamespace(centre_m=(0.5, 0.0, 0.2), half_m=None, radius_m=0.1)


@pytest.fixture(scope='module')
def env():
    env = ArmEnv()
    yield env
    env.close()


@pytest.mark.parametrize('zone, offsets_m, expected', [
    (BOX, [(0, 0, 0), (0.09, 0.19, 0.29), (0.11, 0, 0), (0, -0.21, 0), (0, 0, 0.31)], [True, True, False, False, False]),
    # 0.06, 0.06, 0.05 is 9.8 cm from the centre; 0.06, 0.06, 0.06 is 10.4 cm
    (SPHERE, [(0, 0, 0), (0.06, 0.06, 0.05), (0.06, 0.06, 0.06), (0, -0.11, 0)], [True, True, False, False])])
def test_inside(zone, offsets_m, expected):
    points_m = np.add(zone.centre_m, offsets_m)
    assert inside(points_m, zone).tolist() == expected
    assert inside(points_m.reshape(1, -1, 3), zone).tolist() == [expected]
    assert [bool(inside(point_m, zone)) for point_m in points_m] == expected


def around(point_m, radius_m=0.05):
    return SimpleNamespace(centre_m=tuple(point_m), half_m=None, radius_m=radius_m)


def test_steps_inside_any_zone_are_counted(env):
    def steps(count):
        for _ in range(count):
            env.step()
        return env.episode()['zone_entries']
    env.reset(1)
    here_m = np.array(env.episode()['tip_m'])
    assert steps(5) == 0
    env.zones = (around(here_m), around(here_m, 0.2))   # a step inside two zones is one step
    assert steps(7) == 7
    env.zones = (around(here_m + [0, 0, 0.3]),)
    assert steps(5) == 7
    env.zones = ()
    env.reset(1)
    assert steps(1) == 0


def test_the_trace_follows_the_fingertip(env):
    env.trace, every = [], env.settings.joint_every
    env.reset(2)
    for _ in range(4 * every):
        env.step()
    stamps_s, tips_m, rewards, positions_rad, velocities_rad_s = zip(*env.trace)
    np.testing.assert_allclose(np.diff(stamps_s), every * env.period_s)
    assert stamps_s[-1] == env.now_s and rewards == (0.0,) * 4
    assert tips_m[-1].tolist() == env.episode()['tip_m']
    np.testing.assert_array_equal((positions_rad[-1], velocities_rad_s[-1]), env.world.joint_state())
    env.reset(2)
    assert env.trace == []
    env.trace = None
    env.step()
    assert env.trace is None
