"""The player as a node: plays a bag to the planner, in the bag's own time, and says in the end what the planner made of it."""
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from diffusion_planner.ros import conversions, parameters, replay_options
from diffusion_planner.ros.children import Child, stop
from diffusion_planner.ros.listener import Listener
from diffusion_planner.ros.replay_options import PLAYER
from diffusion_planner.ros.republish import Converter, offered
from diffusion_planner.ros.spin import end, run_node

TICK_S = 0.002        # between looks at the bag (steady clock)
CLOCK_S = 0.01        # between messages on /clock, in seconds of the bag where that is faster
BEHIND_S = 0.004      # by which /clock is behind what was published, so that what it dates has arrived
LONGEST_S = 0.03      # a look that comes later than this takes time out of the bag: nothing is played in a rush
LEAD_S = 0.5          # of clock alone before the first message
START_S = 120.0       # how long the planner may take to load its model
QUIET_S, PATIENCE_S = 1.0, 8.0     # after the bag: without a plan for so long all is said; the longest wait for that


class PlayerNode(Node):
    """Waits for the planner, plays, waits for the last plan, reports, and is over. `status` is 1 where that did not come to its end."""

    def __init__(self):
        super().__init__('player')
        parameters.declare(self, PLAYER)
        self.over, self.status, self.values = False, 0, parameters.values(self, PLAYER)
        self.recording, self.by = replay_options.open_checked(self.values)
        self.listener, self.sent, self._child = Listener(self), {}, None
        self._step, self._since_s, self._wall_s = self._wait, time.monotonic(), None
        if self.by == 'own':
            self._clock = self.create_publisher(Clock, '/clock', QoSProfile(depth=10))
            self._outputs = dict(self._make_outputs())
        self._timer = self.create_timer(TICK_S, self._tick, clock=RosClock(clock_type=ClockType.STEADY_TIME))

    def _make_outputs(self):
        bag, tracks = self.recording.bag, {(track.topic, track.to): track for track in self.recording.present}
        for track in tracks.values():      # what is joints and sensor at once is published once
            convert = Converter(bag, track.topic)
            if not convert.as_is:
                self.get_logger().warning(f'{track.topic}: {bag.topics[track.topic].type} is defined otherwise here; played field by field')
            yield track, (self.create_publisher(convert.kind, track.to, offered(bag.topics[track.topic].qos)), convert)

    def _tick(self):
        if not self.over:
            self._step()

    def _go_on(self, step):
        self._step, self._since_s = step, time.monotonic()

    def _fail(self, text):
        self.get_logger().error(text)
        self.over, self.status = True, 1

    # -- one after the other

    def _wait(self):
        """Wait until the planner listens."""
        if self.listener.state == 'FAULT':
            return self._fail(f'planner node says {self.listener.status}')
        if time.monotonic() > self._since_s + START_S:
            return self._fail(f'planner node says {self.listener.status or "nothing"} after {START_S:.0f} s, expected it to be active')
        if self.listener.state in ('', 'INACTIVE') or self.by == 'own' and not all(map(self._is_heard, self._outputs)):
            return
        self.get_logger().info(f'playing {self.recording.end_s - self.recording.begin_s:.1f} s of {self.recording.path} '
                               f'{"by ros2 bag play " * (self.by == "rosbag2")}at rate {self.values["rate"]:g}')
        self._wall_s = time.monotonic()
        (self._begin if self.by == 'own' else self._begin_rosbag2)()

    def _is_heard(self, track):
        return track.role == 'other' or self._outputs[track][0].get_subscription_count() > 0

    def _begin(self):
        self._now_s, self._looked_s, self._said_s = self.recording.begin_s - LEAD_S * self.values['rate'], time.monotonic(), 0.0
        self._messages = self.recording.messages()
        self._next = next(self._messages, None)
        self._go_on(self._play)

    def _play(self):
        """Publish what is due, and after it the time."""
        now_s, rate = time.monotonic(), self.values['rate']
        self._now_s += rate * min(now_s - self._looked_s, LONGEST_S)
        self._looked_s = now_s
        while self._next is not None and self._next.due_s <= self._now_s:
            self._publish(self._next)
            self._next = next(self._messages, None)
        if now_s - self._said_s >= CLOCK_S / max(rate, 1.0):
            self._said_s = now_s
            self._clock.publish(conversions.to_clock(max(self._now_s - BEHIND_S * min(rate, 4.0), 0.0)))
        if self._next is None and self._now_s > self.recording.end_s + BEHIND_S * min(rate, 4.0):
            self._end_playing()

    def _publish(self, due):
        if due.track not in self._outputs:
            return
        publisher, convert = self._outputs[due.track]
        try:
            publisher.publish(convert(due.data))
        except ValueError as error:
            self.get_logger().warning(f'{due.track.topic}: left out: {error}', throttle_duration_sec=5.0)
            return
        self.sent[due.track.topic] = self.sent.get(due.track.topic, 0) + 1

    def _begin_rosbag2(self):
        self._scratch = TemporaryDirectory(prefix='diffusion_planner_')
        self._child = Child('ros2 bag play', replay_options.rosbag2_command(self.recording, self.values), Path(self._scratch.name))
        self._go_on(self._follow)

    def _follow(self):
        """Wait for `ros2 bag play` to end."""
        status = self._child.process.poll()
        if status:
            return self._fail(f'{self._child.name} ended with exit status {status}: {" / ".join(self._child.tail(3))}')
        if status == 0:
            self._end_playing()

    def _end_playing(self):
        self._wall_s = time.monotonic() - self._wall_s
        self._diagnoses = self.listener.diagnoses
        self._go_on(self._settle)

    def _settle(self):
        """Wait for the plan under way, and for the planner's last figures."""
        now_s = time.monotonic()
        quiet = now_s - max(self.listener.heard_s, self._since_s) > QUIET_S and self.listener.diagnoses > self._diagnoses + 1
        if quiet or now_s > self._since_s + PATIENCE_S:
            self._report()
            self.over = True

    def _report(self):
        played = {'bag': str(self.recording.path), 'begin_s': self.recording.begin_s, 'end_s': self.recording.end_s, 'rate': self.values['rate'],
                  'player': self.by, 'wall_s': self._wall_s, 'messages': self.sent}
        for line in self.listener.summary():
            self.get_logger().info(line)
        if self.values['report']:
            replay_options.write_json(self.values['report'], {'played': played, **self.listener.record()})

    def stop(self):
        if self._child is not None:
            stop([self._child])
            self._scratch.cleanup()
        self.recording.close()


def main(arguments=None):
    """-> exit status: 0, 1 where it did not come to its end, 2 for a bag or a parameter that is no use"""
    made = []

    def make():
        made.append(PlayerNode())
        return made[0]
    status = run_node(make, arguments)
    return status or (made[0].status if made else 0)


def program():
    end(main())


if __name__ == '__main__':
    program()
