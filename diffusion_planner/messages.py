"""ROS-shaped messages into records, by attribute: one decoder for live topics, bags and plain objects."""
import numpy as np

from diffusion_planner.records import Frame, JointReading

CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}


class MessageError(ValueError):
    """A message that cannot be used; the text names the field, the value and what was expected."""


def read_stamp(stamp):
    """Turn builtin_interfaces/Time into seconds: read_stamp(stamp) -> seconds"""
    return stamp.sec + 1e-9 * stamp.nanosec


def read_image(message, camera):
    """Decode sensor_msgs/Image or CompressedImage.

    read_image(message, camera) -> Frame with pixels [Y, X, 3] uint8 RGB, a copy. Raises MessageError.
    """
    pixels = _decode_raw(message) if hasattr(message, 'encoding') else _decode_compressed(message)
    return Frame(read_stamp(message.header.stamp), camera, pixels)


def read_joint_state(message, joint_names):
    """Decode sensor_msgs/JointState, mapped by name; joints of other arms are left out.

    read_joint_state(message, joint_names) -> JointReading [J] in the order of joint_names. Raises MessageError.
    """
    index = _joint_index(list(message.name), joint_names)
    position_rad = _joint_values(message, 'position', index)
    velocity_rad_s = _joint_values(message, 'velocity', index)
    return JointReading(read_stamp(message.header.stamp), position_rad, velocity_rad_s)


def _bytes(data):
    """View a message's data, whatever holds it, as bytes: -> [N] uint8"""
    if isinstance(data, (bytes, bytearray, memoryview)) or hasattr(data, '__array_interface__') or hasattr(data, 'typecode'):
        return np.frombuffer(data, np.uint8)
    return np.asarray(data, np.uint8)


def _decode_raw(message):
    if message.encoding not in CHANNELS:
        raise MessageError(f'encoding: got {message.encoding!r}, expected one of {" ".join(CHANNELS)}')
    channels, height, width, step = CHANNELS[message.encoding], message.height, message.width, message.step
    if height < 1 or width < 1:
        raise MessageError(f'size: got {width}x{height}, expected at least 1x1')
    if step < width * channels:
        raise MessageError(f'step: got {step}, expected at least {width * channels} for {width} pixels of {message.encoding}')
    data = _bytes(message.data)
    if len(data) != step * height:
        raise MessageError(f'data: got {len(data)} bytes, expected {step * height} ({height} rows of {step})')
    # is_bigendian says nothing about encodings of one byte per channel, whatever its value.
    rows = data.reshape(height, step)[:, :width * channels].reshape(height, width, channels)
    return _to_rgb(rows, message.encoding)


def _to_rgb(rows, encoding):
    if encoding == 'mono8':
        return np.repeat(rows, 3, axis=2)
    colours = rows[..., :3]
    return np.array(colours[..., ::-1] if encoding.startswith('bgr') else colours, order='C')


def _decode_compressed(message):
    import cv2
    data = _bytes(message.data)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if pixels is None:
        raise MessageError(f'data: {len(data)} bytes of format {message.format!r} cannot be decoded, expected a whole JPEG or PNG')
    return np.array(pixels[..., ::-1], order='C')


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
