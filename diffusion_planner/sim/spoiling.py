"""Ways to spoil ROS-shaped messages in place, as broken drivers do: of a picture and its camera info, of joint states."""
from array import array

AHEAD_S = 10      # of the true time: a stamp from the future
FAR_RAD = 100.0   # beyond the limits of any joint


def _truncate(image, _info):
    image.data = image.data[:len(image.data) // 2]


def _halve(image, _info):
    """A whole picture, but not of the size that was agreed on."""
    image.height //= 2
    image.data = image.data[:image.height * image.step]


def _shorten_step(image, _info):
    image.step = image.width


def _rename_encoding(image, _info):
    image.encoding = 'mystery8'


def _blacken(image, _info):
    image.data = array('B', bytes(len(image.data)))


def _saturate(image, _info):
    image.data = array('B', b'\xff' * len(image.data))


def _stamp_zero(*messages):
    for message in messages:
        message.header.stamp.sec = message.header.stamp.nanosec = 0


def _stamp_ahead(*messages):
    for message in messages:
        message.header.stamp.sec += AHEAD_S


def _not_a_number(message):
    message.position[len(message.position) // 2] = float('nan')


def _lose_joint(message):
    for values in (message.name, message.position, message.velocity):
        del values[-1]


def _repeat_joint(message):
    for values in (message.name, message.position, message.velocity):
        values.append(values[0])


def _lose_position(message):
    del message.position[-1]


def _far_beyond(message):
    message.position[0] = FAR_RAD


PICTURES = (_truncate, _halve, _shorten_step, _rename_encoding, _blacken, _saturate, _stamp_zero, _stamp_ahead)
JOINTS = (_not_a_number, _lose_joint, _repeat_joint, _lose_position, _far_beyond, _stamp_zero, _stamp_ahead)
