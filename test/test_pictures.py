"""What messages.py does with decoded pictures: fitting them to the model's size, and telling the blank ones."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from diffusion_planner.messages import fit, is_blank
from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.oddities import ODDITIES

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def test_fit_cuts_out_the_middle():
    wide = np.repeat(np.arange(12, dtype=np.uint8)[None, :, None], 4, 0).repeat(3, 2)
    np.testing.assert_array_equal(fit(wide, (4, 4, 3)), wide[:, 4:8])
    tall = wide.transpose(1, 0, 2)
    np.testing.assert_array_equal(fit(tall, (4, 4, 3)), tall[4:8])
    np.testing.assert_array_equal(fit(tall, (2, 4, 3)), tall[5:7])
    assert fit(wide, wide.shape) is wide


def test_fit_resamples_by_area():
    means = RGB.reshape(2, 2, 3, 2, 3).mean((1, 3))   # of two by two pixels
    np.testing.assert_allclose(fit(RGB, (2, 3, 3)).astype(float), means, atol=0.51)


@settings(deadline=None)
@given(*[some.integers(1, 40)] * 4)
def test_fit_gives_the_shape(height, width, wanted_height, wanted_width):
    pixels = np.full((height, width, 3), (10, 100, 200), np.uint8)
    fitted = fit(pixels, (wanted_height, wanted_width, 3))
    np.testing.assert_array_equal(fitted, np.full((wanted_height, wanted_width, 3), (10, 100, 200)))


def noise(mean, deviation, shape=(480, 640, 3)):
    return np.clip(np.rint(np.random.default_rng(2).normal(mean, deviation, shape)), 0, 255).astype(np.uint8)


def checks(*levels):
    return np.tile(np.array(levels, np.uint8)[:, None], (480, 320, 3)).reshape(480, 640, 3)


@pytest.mark.parametrize('pixels, said', [
    (noise(0, 2), 'black'), (noise(3, 1), 'black'), (noise(254, 2), 'saturated'), (noise(250, 1), 'saturated'),
    (noise(120, 0), 'uniform'), (noise(120, 1.2), 'uniform'), (noise((255, 0, 0), 0), 'uniform'), (noise((9, 200, 40), 1), 'uniform'),
    (noise(120, 2), None), (noise(7, 3), None), (noise(128, (0, 0, 9)), None), (RGB[:1, :1], 'uniform'), (RGB, None),
    (checks(3, 7), 'black'), (checks(8, 8), 'uniform'), (checks(247, 247), 'uniform'), (checks(248, 252), 'saturated'),
])
def test_blank_pictures_are_named(pixels, said):
    assert is_blank(pixels) == said


@pytest.mark.parametrize('level, said', [(0, 'black'), (255, 'saturated')])
def test_a_thing_on_a_blank_picture_counts(level, said):
    pixels = np.full((480, 640, 3), level, np.uint8)
    pixels[100:130, 200:240] = 128   # 0.4 % of it: a lamp, a logo
    assert is_blank(pixels) == said
    pixels[100:200, 200:300] = 128   # 3.3 %
    assert is_blank(pixels) is None


@pytest.fixture(scope='module')
def env():
    env = ArmEnv()
    yield env
    env.close()


@pytest.mark.parametrize('oddity', [None, *ODDITIES])
def test_rendered_pictures_are_not_blank(env, oddity):
    for seed in range(8):
        env.reset(seed, oddity)
        pixels = env.render().pixels
        assert is_blank(pixels) is None
        assert is_blank(fit(pixels, (64, 64, 3))) is None


def test_the_darkest_lights_out_is_not_blank(env):
    env.reset(0)
    dark = 0.05 * env.render().pixels   # the least that ODDITIES draws
    assert is_blank(np.clip(np.rint(dark + noise(128, 3, dark.shape) - 128.0), 0, 255).astype(np.uint8)) is None
