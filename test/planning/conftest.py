"""A robot and a rest posture for shaping and playback."""
import numpy as np
import pytest

from diffusion_planner import config, files
from diffusion_planner.records import MotionState
from diffusion_planner.robot import Robot


@pytest.fixture(scope='session')
def robot():
    return config.load(Robot, files.find('config/panda.yaml'))


@pytest.fixture(scope='session')
def home(robot):
    return MotionState(10.0, np.array(robot.home_rad), np.zeros(7), np.zeros(7))
