"""Recording over real topics: whole, in order, and never silent about what is missing."""
import os
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from rclpy.qos import QoSProfile
from std_msgs.msg import Float32

pytest.importorskip('rosbags')
from diffusion_planner.data.bags import open_bag
from diffusion_planner.ros.record import Track


def command(*arguments):
    return [sys.executable, '-c', 'from diffusion_planner.cli import main; raise SystemExit(main())', *map(str, arguments)]


def recorder(bench, *arguments):
    return subprocess.Popen(command('record', '--domain', bench.domain, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=bench.environment)


def values(path, topic):
    with open_bag(path) as bag:
        return [struct.unpack('<f', bytes(data)[4:8])[0] for name, _, data in bag.messages([topic])]


@pytest.fixture
def speaker(bench):
    """A publisher, and how to publish numbers once somebody listens."""
    publisher = bench.observer.create_publisher(Float32, '/reward', QoSProfile(depth=500))

    def speak(count, listeners=1, first=0):
        end_s = time.monotonic() + 30
        while publisher.get_subscription_count() < listeners:
            assert time.monotonic() < end_s, 'nobody listens'
            time.sleep(0.02)
        for number in range(first, first + count):
            publisher.publish(Float32(data=float(number)))
    return speak


def test_records_what_is_said_in_order(speaker, bench, tmp_path):
    child = recorder(bench, '/reward', '--out', tmp_path / 'bag')
    speaker(300)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    shown, error = child.communicate(timeout=30)
    assert child.returncode == 0, error
    assert values(tmp_path / 'bag', '/reward') == list(range(300))
    assert '/reward' in shown and '300' in shown


def test_a_killed_recording_stays_readable(speaker, bench, tmp_path):
    child = recorder(bench, '/reward', '--out', tmp_path / 'bag')
    speaker(100)
    file = tmp_path / 'bag' / 'bag.mcap'
    end_s = time.monotonic() + 20
    while not file.exists() or file.stat().st_size < 500:          # what was said reaches the disk within a second or so, without more being said
        assert time.monotonic() < end_s
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    found = values(tmp_path / 'bag', '/reward')
    assert found == list(range(len(found))) and len(found) > 0


def test_silence_is_told_and_is_no_success(bench, tmp_path):
    child = recorder(bench, '/reward', '/nothing', '--out', tmp_path / 'bag', '--duration', 1)
    _, error = child.communicate(timeout=30)
    assert child.returncode == 1
    assert 'nothing came on /nothing, /reward' in error and 'Traceback' not in error


def test_a_bag_that_is_there_is_refused_in_one_line(bench, tmp_path):
    (tmp_path / 'bag').mkdir()
    child = recorder(bench, '/reward', '--out', tmp_path / 'bag', '--duration', 1)
    _, error = child.communicate(timeout=30)
    assert child.returncode not in (0, None) and 'is there already, expected the name of a new bag' in error and len(error.strip().splitlines()) == 1


def test_gaps_in_a_publishers_numbers_are_losses():
    track = Track()
    for gid, number in ((b'a', 1), (b'a', 2), (b'b', 7), (b'a', 5), (b'b', 8)):
        track.count(b'', {'publisher_gid': {'data': gid}, 'publication_sequence_number': number}, 0.0)
    assert track.lost == 2 and track.messages == 5


def test_play_is_recorded_whole(tmp_path):
    """Two episodes over the middleware: every joint state, every picture, stamped in simulated time, reward beside each joint state."""
    from diffusion_planner.data.bags import stamp_ns
    bag = tmp_path / 'bag'
    done = subprocess.run(command('play', '--episodes', 2, '--seed', 1_500_000, '--speed', 50, '--record', bag), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with open_bag(bag) as opened:
        stamps = {topic: [stamp_ns(data) * 1e-9 for _, _, data in opened.messages([topic])] for topic in ('/joint_states', '/camera/image', '/target')}
        counts = {name: sum(1 for _ in opened.messages([name])) for name in ('/reward', '/episode')}
    steps = np.diff(stamps['/joint_states'])
    assert stamps['/joint_states'][0] == pytest.approx(1.0) and sorted(set(np.round(steps, 3))) == [0.05, 1.0] and np.isclose(steps, 1.0).sum() == 1
    assert counts == {'/reward': len(stamps['/joint_states']), '/episode': len(stamps['/camera/image'])}
    periods = np.diff(stamps['/camera/image'])
    assert stamps['/target'] == stamps['/camera/image'] and np.isclose(periods, 0.2).sum() == len(periods) - 1      # all but the pause
