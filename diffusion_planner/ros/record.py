"""Record topics into a bag, for machines without rosbag2: raw subscriptions, no message is decoded."""
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from diffusion_planner.config import ConfigError
from diffusion_planner.data.bag_writer import BagWriteError, BagWriter
from diffusion_planner.ros.sensing import message_class

DEPTH = 2000                 # messages that a topic may be ahead of this process
POLL_S = 0.005
LOOK_S = 0.5                 # between two looks for new topics, and two updates of the table
RATE_OVER_S = 3.0
OWN = ('/parameter_events', '/rosout')


@dataclass
class Track:
    """What is known of one recorded topic."""

    msgtype: str = ''
    messages: int = 0
    bytes: int = 0
    lost: int = 0
    note: str = 'waiting for a publisher'
    last_s: float = 0.0
    recent: deque = field(default_factory=lambda: deque([], 64))     # (when, messages so far), for the rate
    numbers: dict = field(default_factory=dict)                      # publisher -> number of its newest message

    def count(self, data, info, now_s):
        """Count a message, and those between it and the one before from the same publisher, which got lost."""
        self.messages, self.bytes, self.last_s = self.messages + 1, self.bytes + len(data), now_s
        publisher, number = info.get('publisher_gid'), info.get('publication_sequence_number')
        if publisher and number:       # jazzy and older do not tell them
            key = bytes(publisher['data'])
            self.lost += max(0, number - self.numbers.get(key, number - 1) - 1)
            self.numbers[key] = number

    def rate_hz(self, now_s):
        """Messages per second lately."""
        while len(self.recent) > 1 and self.recent[0][0] < now_s - RATE_OVER_S:
            self.recent.popleft()
        if not self.recent or now_s - self.recent[0][0] < LOOK_S / 2:
            return 0.0
        begun_s, before = self.recent[0]
        return (self.messages - before) / (now_s - begun_s)


class Recorder:
    """Subscribes to topics as they appear and writes what they bring, in the order in which the middleware received it.

    topics: names, () for whatever there is. Messages are taken from the middleware by hand: an executor costs thirty times as much for
    each, and says neither when it was received nor whether one before it is missing.
    """

    def __init__(self, node, writer, topics=()):
        self.node, self.writer, self.wanted = node, writer, tuple(topics)
        self.tracks = {topic: Track() for topic in self.wanted}
        self._subscriptions = {}

    def look(self):
        """Subscribe to what has appeared. Raises BagWriteError where a topic that was asked for cannot be recorded."""
        for topic, types in self.node.get_topic_names_and_types():
            if topic in self._subscriptions or (topic not in self.wanted if self.wanted else topic in OWN):
                continue
            publishers = self.node.get_publishers_info_by_topic(topic)
            if publishers:
                self._subscribe(topic, types, publishers)
        now_s = time.monotonic()
        for track in self.tracks.values():
            track.recent.append((now_s, track.messages))

    def _subscribe(self, topic, types, publishers):
        track = self.tracks.setdefault(topic, Track())
        try:
            if len(types) > 1:
                raise BagWriteError(f'published as {" and as ".join(types)}, expected one type')
            kind = message_class(types[0])
            self.writer.add_topic(topic, types[0], [_stored(publisher.qos_profile) for publisher in publishers])
        except (BagWriteError, ConfigError) as error:
            if self.wanted:
                raise BagWriteError(f'{topic}: {error}') from None
            track.note, self._subscriptions[topic] = f'left out: {error}', None
            return
        track.msgtype, track.note = types[0], ''
        self._subscriptions[topic] = self.node.create_subscription(kind, topic, lambda _: None, _matching(publishers), raw=True)

    def take(self):
        """Write what has come since the last call: -> number of messages. Raises OSError where the disk does not take it."""
        now_s, taken = time.monotonic(), []
        for topic, subscription in self._subscriptions.items():
            if subscription is not None:
                taken += self._take_from(topic, subscription, self.tracks[topic], now_s)
        for stamp_ns, topic, data in sorted(taken, key=lambda item: item[0]):
            self.writer.write(topic, stamp_ns, data)
        return len(taken)

    def _take_from(self, topic, subscription, track, now_s):
        taken = []
        with subscription.handle:
            while len(taken) < DEPTH and (item := subscription.handle.take_message(subscription.msg_type, True)) is not None:
                data, info = item
                track.count(data, info, now_s)
                taken.append((info.get('received_timestamp') or time.time_ns(), topic, data))
        return taken


