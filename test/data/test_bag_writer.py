"""Bags being written: readable by others, safe against a kill, and no bag is ever written over."""
import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip('rosbags')
from diffusion_planner.data import bag_writer
from diffusion_planner.data.bag_writer import BagWriteError, BagWriter, MessageTypes
from diffusion_planner.data.bags import open_bag

FLOAT = 'std_msgs/msg/Float32'


def payload(number):
    return b'\x00\x01\x00\x00' + number.to_bytes(4, 'little')


def write(path, count, topic='/reward', compressed=True):
    with BagWriter(path, compressed) as writer:
        writer.add_topic(topic, FLOAT)
        for number in range(count):
            writer.write(topic, 10**9 + number, payload(number))
    return path


@pytest.mark.parametrize('compressed', [True, False])
def test_rosbags_reads_what_was_written(tmp_path, compressed):
    from rosbags.rosbag2 import Reader
    with Reader(write(tmp_path / 'bag', 50, compressed=compressed)) as reader:
        found = [(connection.topic, connection.msgtype, stamp_ns, bytes(data)) for connection, stamp_ns, data in reader.messages()]
    assert found == [('/reward', FLOAT, 10**9 + number, payload(number)) for number in range(50)]
    assert (tmp_path / 'bag' / 'metadata.yaml').exists()


def test_a_bag_that_is_there_is_left_alone(tmp_path):
    write(tmp_path / 'bag', 3)
    with pytest.raises(BagWriteError, match='is there already'):
        BagWriter(tmp_path / 'bag')
    with open_bag(tmp_path / 'bag') as bag:
        assert len(list(bag.messages())) == 3


CHILD = '''
import sys, time
from diffusion_planner.data.bag_writer import BagWriter
writer = BagWriter(sys.argv[1]).__enter__()
writer.add_topic('/reward', 'std_msgs/msg/Float32')
for number in range(200):
    writer.write('/reward', 10**9 + number, bytes([0, 1, 0, 0]) + number.to_bytes(4, 'little'))
writer.secure()
writer.write('/reward', 2 * 10**9, bytes(8))      # not secured yet
print('secured', flush=True)
time.sleep(60)
'''


def test_what_was_secured_survives_a_kill(tmp_path):
    child = subprocess.Popen([sys.executable, '-c', CHILD, str(tmp_path / 'bag')], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == 'secured'
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (tmp_path / 'bag' / 'metadata.yaml').exists()
    with open_bag(tmp_path / 'bag') as bag:
        found = [bytes(data) for _, stamp_ns, data in bag.messages() if stamp_ns < 2 * 10**9]
        assert bag.notes
    assert found == [payload(number) for number in range(200)]


def test_writing_secures_by_itself_once_a_second(tmp_path, monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(bag_writer.time, 'monotonic', lambda: now_s[0])
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/reward', FLOAT)
        file = tmp_path / 'bag' / 'bag.mcap'
        writer.secure()
        before = file.stat().st_size
        writer.write('/reward', 1, payload(1))
        assert file.stat().st_size == before
        now_s[0] += bag_writer.SECURED_S
        writer.secure_if_due()
        assert file.stat().st_size > before


def test_a_type_of_ones_own_is_read_from_its_file(tmp_path, monkeypatch):
    messages = tmp_path / 'share' / 'my_msgs' / 'msg'
    messages.mkdir(parents=True)
    (messages / 'Part.msg').write_text('float64 weight\n')
    (messages / 'Whole.msg').write_text('std_msgs/Header header\nmy_msgs/Part[] parts\nmy_msgs/Part first\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path}/elsewhere{os.pathsep}{tmp_path}')
    text, digest = MessageTypes().definition('my_msgs/msg/Whole')
    assert 'my_msgs/Part[] parts' in text and 'float64 weight' in text and digest.startswith('RIHS01_')


def test_a_type_without_definition_is_named(monkeypatch):
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    with pytest.raises(BagWriteError, match=r'my_msgs/msg/Whole: its definition is unknown, expected .*share/my_msgs/msg/Whole.msg'):
        MessageTypes().definition('my_msgs/msg/Whole')
