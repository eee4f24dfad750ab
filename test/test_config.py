"""Strict configuration: whatever is wrong, the message names the file, the key, the value and what was expected."""
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.robot import Robot

PANDA = Path(__file__).resolve().parent.parent / 'config' / 'panda.yaml'


@dataclass(frozen=True)
class Lens:
    focal_m: float
    coated: bool = False


@dataclass(frozen=True)
class Camera:
    name: str
    rate_hz: float
    lens: Lens
    size_px: tuple[int, int] = (96, 96)
    rows: tuple[int, ...] = ()
    gain: float | None = None
    notes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if self.rate_hz <= 0:
            raise ValueError(f'rate_hz: got {self.rate_hz}, expected a positive rate')


GOOD = 'name: front\nrate_hz: 5\nlens: {focal_m: 0.01}\n'


def read(tmp_path, text):
    path = tmp_path / 'camera.yaml'
    path.write_text(text)
    return config.load(Camera, path)


def test_reads_what_is_there_and_defaults_the_rest(tmp_path):
    camera = read(tmp_path, GOOD + 'size_px: [64, 48]\nrows: [1, 2, 3]\nnotes: {a: 1}\n')
    assert camera == Camera('front', 5.0, Lens(0.01), (64, 48), (1, 2, 3), None, {'a': 1.0})
    assert isinstance(camera.rate_hz, float)


def test_is_its_own_inverse(tmp_path):
    camera = read(tmp_path, GOOD)
    assert config.from_mapping(Camera, config.to_mapping(camera)) == camera


@pytest.mark.parametrize('text, expected', [
    (GOOD + 'rate: 5\n', "unknown key 'rate'; expected one of gain, lens, name"),
    (GOOD + '3: 5\n', "unknown key '3'"),
    ('name: front\nlens: {focal_m: 0.01}\n', "key 'rate_hz' is missing"),
    (GOOD.replace('5', 'fast'), "rate_hz: got 'fast' (str), expected float"),
    (GOOD.replace('5', 'true'), 'rate_hz: got True (bool), expected float'),
    (GOOD.replace('front', '7'), 'name: got 7 (int), expected str'),
    (GOOD.replace('0.01', '0.01, coated: 1'), 'lens: coated: got 1 (int), expected bool'),
    (GOOD.replace('focal_m', 'focal'), "lens: unknown key 'focal'; expected one of coated, focal_m"),
    (GOOD.replace('{focal_m: 0.01}', '3'), 'lens: got int, expected a mapping for Lens'),
    (GOOD + 'size_px: [64]\n', 'size_px: got 1 values, expected 2'),
    (GOOD + 'size_px: 64\n', 'size_px: got 64, expected a list'),
    (GOOD + 'size_px: [64, 4.5]\n', 'size_px[1]: got 4.5 (float), expected int'),
    (GOOD + 'rows: [1, x]\n', "rows[1]: got 'x' (str), expected int"),
    (GOOD + 'gain: high\n', "gain: got 'high' (str), expected float"),
    (GOOD + 'notes: [1]\n', 'notes: got [1], expected a mapping'),
    (GOOD.replace('5', '-5'), 'rate_hz: got -5.0, expected a positive rate'),
    (GOOD.replace('0.01}', '0.01'), 'not valid YAML'),          # truncated
    ('', 'got NoneType, expected a mapping for Camera'),        # truncated to nothing
    ('- front\n', 'got list, expected a mapping for Camera'),
])
def test_refuses(tmp_path, text, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        read(tmp_path, text)
    assert 'camera.yaml' in str(caught.value) and '\n' not in str(caught.value)


def test_refuses_bytes_that_are_no_text(tmp_path):
    path = tmp_path / 'camera.yaml'
    path.write_bytes(b'name: \xff\xfe\x00')
    with pytest.raises(ConfigError, match='not valid YAML'):
        config.load(Camera, path)


def test_names_a_file_that_is_missing(tmp_path):
    with pytest.raises(ConfigError, match='nowhere.yaml: cannot be read'):
        config.load(Camera, tmp_path / 'nowhere.yaml')


def test_the_shipped_robot_loads():
    assert len(config.load(Robot, PANDA).joint_names) == 7


@pytest.mark.parametrize('change, expected', [
    ({'joint_names': ['a'] * 7}, 'has duplicates'),
    ({'home_rad': [0.0]}, 'home_rad: got 1 values, expected 7'),
    ({'jerk_max_rad_s3': [0.0] * 7}, 'jerk_max_rad_s3: got 0.0, expected positive limits'),
    ({'position_min_rad': [9.0] * 7}, 'position_min_rad must be below position_max_rad'),
])
def test_refuses_a_robot_that_cannot_be(change, expected):
    mapping = {**config.to_mapping(config.load(Robot, PANDA)), **change}
    with pytest.raises(ConfigError, match=re.escape(expected)):
        config.from_mapping(Robot, mapping, 'panda.yaml')