def _matching(publishers):
    """Choose what every publisher of a topic can serve: -> QoSProfile"""
    reliable = all(publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE for publisher in publishers)
    latched = all(publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for publisher in publishers)
    return QoSProfile(depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE)


def _stored(profile):
    """Put a profile into the form that bags hold: -> rosbags.interfaces.Qos"""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    def time_of(duration):
        return QosTime(*divmod(duration.nanoseconds, 10**9))
    return Qos(QosHistory(int(profile.history)), profile.depth, QosReliability(int(profile.reliability)), QosDurability(int(profile.durability)),
               time_of(profile.deadline), time_of(profile.lifespan), QosLiveliness(int(profile.liveliness)),
               time_of(profile.liveliness_lease_duration), profile.avoid_ros_namespace_conventions)


def table(recorder, path, begun_s):
    """Show what is being recorded: -> rich.table.Table"""
    from rich.table import Table
    now_s = time.monotonic()
    total = sum(track.bytes for track in recorder.tracks.values())
    shown = Table(title=f'{path}   {now_s - begun_s:.0f} s   {total / 1e6:.1f} MB   Ctrl-C ends the recording')
    for name, justify in (('topic', 'left'), ('type', 'left'), ('messages', 'right'), ('Hz', 'right'), ('MB', 'right'), ('lost', 'right'), ('', 'left')):
        shown.add_column(name, justify=justify)
    for topic, track in sorted(recorder.tracks.items()):
        silent = '' if not track.messages or now_s - track.last_s < RATE_OVER_S else f'silent for {now_s - track.last_s:.0f} s'
        shown.add_row(topic, track.msgtype, str(track.messages), f'{track.rate_hz(now_s):.1f}', f'{track.bytes / 1e6:.2f}',
                      str(track.lost or ''), track.note or silent)
    return shown


def record(out, topics=(), duration_s=None, domain=None, compressed=True, is_over=lambda: False):
    """Record until a signal, for duration_s, or until is_over(): -> exit status

    0 where something was recorded, 1 where nothing was, naming the topics that did not speak. Raises BagWriteError and OSError.
    """
    stop = threading.Event()
    kept = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    node = Node('record', context=context, start_parameter_services=False)
    try:
        with BagWriter(out, compressed) as writer:
            recorder = Recorder(node, writer, topics)
            end_s = time.monotonic() + (float('inf') if duration_s is None else duration_s)
            _run(recorder, out, lambda: stop.is_set() or time.monotonic() >= end_s or is_over())
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
        for number, handler in kept.items():
            signal.signal(number, handler)
    return _outcome(recorder, out)


def _run(recorder, out, is_over):
    from rich.console import Console
    from rich.live import Live
    begun_s, looked_s = time.monotonic(), -LOOK_S
    with Live(console=Console(), auto_refresh=False) as live:
        while not is_over():
            if time.monotonic() - looked_s >= LOOK_S:
                recorder.look()
                live.update(table(recorder, out, begun_s), refresh=True)
                looked_s = time.monotonic()
            if not recorder.take():
                recorder.writer.secure_if_due()
                time.sleep(POLL_S)
        recorder.take()
        live.update(table(recorder, out, begun_s), refresh=True)


def _outcome(recorder, out):
    total = sum(track.messages for track in recorder.tracks.values())
    silent = sorted(topic for topic, track in recorder.tracks.items() if not track.messages)
    if silent:
        print(f'diffusion-planner: {out}: nothing came on {", ".join(silent)}', file=sys.stderr)
    if not total:
        print(f'diffusion-planner: {out}: holds no message; expected somebody to publish', file=sys.stderr)
    return 0 if total else 1


def topics_of(path):
    """Name the topics that a mapping file mentions: -> tuple of str. Raises ConfigError."""
    from diffusion_planner.data import mapping
    return tuple(dict.fromkeys(mapping.load(path)[0].needed().values()))
