"""What tests of faults stand on: a simulated arm, a desk without one, and a look at the trajectories that were published."""
import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import Image
from std_msgs.msg import String

from diffusion_planner import config
from diffusion_planner.files import find
from diffusion_planner.records import ActionChunk, JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions
from diffusion_planner.safety import check_chunk
from diffusion_planner.splines import quintic_at

ROBOT = config.load(Robot, find('config/panda.yaml'))
AUTOSTART = ('autostart:=true', 'use_sim_time:=true')
AIRY = 36                 # a scene that begins high above the table: turning the hand touches nothing
AT_REST_RAD_S, IN_MOTION_RAD_S = 0.005, 0.15
SEAM = (1e-3, 0.02, 0.6)  # rad, rad/s, rad/s^2: the message's nanoseconds, and what the search for the instant leaves
OF_ITS_OWN = 'deadline misses', 'waiting for the arm to come to rest'
RESTING = 15              # joint states in a row, a third of a second: a hand that turns back is still for an instant, too


def stamp_s(message):
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


def seconds(duration):
    return duration.sec + 1e-9 * duration.nanosec


def chunk_of(message):
    """Read trajectory_msgs/JointTrajectory: -> ActionChunk that begins at 0, offsets from publication"""
    points = message.points
    rows = [np.array([getattr(point, field) for point in points]) for field in ('positions', 'velocities', 'accelerations')]
    return ActionChunk(0.0, np.array([seconds(point.time_from_start) for point in points]), *rows)


def seam(before, after):
    """Find the instant of one trajectory that another takes over from: -> largest differences there in rad, rad/s and rad/s^2"""
    old, new = chunk_of(before), chunk_of(after)
    states = quintic_at(old.offset_s, old.position_rad, old.velocity_rad_s, old.acceleration_rad_s2,
                        np.arange(old.offset_s[0], old.offset_s[-1] + 0.01, 0.0005))
    begin = new.position_rad[0], new.velocity_rad_s[0], new.acceleration_rad_s2[0]
    gaps = np.array([np.abs(values - start).max(axis=1) for values, start in zip(states, begin)])
    return gaps[:, (gaps / np.reshape(SEAM, (3, 1))).max(axis=0).argmin()]


class Told:
    """A planner and what it says from `mark` on. `orders` is the file by which a wayward planner is told to misbehave."""

    def __init__(self, bench, every=lambda: None):
        self.bench, self.see, self.every, self.orders = bench, bench.observer, every, bench.folder / 'orders'
        self._first, self._old = 0, 0

    def order(self, text):
        self.orders.write_text(text)

    def wait(self, condition, timeout_s=20.0):
        self.see.wait(condition, timeout_s, self.every)

    def mark(self):
        """Begin a test: only what comes now counts."""
        self._first, self._old = len(self.see.statuses), len(self.see.reasons[-1]) if self.see.reasons else 0
        self.see.trajectories.clear()
        self.see.plans.clear()

    def heard(self, state, text=''):
        """Return whether the planner was in a state, and said so, since the mark."""
        return any(name == state and any(text in reason for reason in reasons) for name, reasons in self.said())

    def said(self):
        """List what was said since the mark: -> (state, reasons) in order"""
        said = list(zip(self.see.statuses, self.see.reasons))
        before = [(state, reasons[self._old:]) for state, reasons in said[:self._first][-1:]]
        return before + said[self._first:]

    def is_undisturbed(self):
        """Return whether nothing was said since the mark but what a busy machine has of its own: deadline misses, and chunks that ran out."""
        return all(state == 'NOMINAL' or state == 'DEGRADED' and all(any(own in reason for own in OF_ITS_OWN) for reason in reasons)
                   for state, reasons in self.said() if reasons)

    def states(self):
        """List the states since the mark: -> list of str"""
        return self.see.statuses[self._first:]

    def wait_status(self, state, timeout_s=20.0):
        self.see.wait_status(state, timeout_s, self.every)

    def wait_trajectories(self, count, timeout_s=20.0):
        """Wait for so many more trajectories."""
        before = len(self.see.trajectories)
        self.wait(lambda: len(self.see.trajectories) >= before + count, timeout_s)

    def is_silent(self, duration_s=0.8):
        """Return whether no trajectory comes for a while, after what is on its way."""
        self.see.spin(0.2, self.every)
        before = len(self.see.trajectories)
        self.see.spin(duration_s, self.every)
        return len(self.see.trajectories) == before

    def fact(self, key):
        return self.see.fact(key) or ''

    def change(self, *transitions):
        """Take the planner through lifecycle transitions, by name: -> whether all went well"""
        return all(self.see.call('planner/change_state', ChangeState, ChangeState.Request(
            transition=Transition(id=getattr(Transition, f'TRANSITION_{name}'))), self.every).success for name in transitions)

    def begin_anew(self):
        self.change('DEACTIVATE', 'CLEANUP', 'CONFIGURE', 'ACTIVATE')

    def figures(self, name):
        """List a figure of the breakdown of every plan since the mark: -> list of float"""
        return [plan['breakdown'][name] for plan in self.see.plans]

    def check_trajectories(self):
        """Assert that every trajectory since the mark keeps the robot's limits and ends at rest."""
        assert [reasons for message in self.see.trajectories if (reasons := check_chunk(chunk_of(message), ROBOT))] == []


