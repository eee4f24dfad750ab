"""Messages to records, from plain objects as a bag reader makes them; live messages are in test/ros/test_conversions.py."""
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from array import array
from types import SimpleNamespace as Message

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from diffusion_planner.messages import ENCODINGS, MessageError, read_image, read_joint_state

HEADER = Message(stamp=Message(sec=3, nanosec=500_000_000), frame_id='')
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
CHROMA = {'yuv422': 'UYVY', 'uyvy': 'UYVY', 'yuv422_yuy2': 'YUYV', 'yuyv': 'YUYV'}


def random(limit, *shape, kind=np.uint8):
    return np.random.default_rng(1).integers(0, limit, shape, kind)


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
@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3'])
def test_encodings_and_padded_rows(encoding, bigendian, pad):
    pixels = RGB if encoding.startswith('rgb') else RGB[..., ::-1]
    if encoding.endswith('a8'):
        pixels = np.concatenate([pixels, np.full((4, 6, 1), 9, np.uint8)], 2)
    np.testing.assert_array_equal(read_image(image(pixels, encoding, pad, is_bigendian=bigendian), 'c').pixels, RGB)


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_mono_becomes_grey(encoding):
    np.testing.assert_array_equal(read_image(image(RGB[..., :1], encoding, 2), 'c').pixels, np.repeat(RGB[..., :1], 3, 2))


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize('bigendian', [0, 1])
@pytest.mark.parametrize('encoding, order', [('rgb16', (0, 1, 2)), ('bgr16', (2, 1, 0)), ('mono16', (0,))])
def test_sixteen_bits_keep_the_upper_eight(encoding, order, bigendian, pad):
    numbers = random(65536, 4, 6, len(order), kind=int)
    packed = np.array(numbers[..., order], '>u2' if bigendian else '<u2', order='C').view(np.uint8)
    message = image(packed, encoding, pad, is_bigendian=bigendian)
    np.testing.assert_array_equal(read_image(message, 'c').pixels, np.broadcast_to(numbers // 256, (4, 6, 3)))


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize('bigendian', [0, 1])
@pytest.mark.parametrize('encoding, depth, grey', [
    ('16UC1', [0, 15, 16, 1000, 4079, 4096, 65535], [0, 0, 1, 62, 254, 255, 255]),   # 1000 mm / 16 mm = 62.5
    ('32FC1', [0, 0.015, 0.0161, 1, 4.0799, 4.08, 3e38], [0, 0, 1, 62, 254, 255, 255]),
    ('32FC1', [np.nan, np.inf, -np.inf, -1, -0.0, 1e-40, 2], [0, 0, 0, 0, 0, 0, 125]),
])
def test_depth_is_grey_by_the_distance(encoding, depth, grey, bigendian, pad):
    kind = ('>' if bigendian else '<') + ('u2' if encoding == '16UC1' else 'f4')
    packed = np.array([depth] * 2, kind).view(np.uint8).reshape(2, 7, -1)
    pixels = read_image(image(packed, encoding, pad, is_bigendian=bigendian), 'c').pixels
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array(grey)[:, None], (2, 7, 3)))


@pytest.mark.parametrize('colour', [(255, 0, 0), (0, 255, 0), (0, 0, 255), (30, 90, 210)])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_mosaics_of_one_colour_show_it(pattern, colour):
    cell = np.array([colour['rgb'.index(letter)] for letter in pattern], np.uint8).reshape(2, 2)
    pixels = read_image(image(np.tile(cell, (3, 4)), f'bayer_{pattern}8', pad=5), 'c').pixels
    np.testing.assert_array_equal(pixels, np.broadcast_to(colour, (6, 8, 3)))


def bt601(luma, blue, red):
    """Rec. ITU-R BT.601, studio range, luma below 16 being black: luma blue red [Y, X] -> [Y, X, 3], levels of 255"""
    luma, blue, red = 255 / 219 * np.maximum(luma - 16.0, 0), (blue - 128.0) / 112, (red - 128.0) / 112
    rgb = np.stack([luma + 255 * 0.701 * red, luma - 255 * (0.886 * 0.114 * blue + 0.701 * 0.299 * red) / 0.587, luma + 255 * 0.886 * blue], 2)
    return np.clip(np.rint(rgb), 0, 255)


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize('encoding', CHROMA)
def test_two_pixels_share_their_chroma(encoding, pad):
    packed, letters = random(256, 6, 4, 4), CHROMA[encoding]
    luma = packed[..., [place for place, letter in enumerate(letters) if letter == 'Y']].reshape(6, 8)
    blue, red = (np.repeat(packed[..., letters.index(letter)], 2, 1) for letter in 'UV')
    pixels = read_image(image(packed.reshape(6, 8, 2), encoding, pad), 'c').pixels
    np.testing.assert_allclose(pixels.astype(float), bt601(luma, blue, red), atol=1.01)


