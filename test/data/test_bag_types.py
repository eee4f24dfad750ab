"""Types of messages: as the bag describes them, in either language, or as ROS 2 has them."""
import struct

import pytest
from bags import typestore

from diffusion_planner.data.bags import BagError, _store, stamp_ns

IDL = """================================================================================
IDL: odd_msgs/msg/Odd
module odd_msgs {
  module msg {
    struct Odd {
      builtin_interfaces::msg::Time stamp;
      double value;
    };
  };
};
"""
MSG = 'builtin_interfaces/Time stamp\nfloat64 value\n'
DATA = b'\x00\x01\x00\x00' + struct.pack('<iId', 3, 5, 0.25)


@pytest.mark.parametrize('definition, syntax', [(IDL, 'ros2idl'), (MSG, 'ros2msg'), (IDL.split('Odd\n', 1)[1], 'ros2idl')])
def test_reads_definitions_in_either_language(definition, syntax):
    store, kind = _store('odd_msgs/msg/Odd', definition, syntax)
    message = store.deserialize_cdr(DATA, kind)
    assert (message.stamp.sec, message.stamp.nanosec, message.value) == (3, 5, 0.25)


@pytest.mark.parametrize('definition, expected', [('', 'the bag does not describe it'), ('float64 = value', 'its definition cannot be understood')])
def test_says_which_type_cannot_be_read(definition, expected):
    with pytest.raises(BagError, match=f'type odd_msgs/msg/Odd: {expected}'):
        _store('odd_msgs/msg/Odd', definition, 'ros2msg')


def test_a_common_type_needs_no_definition():
    store, kind = _store('std_msgs/msg/Float32', '', '')
    assert store.deserialize_cdr(b'\x00\x01\x00\x00' + struct.pack('<f', 0.5), kind).data == 0.5


@pytest.mark.parametrize('little', [True, False])
def test_peeks_at_the_stamp_in_either_byte_order(little):
    types = typestore()
    header = types.types['std_msgs/msg/Header'](types.types['builtin_interfaces/msg/Time'](1_700_000_000, 123_456_789), 'camera')
    data = bytes(types.serialize_cdr(header, 'std_msgs/msg/Header', little_endian=little))
    assert stamp_ns(memoryview(data)) == 1_700_000_000_123_456_789
