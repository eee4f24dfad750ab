"""Simulated arms as a node: cameras, joints and one /clock out, joint trajectories in."""
import os
import sys
import time

from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.validate_namespace import validate_namespace
from rosgraph_msgs.msg import Clock

from diffusion_planner import config
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions, parameters
from diffusion_planner.ros.sim_arm import SimArm, best_effort
from diffusion_planner.ros.spin import end, run_node
from diffusion_planner.ros.wishes import locate, read_zones
from diffusion_planner.sim.env import ArmEnv, SimSettings
from diffusion_planner.sim.faults import Stream

TICK_STEPS = 2            # physics steps between messages on /clock: 120 Hz
FASTEST_TICK_S = 0.001    # a timer without a pause would take a core just to wait
REPEAT_S = 0.05           # while waiting in lock-step, say where everything stands this often (steady clock)
BURST = 2                 # ticks at once at most: a trajectory that arrives meanwhile waits for them in simulated time
BEHIND_S = 0.1            # farther behind the wall clock than this, the simulation lets the time go


def read_namespaces(text):
    """Read the parameter `namespaces`: -> tuple of names, ('',) for an empty text. Raises ConfigError."""
    names = tuple(name.strip() for name in text.split(','))
    if names == ('',):
        return names
    try:
        for name in names:
            validate_namespace(f'/{name}')
        sound = all(names) and len(set(names)) == len(names)
    except InvalidNamespaceException:
        sound = False
    if not sound:
        raise config.ConfigError(f'parameter namespaces: got {text!r}, expected different ROS names with commas between them, as left,right')
    return names


class SimNode(Node):
    """Everything runs in the executor's thread: a steady timer advances the physics, callbacks come in between."""

    def __init__(self):
        super().__init__('sim')
        self.arms = []
        parameters.declare(self, parameters.SIM, self._change)
        self.over, self.values = False, parameters.values(self, parameters.SIM)
        namespaces = self._require_sense()
        self.oddity, self.clock = self.values['oddity'], Stream('clock', self.values['inject_seed'])
        self._clock_out = None if self.values['wall_time'] else self.create_publisher(Clock, '/clock', best_effort(1))
        self._repeated_s = 0.0
        for number, namespace in enumerate(namespaces):
            self.arms.append(SimArm(self, self._make_env(number), namespace, number))
        self.period_s = TICK_STEPS * self.arms[0].env.period_s
        self.align()
        factor = self.values['real_time_factor']
        self.create_timer(self.period_s / factor if factor else FASTEST_TICK_S, self._tick, clock=RosClock(clock_type=ClockType.STEADY_TIME))

    def _require_sense(self):
        """Return the namespaces. Raises ConfigError."""
        if self.values['gui'] and sys.platform == 'linux' and not os.environ.get('DISPLAY'):
            raise config.ConfigError('parameter gui: got true, but DISPLAY is not set; expected a running X display')
        if self.values['real_time_factor'] == 0 and not self.values['lock_step']:
            raise config.ConfigError('parameter real_time_factor: got 0, expected above 0 unless lock_step is true')
        if self.values['wall_time'] and (self.values['real_time_factor'] != 1 or self.values['lock_step']):
            raise config.ConfigError(f'parameter wall_time: got true with real_time_factor {self.values["real_time_factor"]:g} and lock_step '
                                     f'{str(self.values["lock_step"]).lower()}, expected 1 and false')
        return read_namespaces(self.values['namespaces'])

    def _make_env(self, number):
        settings = SimSettings(distribution=self.values['distribution'],
                               interpolate_from_desired_state=self.values['interpolate_from_desired_state'])
        robot = config.load(Robot, locate(self.values['robot']))
        gui = self.values['gui'] and number == 0     # PyBullet has one window in a process
        return ArmEnv(settings, robot, gui, read_zones(self.values['objective']))

    def _change(self, changes):
        if 'scene_seed' in changes:
            for arm in self.arms:
                arm.want_seed(changes['scene_seed'])
        self.oddity = changes.get('oddity', self.oddity)   # unlike the seed it stays until it is set again

    def tell(self):
        """Report every arm's episode."""
        for arm in self.arms:
            arm.tell()

    # -- time

    @property
    def now_s(self):
        """Simulated seconds since the start: every arm's physics are at this instant."""
        return self.arms[0].env.now_s

    def said(self, now_s):
        """What is said of this instant: itself, or the system's time, unless a fault has wound the clock back: -> seconds"""
        return (time.time() if self.values['wall_time'] else now_s) + self.clock.kind.shift_s

    def align(self):
        """Let simulated time count from the wall clock's now."""
        self._wall_s, self._sim_s = time.monotonic(), self.now_s

    def _tick(self):
        """Advance as far as the wall clock, or in lock-step as far as the last trajectory of every arm, allows."""
        if self.values['lock_step'] and self._is_waiting():
            self.align()
            return
        factor = self.values['real_time_factor']
        if factor == 0:
            self._advance()
            return
        behind_s = (time.monotonic() - self._wall_s) * factor - (self.now_s - self._sim_s)
        if behind_s > BEHIND_S:
            self.get_logger().warning(f'{behind_s:.2f} s behind real time', throttle_duration_sec=5.0)
            self.align()
        for _ in range(min(int(behind_s / self.period_s), BURST)):
            self._advance()

    def _advance(self):
        for arm in self.arms:
            arm.advance(TICK_STEPS)
        self._say_clock((*self.clock.kind.take(self.said(self.now_s), self.now_s), *self.clock.kind.due(self.now_s)))
        for arm in self.arms:
            arm.tell_if_due()

    def _say_clock(self, instants_s):
        for instant_s in instants_s if self._clock_out else ():
            self._clock_out.publish(conversions.to_clock(instant_s))

    def _is_waiting(self):
        """Return whether any arm waits for a trajectory; meanwhile everybody says again where everything stands."""
        waiting = [arm.is_waiting() for arm in self.arms]
        now_s = time.monotonic()
        if not any(waiting):
            self._repeated_s = now_s
        elif now_s - self._repeated_s >= REPEAT_S:
            self._repeated_s = now_s
            self._say_clock(self.clock.kind.again(self.said(self.now_s), self.now_s))
            for arm in self.arms:
                arm.repeat()
        return any(waiting)

    def stop(self):
        for arm in self.arms:
            arm.stop()


def main(arguments=None):
    return run_node(SimNode, arguments)


def program():
    end(main())


if __name__ == '__main__':
    program()
