"""ROS-shaped messages into records, by attribute: one decoder for live topics, bags and plain objects."""
import re
from typing import NamedTuple

import numpy as np

from diffusion_planner.records import Frame, JointReading

DEPTH_MM_PER_LEVEL = 16            # of grey: 255 is 4.08 m and beyond, the reach of an arm's camera
BLACK, SATURATED = 8, 247          # levels below and above which nothing is seen
NEARLY_ALL, UNIFORM_LEVELS = 0.99, 1.5   # share of the samples; standard deviation
PART = re.compile(r'([A-Za-z_]\w*)(?:\[(\d+)(?::(\d+))?\])?')     # of a field's path: name, name[2] or name[0:3]
SAMPLES = 48                       # rows and columns, at least, that is_blank looks at in a picture that has them


class Encoding(NamedTuple):
    """How sensor_msgs/Image lays out a pixel, and OpenCV's name for the way from there to RGB; None: it is RGB."""

    channels: int
    channel_bytes: int = 1
    conversion: str | None = None
    depth: bool = False


BGR, GREY, UYVY, YUYV = 'BGR2RGB', 'GRAY2RGB', 'YUV2RGB_UYVY', 'YUV2RGB_YUY2'
ENCODINGS = {
    'rgb8': Encoding(3), 'rgb16': Encoding(3, 2), 'bgr8': Encoding(3, 1, BGR), 'bgr16': Encoding(3, 2, BGR),
    'rgba8': Encoding(4, 1, 'RGBA2RGB'), 'bgra8': Encoding(4, 1, 'BGRA2RGB'),
    'mono8': Encoding(1, 1, GREY), 'mono16': Encoding(1, 2, GREY),
    # Numbers without a meaning: three of them are BGR, as OpenCV writes and rviz reads them.
    '8UC1': Encoding(1, 1, GREY), '8UC3': Encoding(3, 1, BGR),
    '16UC1': Encoding(1, 2, GREY, depth=True), '32FC1': Encoding(1, 4, GREY, depth=True),
    # ROS names a mosaic by its first four pixels, OpenCV by those one row and one column further on.
    'bayer_rggb8': Encoding(1, 1, 'BayerBG2RGB'), 'bayer_bggr8': Encoding(1, 1, 'BayerRG2RGB'),
    'bayer_gbrg8': Encoding(1, 1, 'BayerGR2RGB'), 'bayer_grbg8': Encoding(1, 1, 'BayerGB2RGB'),
    'yuv422': Encoding(2, 1, UYVY), 'uyvy': Encoding(2, 1, UYVY), 'yuv422_yuy2': Encoding(2, 1, YUYV), 'yuyv': Encoding(2, 1, YUYV),
    'nv12': Encoding(1, 1, 'YUV2RGB_NV12'), 'nv21': Encoding(1, 1, 'YUV2RGB_NV21'),
}


class MessageError(ValueError):
    """A message that cannot be used; the text names the field, the value and what was expected."""


def read_stamp(stamp):
    """Turn builtin_interfaces/Time into seconds: read_stamp(stamp) -> seconds"""
    return stamp.sec + 1e-9 * stamp.nanosec


def read_image(message, camera):
    """Decode sensor_msgs/Image in any of ENCODINGS, or CompressedImage.

    read_image(message, camera) -> Frame with pixels [Y, X, 3] uint8 RGB, a copy in C order. Raises MessageError.
    Of 16 bits the upper 8 are kept. Depth (16UC1 in mm, 32FC1 in m) becomes grey, one level per 16 mm, 255 from 4.08 m on;
    0 for what is nearer than 16 mm, negative, NaN or infinite. Luminance is BT.601, 16 to 235.
    """
    pixels = _decode_raw(message) if hasattr(message, 'encoding') else _decode_compressed(message)
    return Frame(read_stamp(message.header.stamp), camera, pixels)


def read_joint_state(message, joint_names):
    """Decode sensor_msgs/JointState, mapped by name; joints of other arms are left out, and so is effort.

    read_joint_state(message, joint_names) -> JointReading [J] in the order of joint_names. Raises MessageError.
    A driver may leave `velocity` empty: velocity_rad_s is then NaN for every joint, and for the caller to fill.
    """
    index = _joint_index(list(message.name), joint_names)
    position_rad = _joint_values(message, 'position', index)
    velocity_rad_s = _joint_values(message, 'velocity', index) if len(message.velocity) else np.full(len(index), np.nan)
    return JointReading(read_stamp(message.header.stamp), position_rad, velocity_rad_s)