class Pair(Told):
    """A simulator with a fault injector and a wayward planner. Each test finds them NOMINAL and in motion, and leaves them so."""

    def __init__(self, bench, *parameters, kind='wayward'):
        super().__init__(bench)
        self.sim = bench.start('sim', f'scene_seed:={AIRY}', 'inject:=true')
        self.planner = bench.start(kind, *AUTOSTART, f'model:={self.orders}', *parameters) if kind else None
        self._inject, self._violations = self.see.create_publisher(String, 'sim/inject', 10), 0

    def begin(self):
        self.wait(lambda: self._inject.get_subscription_count() == 1 and 'faults' in self.see.episode, 30)
        self.see.spin(0.2)                  # what it has said while another test ran
        self.wait_status('NOMINAL', 30)
        self.wait_moving()
        self.mark()

    def end(self):
        """Take everything back, and assert that the arm never left its limits and the controller refused nothing."""
        self.order('')
        self.inject('none')
        if self.see.statuses[-1] == 'FAULT':
            self.see.call('planner/reset')
        self.see.wait_status('NOMINAL', 30)
        self.wait_moving()
        self.check()

    def check(self):
        moved_s = stamp_s(self.see.joints[-1])
        self.see.wait(lambda: self.see.episode['now_s'] > moved_s)
        before, self._violations = self._violations, self.see.episode['limit_violations']     # one test's fault is not that of the next
        assert self._violations == before, self.see.episode
        assert self.see.episode['rejected'] == {}
        self.check_trajectories()

    def inject(self, text):
        """Inject, and wait until the simulator says that it is in force."""
        part, _, fault = text.partition(' ')
        self._inject.publish(String(data=text))
        self.see.wait(lambda: self.see.episode['faults'] == {} if part == 'none' else self.see.episode['faults'].get(part, 'none').startswith(fault))

    def wait_moving(self, timeout_s=20.0):
        self.see.joints.clear()
        self.wait(lambda: self.see.speed_rad_s() > IN_MOTION_RAD_S, timeout_s)

    def wait_resting(self, timeout_s=20.0):
        self.see.joints.clear()
        self.wait(self.is_resting, timeout_s)

    def is_resting(self):
        recent = self.see.joints[-RESTING:]
        return len(recent) == RESTING and max(np.abs(message.velocity).max() for message in recent) < AT_REST_RAD_S

    def hand_rad(self):
        return self.see.joints[-1].position[-1]


class Sensors:
    """Publishes a standing arm and dim pictures at 50 Hz; each can be switched off, stamps and joints changed."""

    def __init__(self, observer, cameras=('camera',)):
        self.observer = observer
        self.publishers = {name: observer.create_publisher(Image, f'{name}/image', 5) for name in cameras}
        self.restore()

    def restore(self):
        """Let everything be as it should."""
        self.joints, self.cameras, self.size_px, self.level = True, set(self.publishers), 96, 0
        self.position_rad, self.stamp_s = np.array(ROBOT.home_rad), lambda now_s: now_s

    def __call__(self):
        at_s = self.stamp_s(self.observer.get_clock().now().nanoseconds * 1e-9)
        if self.joints:
            reading = JointReading(at_s, self.position_rad, np.zeros(7))
            self.observer.joint_publisher.publish(conversions.to_joint_state(reading, ROBOT.joint_names))
        for camera in self.cameras:
            level = self.level + int(20 * np.abs(self.position_rad - ROBOT.home_rad).sum())      # an arm elsewhere looks different
            pixels = level + np.tile(np.linspace(0, 40, self.size_px), (3, self.size_px, 1)).T.astype(np.uint8)
            self.publishers[camera].publish(conversions.to_image(pixels, at_s, 'optical'))


class Desk(Told):
    """A planner that stays where it is, on the wall clock, and sensors that the test makes up."""

    def __init__(self, bench, kind='wayward', *parameters, cameras=('camera',)):
        super().__init__(bench, Sensors(bench.observer, cameras))
        self.sensors = self.every
        self.order('rest')
        self.process = bench.start(kind, 'autostart:=true', f'model:={self.orders}', *parameters)

    def log(self):
        return self.process.log.read_text()

    def begin(self):
        self.see.spin(0.3, self.sensors)    # what it has said while nobody sent anything
        self.wait_status('NOMINAL', 30)
        self.mark()

    def end(self):
        """Take everything back."""
        self.order('rest')
        self.sensors.restore()
        self.see.spin(0.3, self.sensors)
        if self.see.statuses[-1] == 'FAULT':
            self.see.call('planner/reset', every=self.sensors)
        self.wait_status('NOMINAL', 30)
