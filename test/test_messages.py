"""Messages to records, from plain objects as a bag reader makes them; live messages are in test/ros/test_conversions.py."""
from array import array
from types import SimpleNamespace as Message

import cv2
import numpy as np
import pytest

from diffusion_planner.messages import MessageError, read_image, read_joint_state

HEADER = Message(stamp=Message(sec=3, nanosec=500_000_000), frame_id='')
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def image(pixels=RGB, encoding='rgb8', pad=0, **changes):
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, pad)), constant_values=77).tobytes()
    return Message(**{'header': HEADER, 'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': 0,
                      'step': rows.shape[1] + pad, 'data': data, **changes})


def joints(**changes):
    return Message(**{'header': HEADER, 'name': ['b', 'a'], 'position': [2.0, 1.0], 'velocity': [4.0, 3.0], 'effort': [], **changes})


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview, list, lambda data: array('B', data),
                                  lambda data: np.frombuffer(data, np.uint8)],
                         ids=['bytes', 'bytearray', 'memoryview', 'list', 'array', 'ndarray'])
def test_data_may_be_held_by_anything(kind):
    frame = read_image(image(data=kind(RGB.tobytes())), 'left')
    np.testing.assert_array_equal(frame.pixels, RGB)
    assert (frame.stamp_s, frame.camera, frame.pixels.dtype) == (3.5, 'left', np.uint8)


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize('bigendian', [0, 1])
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8'])
def test_encodings_and_padded_rows(encoding, bigendian, pad):
    pixels = RGB if encoding.startswith('rgb') else RGB[..., ::-1]
    if encoding.endswith('a8'):
        pixels = np.concatenate([pixels, np.full((4, 6, 1), 9, np.uint8)], 2)
    np.testing.assert_array_equal(read_image(image(pixels, encoding, pad, is_bigendian=bigendian), 'c').pixels, RGB)


def test_mono_becomes_grey():
    np.testing.assert_array_equal(read_image(image(RGB[..., :1], 'mono8', 2), 'c').pixels, np.repeat(RGB[..., :1], 3, 2))


def test_the_frame_does_not_share_the_message():
    data = bytearray(RGB.tobytes())
    frame = read_image(image(data=data), 'c')
    data[0] ^= 0xFF
    np.testing.assert_array_equal(frame.pixels, RGB)


@pytest.mark.parametrize('changes, said', [
    ({'encoding': '16UC1'}, "encoding: got '16UC1', expected one of rgb8"),
    ({'height': 0, 'data': b''}, 'size: got 6x0'),
    ({'step': 17}, 'step: got 17, expected at least 18'),
    ({'data': RGB.tobytes()[:-1]}, 'data: got 71 bytes, expected 72'),
    ({'data': RGB.tobytes() + b'x'}, 'data: got 73 bytes, expected 72'),
    ({'data': b''}, 'data: got 0 bytes'),
])
def test_bad_images_are_named(changes, said):
    with pytest.raises(MessageError, match=said.replace('(', r'\(')):
        read_image(image(**changes), 'c')


def test_compressed():
    data = cv2.imencode('.png', RGB[..., ::-1])[1].tobytes()
    frame = read_image(Message(header=HEADER, format='png', data=data), 'c')
    np.testing.assert_array_equal(frame.pixels, RGB)


@pytest.mark.parametrize('data', [b'', b'not a picture'])
def test_bad_compressed_images_are_named(data):
    with pytest.raises(MessageError, match="format 'jpeg' cannot be decoded"):
        read_image(Message(header=HEADER, format='jpeg', data=data), 'c')


def test_joints_are_mapped_by_name():
    reading = read_joint_state(joints(name=['b', 'x', 'a'], position=[2.0, np.nan, 1.0], velocity=[4.0, 9.0, 3.0]), ('a', 'b'))
    np.testing.assert_array_equal(reading.position_rad, [1.0, 2.0])
    np.testing.assert_array_equal(reading.velocity_rad_s, [3.0, 4.0])
    assert reading.stamp_s == 3.5


@pytest.mark.parametrize('changes, said', [
    ({'name': ['b', 'c']}, "name: 'a' is missing"),
    ({'name': ['a', 'a', 'b'], 'position': [1.0] * 3, 'velocity': [0.0] * 3}, "name: 'a' is there 2 times"),
    ({'position': [1.0]}, 'position: got 1 values, expected 2'),
    ({'velocity': []}, 'velocity: got 0 values, expected 2'),
    ({'position': [np.nan, 1.0]}, 'position: got .*nan.*, expected finite'),
    ({'velocity': [1.0, np.inf]}, 'velocity: got .*inf.*, expected finite'),
])
def test_bad_joint_states_are_named(changes, said):
    with pytest.raises(MessageError, match=said):
        read_joint_state(joints(**changes), ('a', 'b'))
