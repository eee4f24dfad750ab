"""One end of a camera's topic, for `bench camera`: python -m diffusion_planner.ros.camera_stream publish|subscribe OPTIONS (JSON)."""
import json
import resource
import sys
import time
from array import array
from dataclasses import dataclass

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from diffusion_planner.messages import read_image, read_stamp
from diffusion_planner.ros.conversions import to_time
from diffusion_planner.ros.spin import Signals, make_executor

TOPIC = 'bench/camera/image'
PATIENCE_S = 20.0       # for the other end to be there; a busy machine takes seconds to load rclpy


@dataclass(frozen=True)
class Stream:
    """What goes over the topic: rgb8 pictures at a rate, warm-up ones first, which nobody counts."""

    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    seconds: float = 20.0
    reliable: bool = False
    depth: int = 1
    readers: int = 1
    warm_up: int = 30

    @property
    def count(self):
        return max(1, round(self.seconds * self.rate_hz))

    def qos(self):
        reliability = ReliabilityPolicy.RELIABLE if self.reliable else ReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=self.depth, reliability=reliability)


def cpu_s():
    """Return the processor time of this process so far [s]."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def publish(node, stream, signals):
    """Send the pictures, each at its time: -> facts. A picture's number is its frame_id, -1 and below for warm-up."""
    publisher = node.create_publisher(Image, TOPIC, stream.qos())
    message = Image(height=stream.height, width=stream.width, encoding='rgb8', step=3 * stream.width)
    message.data = array('B', bytes(range(256)) * (3 * stream.width * stream.height // 256 + 1))[:3 * stream.width * stream.height]
    until_s = time.monotonic() + PATIENCE_S
    while publisher.get_subscription_count() < stream.readers and time.monotonic() < until_s and signals.received is None:
        time.sleep(0.02)
    begin_s, slowest_s, sent, cpu_before_s = time.monotonic() + 0.5, 0.0, 0, 0.0
    for number in range(-stream.warm_up, stream.count):
        if signals.received is not None:
            break
        time.sleep(max(0.0, begin_s + (number + stream.warm_up) / stream.rate_hz - time.monotonic()))
        if number == 0:
            cpu_before_s = cpu_s()
        now_s = time.monotonic()
        message.header.frame_id, message.header.stamp = str(number), to_time(now_s)   # the steady clock is one for all processes
        publisher.publish(message)
        slowest_s, sent = max(slowest_s, time.monotonic() - now_s), sent + (number >= 0)
    return {'sent': sent, 'readers': publisher.get_subscription_count(), 'slowest_publish_ms': 1e3 * slowest_s, 'cpu_s': cpu_s() - cpu_before_s}


class Reader:
    """Does in its callback what the planner node does: decode and keep the newest."""

    def __init__(self):
        self.newest, self.seen, self.latency_ms, self.cpu_before_s = None, set(), [], cpu_s()

    def take(self, message):
        now_s = time.monotonic()
        number = int(message.header.frame_id)
        self.newest = read_image(message, 'camera')
        if number < 0:
            self.cpu_before_s = cpu_s()
        elif number not in self.seen:
            self.seen.add(number)
            self.latency_ms.append(1e3 * (now_s - read_stamp(message.header.stamp)))


def subscribe(node, stream, signals):
    """Take pictures until a signal: -> facts"""
    reader = Reader()
    node.create_subscription(Image, TOPIC, reader.take, stream.qos())
    executor = make_executor()
    executor.add_node(node)
    while signals.received is None:
        executor.spin_once(timeout_sec=0.1)
    return {'received': len(reader.seen), 'latency_ms': reader.latency_ms, 'cpu_s': cpu_s() - reader.cpu_before_s}


def main(arguments=None):
    role, options = sys.argv[1:] if arguments is None else arguments
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    signals, node = Signals(), Node(f'camera_{role}', start_parameter_services=False)
    facts = {'publish': publish, 'subscribe': subscribe}[role](node, Stream(**json.loads(options)), signals)
    print(json.dumps(facts), flush=True)
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == '__main__':
    main()