def read_vector(message, fields):
    """Read numbers off any message by the paths of its fields: read_vector(message, ['wrench.force.x', 'data[0:3]']) -> [K] float64

    Raises MessageError for a path that leads nowhere, and for what is no finite number.
    """
    values = [np.ravel(_numbers(read_field(message, path), path)) for path in fields]
    return np.concatenate(values) if values else np.zeros(0)


def fit(pixels, shape):
    """Cut out the middle that has the wanted aspect ratio, and resample it by area.

    fit(pixels [Y, X, 3], shape (Y', X', 3)) -> [Y', X', 3]; the same array where the shape is right already.
    """
    if pixels.shape == tuple(shape):
        return pixels
    import cv2
    (height, width), (wanted_height, wanted_width) = pixels.shape[:2], shape[:2]
    cut_height = min(height, max(1, round(width * wanted_height / wanted_width)))
    cut_width = min(width, max(1, round(height * wanted_width / wanted_height)))
    top, left = (height - cut_height) // 2, (width - cut_width) // 2
    middle = pixels[top:top + cut_height, left:left + cut_width]
    return cv2.resize(middle, (wanted_width, wanted_height), interpolation=cv2.INTER_AREA)


def is_blank(pixels):
    """Tell a picture with nothing on it, by a sample of its pixels; a dark scene with sensor noise is a picture.

    is_blank(pixels [Y, X, 3]) -> 'black', 'saturated', 'uniform' (each channel nearly constant), or None
    """
    every_row, every_column = (max(1, size // SAMPLES) for size in pixels.shape[:2])
    sample = pixels[::every_row, ::every_column].reshape(-1, 3)
    if np.count_nonzero(sample < BLACK) > NEARLY_ALL * sample.size:
        return 'black'
    if np.count_nonzero(sample > SATURATED) > NEARLY_ALL * sample.size:
        return 'saturated'
    return 'uniform' if sample.std(axis=0).max() < UNIFORM_LEVELS else None


def read_field(message, path):
    """Follow a path of fields such as wrench.force.x or data[0:3] into a message: -> what is there. Raises MessageError."""
    for part in path.split('.'):
        found = PART.fullmatch(part)
        name, first, stop = found.groups() if found else (part, None, None)
        if not hasattr(message, name):
            there = [field.lstrip('_') for field in getattr(message, '__slots__', None) or vars(message) if not field.startswith('__')]
            raise MessageError(f'{path}: {type(message).__name__} has no field {name!r}; got {", ".join(there)}')
        message = getattr(message, name)
        if first is None:
            continue
        first, stop = int(first), int(stop or int(first) + 1)
        if not hasattr(message, '__len__') or len(message) < stop:
            raise MessageError(f'{path}: got {len(message) if hasattr(message, "__len__") else "no list"}, expected at least {stop} values')
        message = message[first:stop] if ':' in part else message[first]
    return message


def _numbers(value, path):
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise MessageError(f'{path}: got {type(value).__name__}, expected numbers') from None
    if isinstance(value, str) or not np.isfinite(numbers).all():
        raise MessageError(f'{path}: got {value}, expected finite numbers')
    return numbers


def _bytes(data):
    """View a message's data, whatever holds it, as bytes: -> [N] uint8"""
    if isinstance(data, (bytes, bytearray, memoryview)) or hasattr(data, '__array_interface__') or hasattr(data, 'typecode'):
        return np.frombuffer(data, np.uint8)
    return np.asarray(data, np.uint8)


def _decode_raw(message):
    if message.encoding not in ENCODINGS:
        raise MessageError(f'encoding: got {message.encoding!r}, expected one of {" ".join(ENCODINGS)}')
    encoding = ENCODINGS[message.encoding]
    _check_size(message, encoding.conversion or '')
    rows, order = _rows(message, encoding), '>' if message.is_bigendian else '<'
    if encoding.depth:
        # numpy before 1.23 reinterprets whole arrays only
        rows = _levels(np.ascontiguousarray(rows).view(order + ('u2' if encoding.channel_bytes == 2 else 'f4')))
    elif encoding.channel_bytes == 2:
        rows = rows[:, ::2] if order == '>' else rows[:, 1::2]
    if encoding.channels > 1:
        rows = rows.reshape(len(rows), message.width, encoding.channels)
    return _to_rgb(rows, encoding.conversion)


def _check_size(message, conversion):
    """Refuse a size that the encoding has no picture of: chroma shared by neighbours, mosaics too small to interpolate."""
    height, width, got = message.height, message.width, f'size: got {message.width}x{message.height} of {message.encoding}'
    if height < 1 or width < 1:
        raise MessageError(f'{got}, expected at least 1x1')
    if conversion in (UYVY, YUYV) and width % 2:
        raise MessageError(f'{got}, expected an even width')
    if 'NV' in conversion and (width % 2 or height % 2):
        raise MessageError(f'{got}, expected an even width and height')
    if 'Bayer' in conversion and (width % 2 or height % 2 or min(width, height) < 4):
        raise MessageError(f'{got}, expected an even width and height of at least 4')


def _rows(message, encoding):
    """View the data without the padding of its rows: -> [Y, X * bytes per pixel] uint8; [Y * 3 / 2, X] with a plane of chroma"""
    used, step = message.width * encoding.channels * encoding.channel_bytes, message.step
    if step < used:
        raise MessageError(f'step: got {step}, expected at least {used} for {message.width} pixels of {message.encoding}')
    count = message.height * 3 // 2 if 'NV' in (encoding.conversion or '') else message.height
    data = _bytes(message.data)
    if len(data) != step * count:
        raise MessageError(f'data: got {len(data)} bytes, expected {step * count} ({count} rows of {step})')
    return data.reshape(count, step)[:, :used]


def _levels(depth):
    """Turn depth in mm (integers) or m (floats) into levels of grey: [Y, X] -> [Y, X] uint8"""
    if depth.dtype.kind == 'u':
        return np.minimum(depth // DEPTH_MM_PER_LEVEL, 255).astype(np.uint8)
    farthest_m = 255 * DEPTH_MM_PER_LEVEL / 1000
    metres = np.clip(np.where(np.isfinite(depth), depth, 0), 0, farthest_m)   # before the product, which could overflow
    return (metres * (255 / farthest_m)).astype(np.uint8)


def _to_rgb(rows, conversion):
    """Convert, or copy what is RGB already: [Y, X] or [Y, X, C] uint8 -> [Y, X, 3] uint8"""
    if conversion is None:
        return np.array(rows, order='C')
    import cv2
    return cv2.cvtColor(rows, getattr(cv2, f'COLOR_{conversion}'))


def _decode_compressed(message):
    import cv2
    data, depth = _bytes(message.data), message.format.startswith('16UC1')
    try:
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED if depth else cv2.IMREAD_COLOR) if _is_whole(data) else None
    except cv2.error:   # a header that asks for more than OpenCV allows
        pixels = None
    if pixels is None or depth and (pixels.dtype != np.uint16 or pixels.ndim != 2):
        raise MessageError(f'data: {len(data)} bytes of format {message.format!r} cannot be decoded, expected a whole JPEG or PNG')
    return _to_rgb(_levels(pixels), GREY) if depth else _to_rgb(pixels, BGR)


def _is_whole(data):
    """Look for the end of a JPEG, which OpenCV would fill up with grey; of other formats it says itself."""
    data = data.tobytes()
    if not data.startswith(b'\xff\xd8'):
        return bool(data)
    # Within a scan 0xff is followed by 0: this cannot be mistaken, and the end of an EXIF thumbnail comes before the scan.
    return data.find(b'\xff\xd9', data.rfind(b'\xff\xda')) > 0


def _joint_index(names, joint_names):
    """Find each joint's place in the message: -> [J]"""
    places = []
    for joint in joint_names:
        count = names.count(joint)
        if count != 1:
            fault = 'missing' if count == 0 else f'there {count} times'
            raise MessageError(f'name: {joint!r} is {fault}, expected once; got {names}')
        places.append(names.index(joint))
    return places


def _joint_values(message, field, index):
    values = np.asarray(getattr(message, field), np.float64)
    if len(values) != len(message.name):
        raise MessageError(f'{field}: got {len(values)} values, expected {len(message.name)}, one per name')
    if not np.isfinite(values[index]).all():
        raise MessageError(f'{field}: got {values[index].tolist()}, expected finite numbers')
    return values[index]
