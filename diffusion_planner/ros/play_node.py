"""Play as a node: episode after episode of aimless motion on real topics, for somebody to record."""
import time
from typing import NamedTuple

from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float32, UInt32
from visualization_msgs.msg import Marker

from diffusion_planner import config
from diffusion_planner.records import JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions, parameters
from diffusion_planner.ros.parameters import Entry
from diffusion_planner.ros.spin import end, run_node
from diffusion_planner.ros.wishes import locate
from diffusion_planner.sim.task import REWARD_RADIUS_M

PLAY = (
    Entry('robot', 'config/panda.yaml', '', 'robot file: joint names and limits'),
    Entry('scene_seed', 1_000_000, '', 'seed of the first scene; scenes of a million and more are those of play', 0, 2**31 - 1),
    Entry('episodes', 0, '', 'how many episodes until the node ends; 0: until it is stopped', 0, 2**31 - 1),
    Entry('speed', 1.0, '', 'simulated seconds per second, while an episode lasts', 0.01, 1000.0),
    Entry('pause_s', 1.0, 's', 'simulated time between episodes', 0.1, 60.0),
    Entry('wait_for', 1, '', 'subscribers that joint states and pictures must each have before play begins', 0, 100),
)
DEPTH = 2000              # messages kept for a subscriber that is slow: several episodes
ACKNOWLEDGED_S = 20.0     # how long the end waits for slow subscribers to have it all
SETTLED_S = 1.5           # from the first subscriber on: by then the others of its node are there too
IDLE_S = 0.02
BASE_FRAME = 'panda_link0'


class Sample(NamedTuple):
    """What is published at one instant: (publisher, message) pairs."""

    stamp_s: float
    messages: list


class PlayNode(Node):
    """Plays episodes in order, so that equal parameters give equal messages, contacts and all that cannot be played left out."""

    def __init__(self):
        super().__init__('play')
        parameters.declare(self, PLAY)
        self.values = parameters.values(self, PLAY)
        self.robot = config.load(Robot, locate(self.values['robot']))
        kept = QoSProfile(depth=DEPTH)      # reliable: a recording is to be whole
        self.outputs = {name: self.create_publisher(kind, name, kept) for name, kind in (
            ('joint_states', JointState), ('camera/image', Image), ('reward', Float32), ('episode', UInt32), ('target', Marker), ('/clock', Clock))}
        self.played, self.thrown, self.over, self._heard_s = 0, 0, False, None
        self._seed, self._begin_s, self._pending = self.values['scene_seed'], 1.0, []
        self._make_world()
        self.create_timer(0.001, self._tick, clock=RosClock(clock_type=ClockType.STEADY_TIME))

    def _make_world(self):
        from diffusion_planner.sim.camera import Camera
        from diffusion_planner.sim.motion import PathFinder
        from diffusion_planner.sim.world import World
        self.world, self.camera = World(), Camera()
        self.finder = PathFinder(self.world, self.robot, self._seed)

    def _tick(self):
        """Publish what is due; draw the next episode when the last one is out."""
        if not self._pending:
            if self.values['episodes'] and self.played == self.values['episodes']:
                self._finish()
            elif self._is_heard():
                self._pending = self._draw()
                self._wall_s = time.monotonic()
            else:
                time.sleep(IDLE_S)
            return
        due_s = self._first_s + (time.monotonic() - self._wall_s) * self.values['speed']
        while self._pending and self._pending[0].stamp_s <= due_s:
            for publisher, message in self._pending.pop(0).messages:
                publisher.publish(message)
        if not self._pending:
            self._end_episode()

    def _is_heard(self):
        """Return whether those who shall hear the play are there."""
        fewest = min(self.outputs[name].get_subscription_count() for name in ('joint_states', 'camera/image'))
        if fewest < self.values['wait_for']:
            self._heard_s = None
            self.get_logger().info(f'waiting for {self.values["wait_for"]} subscriber(s) of joint_states and camera/image',
                                   throttle_duration_sec=10.0)
        elif self._heard_s is None:
            self._heard_s = time.monotonic()
        return self._heard_s is not None and time.monotonic() - self._heard_s >= SETTLED_S * bool(self.values['wait_for'])

    def _draw(self):
        """Play the next scene that can be played: -> list of Sample in order of time"""
        from diffusion_planner.sim.motion import NoPath
        from diffusion_planner.sim.rollout import Contact, play_episode
        while True:
            seed, self._seed = self._seed, self._seed + 1
            try:
                return self._samples(play_episode(self.world, self.robot, self.finder, self.camera, seed))
            except (NoPath, Contact):
                self.thrown += 1

    def _samples(self, episode):
        self._first_s = self._begin_s
        frames = {round(float(stamp_s), 4): pixels[0] for stamp_s, pixels in zip(episode.frame_stamp_s, episode.pixels)}
        samples = []
        for row, since_s in enumerate(episode.stamp_s.tolist()):
            stamp_s = self._begin_s + since_s
            messages = [('/clock', conversions.to_clock(stamp_s))]
            if (pixels := frames.get(round(since_s, 4))) is not None:
                messages += [('episode', UInt32(data=episode.seed)), ('camera/image', conversions.to_image(pixels, stamp_s, 'camera')),
                             ('target', conversions.to_ball(episode.privileged['target_m'], REWARD_RADIUS_M, stamp_s, BASE_FRAME))]
            reading = JointReading(stamp_s, episode.position_rad[row], episode.velocity_rad_s[row])
            # The reward has no stamp: who dates it by what comes around it must not find it late.
            messages += [('reward', Float32(data=float(episode.reward[row]))),
                         ('joint_states', conversions.to_joint_state(reading, self.robot.joint_names))]
            samples.append(Sample(stamp_s, [(self.outputs[name], message) for name, message in messages]))
        self._begin_s = stamp_s + self.values['pause_s']
        return samples

    def _end_episode(self):
        self.played += 1
        if self.played % 100 == 0 or self.played == self.values['episodes']:
            self.get_logger().info(f'{self.played} episodes played, {self.thrown} thrown away (contact, or no way)')

    def _finish(self):
        for publisher in self.outputs.values():       # nobody is left behind
            if not publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S)):
                self.get_logger().warning(f'{publisher.topic_name}: a subscriber has not taken everything within {ACKNOWLEDGED_S:g} s')
        self.over = True

    def stop(self):
        self.world.close()


def main(arguments=None):
    return run_node(PlayNode, arguments)


def program():
    end(main())


if __name__ == '__main__':
    program()
