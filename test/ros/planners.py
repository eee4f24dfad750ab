"""Planners for tests, and a main that runs the real node around one: python planners.py NAME [ROS arguments]."""
import signal
import sys
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from diffusion_planner.planning.settings import NoSafeCandidate, PlannerSettings, StrangeScene
from diffusion_planner.records import ImaginedPlan


class Swing:
    """Turns the last joint to and fro, which touches nothing, whatever it sees."""

    context_offset_s, cameras, picture_shape = (-1.2, -0.4, 0.0), ('camera',), (96, 96, 3)
    sweep_rad, offset_s = 0.5, np.linspace(0.2, 2.0, 10)

    def __init__(self, robot, values=None):
        self.joint_names, self.robot, self.resets, self.count = robot.joint_names, robot, 0, 0
        self.settings, self.made, self.deadlines_s = PlannerSettings(), [], []     # (guard, goal) of every plan, and how long it may take

    def plan(self, observation, goal, seed, deadline_s=None):
        self.count += 1
        self.made.append((self.settings.guard, goal))
        self.deadlines_s.append(deadline_s)
        position_rad = np.tile(observation.position_rad[-1], (len(self.offset_s), 1))
        speed_rad_s = self.sweep_rad * self.direction(observation, seed)
        position_rad[:, -1] += speed_rad_s * self.offset_s
        velocity_rad_s = np.zeros_like(position_rad)
        velocity_rad_s[:, -1] = speed_rad_s
        return ImaginedPlan(observation.origin_s, self.offset_s, position_rad, velocity_rad_s, np.zeros((len(self.offset_s), 2)),
                            {'reward': 0.5, 'judge': 0.5, 'typicality': 0.1, 'steps': 2.5, **self.judged(goal)}, {}, {'total': 1.0},
                            np.full(len(self.offset_s), 0.5 if deadline_s else 0.0), {'far': 4, 'fill': 2 if deadline_s else 4})

    def measure(self, plan):
        return plan

    def direction(self, observation, seed):
        return 1 if seed % 8 < 4 else -1

    def judged(self, goal):
        """The figures of guarded guidance and of an objective, as the real planner names them."""
        figures = {'in_force': 0.25 * goal.guidance_scale, 'curvature': 0.9, 'ease': 0.5, 'region': 1.0, 'success': 0.75}
        for term in goal.objective.terms if goal.objective else ():
            figures |= {f'objective.{term.name}': 0.125, f'share.{term.name}': 1.0}
        return figures

    def reset(self):
        self.resets += 1

    def imagined_picture(self, plan):
        return np.zeros(self.picture_shape, np.uint8)


class Hold(Swing):
    """Stays where it is."""

    sweep_rad = 0.0


class Strange(Hold):
    """Refuses to plan from bright pictures."""

    bright = 128

    def plan(self, observation, goal, seed, deadline_s=None):
        if observation.pictures[-1].mean() > self.bright and self.settings.strange_limit < 3.1:
            raise StrangeScene({'picture': 3.1, 'latent': 0.4})
        return super().plan(observation, goal, seed, deadline_s)


class Wayward(Swing):
    """Swings about home and misbehaves as the file says that the parameter `model` names; after 'once' in one plan alone.

    `doubt` and `seen` in its plans are the noise level and the mean of each camera's newest picture.
    """

    width_rad = 0.6

    def __init__(self, robot, values):
        super().__init__(robot)
        self.orders, self.device, self.way, self.done = Path(values['model']), values['device'], 1, ''

    def order(self):
        return self.orders.read_text() if self.orders.exists() else ''

    def plan(self, observation, goal, seed, deadline_s=None):
        order = self.order()
        if order.startswith('once '):
            order, self.done = '' if order == self.done else order.removeprefix('once '), order
        self.obey(order)
        plan = super().plan(observation, goal, seed, deadline_s)
        self.spoil(plan, order)
        for index, camera in enumerate(self.cameras):
            doubt = 0.0 if observation.picture_level is None else observation.picture_level[-1, index]
            plan.breakdown.update({f'doubt {camera}': float(doubt), f'seen {camera}': float(observation.pictures[-1, index].mean())})
        return plan

    def direction(self, observation, seed):
        off_rad = observation.position_rad[-1, -1] - self.robot.home_rad[-1]
        self.way = self.way if abs(off_rad) < self.width_rad else -np.sign(off_rad)
        return 0 if self.order() == 'rest' else self.way

    def obey(self, order):
        """Do what comes before a plan, or instead of one."""
        if order == 'raise' or order == 'raise off the CPU' and self.device != 'cpu':
            raise MemoryError('out of memory')
        if order == 'refuse':
            raise NoSafeCandidate({'contact': 3})
        if order.startswith('sleep ') or order == 'slow at first' and self.count == 0:
            time.sleep(1.2 if order == 'slow at first' else float(order.split()[1]))
        while order == 'hang' and self.order() == 'hang':
            time.sleep(0.02)

    def spoil(self, plan, order):
        """Do what an order wants of a plan."""
        hand_rad = plan.position_rad[:, -1]
        if order in ('not a number', 'infinite'):
            plan.position_rad[4, 2] = np.nan if order == 'not a number' else np.inf
        elif order == 'too fast':
            hand_rad += 0.6 * np.sin(7 * self.offset_s)
        elif order == 'too far':
            hand_rad += 2.0 * self.way * self.offset_s
        elif order == 'outward':
            plan.position_rad[:, 3] += 0.2 * self.offset_s
        elif order in ('elsewhere', 'a little off'):
            hand_rad += 1.2 if order == 'elsewhere' else 0.15


class TwoEyes(Wayward):
    """Looks through two cameras."""

    cameras = ('left', 'right')


def stepping(node_module):
    """Let the system's time step an hour ahead, then behind, then back, at each SIGUSR1."""
    steps_s, shift_s = cycle((3600.0, -3600.0, 0.0)), [0.0]
    wall_time = node_module.WallTime
    node_module.WallTime = lambda: wall_time(system=lambda: time.time() + shift_s[0])
    signal.signal(signal.SIGUSR1, lambda *_: shift_s.append(next(steps_s)) or shift_s.pop(0))


def tripping(_node_module):
    """Let the callback of joint states raise from SIGUSR1 on."""
    from diffusion_planner.ros.inputs import Inputs
    take, tripped = Inputs.take_joints, []
    Inputs.take_joints = lambda self, message: [][0] if tripped else take(self, message)
    signal.signal(signal.SIGUSR1, lambda *_: tripped.append(True))


KINDS = {'swing': Swing, 'hold': Hold, 'strange': Strange, 'wayward': Wayward, 'two_eyes': TwoEyes}
ODD_NODES = {'stepping': stepping, 'tripping': tripping}     # around a wayward planner

if __name__ == '__main__':
    from diffusion_planner.ros import planner_node
    name = sys.argv.pop(1)
    ODD_NODES.get(name, lambda _: None)(planner_node)
    sys.exit(planner_node.main(load=lambda values, robot: KINDS.get(name, Wayward)(robot, values)))