@pytest.mark.parametrize('pad', [0, 5])
@pytest.mark.parametrize('encoding, first', [('nv12', 'blue'), ('nv21', 'red')])
def test_a_plane_of_chroma_follows_the_luma(encoding, first, pad):
    rows = random(256, 6, 8)   # four of luma, two of chroma
    even, odd = (np.repeat(np.repeat(rows[4:, place::2], 2, 0), 2, 1) for place in (0, 1))
    pixels = read_image(image(rows, encoding, pad, height=4), 'c').pixels
    np.testing.assert_allclose(pixels.astype(float), bt601(rows[:4], *((even, odd) if first == 'blue' else (odd, even))), atol=1.01)


@some.composite
def any_image(pick):
    encoding = pick(some.sampled_from([*ENCODINGS, '', 'RGB8', '64FC1', 'jpeg']))
    height, width = pick(some.integers(0, 8)), pick(some.integers(0, 8))
    channels, channel_bytes = ENCODINGS.get(encoding, (1, 1))[:2]
    step = pick(some.just(width * channels * channel_bytes) | some.integers(0, 70))
    count = step * (height * 3 // 2 if encoding.startswith('nv') else height)
    size = pick(some.just(count) | some.integers(0, count + 2))
    return Message(header=HEADER, encoding=encoding, height=height, width=width, step=step,
                   is_bigendian=pick(some.integers(0, 255)), data=pick(some.binary(min_size=size, max_size=size)))


def check_decodes_or_refuses(message, shape=None):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        try:
            pixels = read_image(message, 'c').pixels
        except MessageError as fault:
            return str(fault)
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3) and pixels.flags.c_contiguous and pixels.flags.owndata
    assert shape is None or pixels.shape[:2] == shape
    return None


@settings(deadline=None)
@given(any_image())
def test_any_image_is_decoded_or_refused(message):
    fault = check_decodes_or_refuses(message, (message.height, message.width))
    assert fault is None or fault.split(':')[0] in ('encoding', 'size', 'step', 'data') and ', expected ' in fault and '\n' not in fault


@pytest.mark.parametrize('encoding', ENCODINGS)
@settings(deadline=None)
@given(some.integers(2, 6), some.integers(2, 6), some.integers(0, 9), some.integers(0, 1), some.integers(0, 2**32))
def test_every_encoding_takes_even_sizes(encoding, half_height, half_width, pad, bigendian, seed):
    height, width, (channels, channel_bytes, *_) = 2 * half_height, 2 * half_width, ENCODINGS[encoding]
    step, rows = width * channels * channel_bytes + pad, 3 * half_height if encoding.startswith('nv') else height
    data = np.random.default_rng(seed).integers(0, 256, step * rows, np.uint8).tobytes()
    message = Message(header=HEADER, encoding=encoding, height=height, width=width, step=step, is_bigendian=bigendian, data=data)
    assert check_decodes_or_refuses(message, (height, width)) is None


def test_rgb_is_copied_once_and_without_opencv():
    message = image(np.zeros((480, 640, 3), np.uint8))
    tracemalloc.start()
    read_image(message, 'c')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 1.0 <= peak / (480 * 640 * 3) < 1.1
    code = ('import sys; from types import SimpleNamespace as M; from diffusion_planner.messages import read_image;'
            'read_image(M(header=M(stamp=M(sec=0, nanosec=0)), height=1, width=1, encoding="rgb8", is_bigendian=0, step=3, data=b"abc"), "c");'
            'sys.exit("cv2" in sys.modules)')
    subprocess.run([sys.executable, '-c', code], check=True, timeout=60)


def test_the_frame_does_not_share_the_message():
    data = bytearray(RGB.tobytes())
    frame = read_image(image(data=data), 'c')
    data[0] ^= 0xFF
    np.testing.assert_array_equal(frame.pixels, RGB)


@pytest.mark.parametrize('changes, said', [
    ({'encoding': 'rgb24'}, "encoding: got 'rgb24', expected one of rgb8"),
    ({'height': 0, 'data': b''}, 'size: got 6x0 of rgb8, expected at least 1x1'),
    ({'encoding': 'yuyv', 'width': 5}, 'size: got 5x4 of yuyv, expected an even width'),
    ({'encoding': 'nv21', 'height': 3}, 'size: got 6x3 of nv21, expected an even width and height'),
    ({'encoding': 'bayer_rggb8', 'width': 5}, 'size: got 5x4 of bayer_rggb8, expected an even width and height of at least 4'),
    ({'encoding': 'bayer_rggb8', 'height': 5}, 'size: got 6x5 of bayer_rggb8'),
    ({'encoding': 'bayer_rggb8', 'height': 2}, 'size: got 6x2 of bayer_rggb8'),   # OpenCV would answer with black
    ({'encoding': '32FC1'}, 'step: got 18, expected at least 24 for 6 pixels of 32FC1'),
    ({'encoding': 'nv12'}, 'data: got 72 bytes, expected 108 (6 rows of 18)'),
    ({'step': 17}, 'step: got 17, expected at least 18'),
    ({'data': RGB.tobytes()[:-1]}, 'data: got 71 bytes, expected 72'),
    ({'data': RGB.tobytes() + b'x'}, 'data: got 73 bytes, expected 72'),
    ({'data': b''}, 'data: got 0 bytes'),
])
def test_bad_images_are_named(changes, said):
    with pytest.raises(MessageError, match=re.escape(said)):
        read_image(image(**changes), 'c')


