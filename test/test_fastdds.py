"""The Fast DDS profiles: that Fast DDS takes them, which it would otherwise say only in a log line, and what becomes of them."""
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip('rclpy')

CONFIG = Path(__file__).resolve().parent.parent / 'config'
PROFILES = 'fastdds.xml', 'fastdds_localhost.xml'
SEGMENT_BYTES = 16 * 2**20
PICTURE_BYTES = 640 * 480 * 3
DOMAIN = 1 + os.getpid() % 100
PARTICIPANT = '''
import os, sys, rclpy
rclpy.init(domain_id=int(sys.argv[1]))
node = rclpy.create_node('profile_check', start_parameter_services=False)
print('rmw', rclpy.get_rmw_implementation_identifier())
for line in open('/proc/self/maps'):
    if '/dev/shm/fast' in line and 'port' not in line and not line.rstrip().endswith('_el'):   # fastrtps_ in Fast DDS 2.6
        begin, end = (int(part, 16) for part in line.split()[0].split('-'))
        print('segment', end - begin)
sockets = {os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')}
for line in open('/proc/self/net/udp').readlines()[1:]:
    if f'socket:[{line.split()[9]}]' in sockets:
        address, port = line.split()[1].split(':')
        print('udp', '.'.join(str(byte) for byte in bytes.fromhex(address)[::-1]), int(port, 16))
node.destroy_node()
rclpy.shutdown()
'''


def participant(profile):
    """Start a ROS node of its own with a profile: -> [(kind, ...)] of what it has opened, and what it complains of"""
    names = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'     # of Fast DDS 3 and 2
    done = subprocess.run([sys.executable, '-c', PARTICIPANT, str(DOMAIN)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', **dict.fromkeys(names, str(profile))})
    assert done.returncode == 0, done.stderr
    facts = [line.split() for line in done.stdout.splitlines()]
    if not next(words[1] for words in facts if words[0] == 'rmw').startswith('rmw_fastrtps'):
        pytest.skip('another middleware is in use')
    complaints = [line for line in done.stderr.splitlines() if re.search(r'XMLPARSER|RTPS_\w+.*Error|Error\]', line)]
    return facts, complaints


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
@pytest.mark.parametrize('name', PROFILES)
def test_fast_dds_takes_the_profile(name):
    facts, complaints = participant(CONFIG / name)
    assert complaints == []
    assert max(int(words[1]) for words in facts if words[0] == 'segment') >= SEGMENT_BYTES


def test_a_profile_that_fast_dds_does_not_take_is_noticed(tmp_path):
    (bad := tmp_path / 'bad.xml').write_text((CONFIG / PROFILES[0]).read_text().replace('segment_size', 'segment_sice'))
    facts, complaints = participant(bad)
    assert complaints and 'segment_sice' in ' '.join(complaints)
    assert max(int(words[1]) for words in facts if words[0] == 'segment') < SEGMENT_BYTES


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_the_localhost_profile_listens_on_the_loopback_alone():
    def listening(name):
        ports = range(7400 + 250 * DOMAIN, 7650 + 250 * DOMAIN)      # what the standard gives a domain
        return {words[1] for words in participant(CONFIG / name)[0] if words[0] == 'udp' and int(words[2]) in ports}
    assert listening('fastdds_localhost.xml') <= {'127.0.0.1', '239.255.0.1'}
    assert '0.0.0.0' in listening('fastdds.xml')                     # the other way round: this is how one would see it


@pytest.mark.parametrize('name', PROFILES)
def test_figures_fit_together(name):
    root = ElementTree.parse(CONFIG / name).getroot()

    def figures(tag):
        return [int(element.text) for element in root.iter(f'{{http://www.eprosima.com}}{tag}')]
    segment, = figures('segment_size')
    queue, = figures('port_queue_capacity')
    pieces = figures('maxMessageSize')
    assert segment == SEGMENT_BYTES >= 15 * PICTURE_BYTES            # half a second of a camera at 30 Hz
    assert len(pieces) == 2 and max(pieces) <= 65500                 # a UDP datagram, of which the smaller limit holds for both
    assert queue * min(pieces) >= segment
    assert min(figures('receiveBufferSize') + figures('sendBufferSize')) >= PICTURE_BYTES
