"""Records to messages: what goes in comes out of messages.py again, and the controller takes what is published."""
import numpy as np
import pytest

from diffusion_planner.messages import read_image, read_joint_state
from diffusion_planner.records import ActionChunk, JointReading
from diffusion_planner.ros import conversions
from diffusion_planner.sim.acceptance import DISTRIBUTIONS, acceptance_errors

NAMES = ['a', 'b']


def ramp(origin_s=10.0):
    offset_s = 0.02 * np.arange(50)
    position_rad = np.stack([np.sin(offset_s), np.cos(offset_s)], 1)
    velocity_rad_s = np.stack([np.cos(offset_s), -np.sin(offset_s)], 1)
    velocity_rad_s[-1] = 0
    return ActionChunk(origin_s, offset_s, position_rad, velocity_rad_s, -position_rad)


def test_trajectory_is_timed_from_its_publication():
    message = conversions.to_joint_trajectory(ramp(10.0), NAMES, 9.9)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (0, 0)
    seconds = [point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec for point in message.points]
    np.testing.assert_allclose(seconds, 0.1 + 0.02 * np.arange(50), atol=1e-9)
    np.testing.assert_array_equal(message.points[7].positions, ramp().position_rad[7])
    np.testing.assert_array_equal(message.points[7].velocities, ramp().velocity_rad_s[7])
    np.testing.assert_array_equal(message.points[7].accelerations, ramp().acceleration_rad_s2[7])


@pytest.mark.parametrize('distribution', DISTRIBUTIONS)
def test_every_controller_takes_it(distribution):
    message = conversions.to_joint_trajectory(ramp(10.0), NAMES, 9.9)
    assert acceptance_errors(message, NAMES, 9.9, distribution) == []


@pytest.mark.parametrize('publish_now_s', [10.0, 10.5])
def test_a_first_point_in_the_past_is_refused(publish_now_s):
    with pytest.raises(ValueError, match='in the past'):
        conversions.to_joint_trajectory(ramp(10.0), NAMES, publish_now_s)


def test_image_comes_back():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    frame = read_image(conversions.to_image(pixels, 3.25, 'optical'), 'camera')
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert frame.stamp_s == 3.25


def test_joint_state_comes_back():
    reading = read_joint_state(conversions.to_joint_state(JointReading(1.5, np.array([1.0, 2.0]), np.array([3.0, 4.0])), NAMES), NAMES[::-1])
    assert reading.stamp_s == 1.5
    np.testing.assert_array_equal(reading.position_rad, [2.0, 1.0])
    np.testing.assert_array_equal(reading.velocity_rad_s, [4.0, 3.0])


def test_camera_info_projects_with_its_intrinsics():
    info = {'width': 96, 'height': 64, 'K': [100, 0, 48, 0, 100, 32, 0, 0, 1], 'frame_id': 'optical'}
    message = conversions.to_camera_info(info, 2.0)
    point = np.array([0.1, 0.2, 1.0])
    x, y, depth = message.p.reshape(3, 4) @ [*point, 1]
    assert (x / depth, y / depth) == pytest.approx((48 + 10, 32 + 20))


@pytest.mark.parametrize('stamp_s', [0.0, 1 / 3, 1.9999999999, 123456.789])
def test_time_is_whole(stamp_s):
    stamp = conversions.to_time(stamp_s)
    assert 0 <= stamp.nanosec < 10**9
    assert stamp.sec + 1e-9 * stamp.nanosec == pytest.approx(stamp_s, abs=1e-9)


def test_path_ends_in_a_ball():
    path, ball = conversions.to_path_markers(np.array([[0, 0, 0], [1, 2, 3]]), 1.0, 'base').markers
    assert len(path.points) == 2
    assert (ball.pose.position.x, ball.pose.position.y, ball.pose.position.z) == (1, 2, 3)


def test_json_takes_numpy():
    text = conversions.to_json({'path': np.zeros((1, 3)), 'value': np.float32(0.5)}).data
    assert text == '{"path": [[0.0, 0.0, 0.0]], "value": 0.5}'