def compressed(pixels, kind, **changes):
    return Message(**{'header': HEADER, 'format': kind, 'data': cv2.imencode(f'.{kind}', pixels)[1].tobytes(), **changes})


def test_compressed():
    np.testing.assert_array_equal(read_image(compressed(RGB[..., ::-1], 'png'), 'c').pixels, RGB)


def test_compressed_depth_is_as_grey_as_raw():
    depth = random(5000, 4, 6, kind=np.uint16)
    raw = read_image(image(depth.astype('<u2').view(np.uint8).reshape(4, 6, 2), '16UC1'), 'c').pixels
    np.testing.assert_array_equal(read_image(compressed(depth, 'png', format='16UC1; png compressed '), 'c').pixels, raw)
    assert 'cannot be decoded' in check_decodes_or_refuses(compressed(RGB, 'png', format='16UC1; png compressed '))


@pytest.mark.parametrize('data', [b'', b'not a picture'])
def test_bad_compressed_images_are_named(data):
    with pytest.raises(MessageError, match="format 'jpeg' cannot be decoded"):
        read_image(Message(header=HEADER, format='jpeg', data=data), 'c')


@pytest.mark.parametrize('kind', ['jpg', 'png'])
def test_truncated_compressed_images_are_refused(kind):
    whole = compressed(np.tile(RGB, (20, 20, 1)), kind)
    assert check_decodes_or_refuses(whole, (80, 120)) is None
    for kept in range(0, len(whole.data) - 12, 97):   # OpenCV does without the last chunk of a PNG, which is 12 bytes
        assert 'cannot be decoded' in check_decodes_or_refuses(compressed(RGB, kind, data=whole.data[:kept]))


def test_a_jpeg_may_be_padded():
    message = compressed(RGB, 'jpg')
    padded = compressed(RGB, 'jpg', data=message.data + bytes(100))
    np.testing.assert_array_equal(read_image(padded, 'c').pixels, read_image(message, 'c').pixels)
    assert 'cannot be decoded' in check_decodes_or_refuses(compressed(RGB, 'jpg', data=message.data[:-1] + bytes(100)))


def test_a_huge_header_is_refused():
    chunks = (b'IHDR' + struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0), b'IDAT' + zlib.compress(bytes(100)), b'IEND')
    data = b'\x89PNG\r\n\x1a\n' + b''.join(struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk)) for chunk in chunks)
    assert 'cannot be decoded' in check_decodes_or_refuses(compressed(RGB, 'png', data=data))


@settings(deadline=None)
@given(some.sampled_from(['jpg', 'png']), some.floats(0, 1), some.binary(max_size=9), some.text(max_size=9))
def test_any_compressed_image_is_decoded_or_refused(kind, place, inserted, told):
    data = compressed(np.tile(RGB, (5, 5, 1)), kind).data
    place = 700 + int(place * (len(data) - 700))   # past the header, which could ask for gigabytes
    for changed in (inserted, data[:place] + inserted + data[place + len(inserted):]):
        check_decodes_or_refuses(Message(header=HEADER, format=told, data=changed))


def test_joints_are_mapped_by_name():
    reading = read_joint_state(joints(name=['b', 'x', 'a'], position=[2.0, np.nan, 1.0], velocity=[4.0, 9.0, 3.0]), ('a', 'b'))
    np.testing.assert_array_equal(reading.position_rad, [1.0, 2.0])
    np.testing.assert_array_equal(reading.velocity_rad_s, [3.0, 4.0])
    assert reading.stamp_s == 3.5


@pytest.mark.parametrize('empty', [[], (), np.zeros(0), array('d')], ids=['list', 'tuple', 'ndarray', 'array'])
def test_velocity_may_be_empty(empty):
    reading = read_joint_state(joints(velocity=empty, effort=[np.nan]), ('a', 'b'))
    np.testing.assert_array_equal(reading.position_rad, [1.0, 2.0])
    np.testing.assert_array_equal(reading.velocity_rad_s, [np.nan, np.nan])


@pytest.mark.parametrize('changes, said', [
    ({'name': ['b', 'c']}, "name: 'a' is missing"),
    ({'name': ['a', 'a', 'b'], 'position': [1.0] * 3, 'velocity': [0.0] * 3}, "name: 'a' is there 2 times"),
    ({'position': [1.0]}, 'position: got 1 values, expected 2'),
    ({'velocity': [1.0]}, 'velocity: got 1 values, expected 2'),
    ({'position': []}, 'position: got 0 values, expected 2'),
    ({'position': [np.nan, 1.0]}, 'position: got .*nan.*, expected finite'),
    ({'velocity': [1.0, np.inf]}, 'velocity: got .*inf.*, expected finite'),
])
def test_bad_joint_states_are_named(changes, said):
    with pytest.raises(MessageError, match=said):
        read_joint_state(joints(**changes), ('a', 'b'))
