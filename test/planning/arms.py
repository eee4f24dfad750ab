"""Arms for tests of the planning cycle, and the plans that they are given."""
import numpy as np

from diffusion_planner import config
from diffusion_planner.files import find
from diffusion_planner.planning.cycle import CycleSettings, PlanningCycle
from diffusion_planner.planning.history import History
from diffusion_planner.planning.playback import sample
from diffusion_planner.records import Frame, ImaginedPlan, JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros.conversions import to_joint_trajectory
from diffusion_planner.sim.controller import TrajectoryController

ROBOT = config.load(Robot, find('config/panda.yaml'))
OFFSET_S = np.linspace(0.2, 2.0, 10)


def swing(observation, sweep_rad_s=0.5, joint=0):
    position_rad = np.tile(observation.position_rad[-1], (len(OFFSET_S), 1))
    position_rad[:, joint] += sweep_rad_s * OFFSET_S
    velocity_rad_s = np.zeros_like(position_rad)
    velocity_rad_s[:, joint] = sweep_rad_s
    return ImaginedPlan(observation.origin_s, OFFSET_S, position_rad, velocity_rad_s, np.zeros((10, 2)))


class Arm:
    """Executes the running chunk exactly, and reports it."""

    def __init__(self, settings=CycleSettings()):
        self.history = History(7, ('camera',))
        self.cycle = PlanningCycle(None, ROBOT, settings, self.history)
        self.now_s = 10.0
        self.position_rad = np.array(ROBOT.home_rad)
        self.see()

    def see(self):
        running = self.cycle.running
        if running is not None and self.now_s >= running.origin_s:
            self.position_rad = sample(running, self.now_s).position_rad
        self.history.append(JointReading(self.now_s, self.position_rad, np.zeros(7)))
        self.history.append(Frame(self.now_s, 'camera', np.zeros((2, 2, 3), np.uint8)))

    def wait(self, seconds):
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.see()

    def plan(self, takes_s=0.1, **swinging):
        observation, handover = self.cycle.begin(self.now_s)
        self.wait(takes_s)
        return self.cycle.finish(swing(observation, **swinging), handover, self.now_s)


class Driven(Arm):
    """Executes what a controller commands, which gets only the chunks that are sent to it; shows every command lag_s late.

    `held_rad` is where something holds the arm, whatever is commanded; `commands` are (s, position, velocity, acceleration) [J] each.
    """

    PERIOD_S = 0.01

    def __init__(self, settings=CycleSettings(), lag_s=0.0, distribution='jazzy'):
        self.controller = TrajectoryController(ROBOT.joint_names, self.PERIOD_S, distribution)
        self.controller.reset(ROBOT.home_rad)
        self.lag_s, self.held_rad, self.commands = lag_s, None, []
        super().__init__(settings)

    def see(self):
        self.commands.append((self.now_s, *self.controller.reference(self.now_s)))
        shown = self.commands[max(len(self.commands) - 1 - round(self.lag_s / self.PERIOD_S), 0)]
        self.position_rad, velocity_rad_s = (shown[1], shown[2]) if self.held_rad is None else (self.held_rad, np.zeros(7))
        self.history.append(JointReading(self.now_s, self.position_rad, velocity_rad_s))
        self.history.append(Frame(self.now_s, 'camera', np.zeros((2, 2, 3), np.uint8)))

    def wait(self, seconds):
        for _ in range(round(seconds / self.PERIOD_S)):
            self.now_s = round(self.now_s + self.PERIOD_S, 6)
            self.see()

    def plan(self, takes_s=0.1, lost=False, **swinging):
        chunk = super().plan(takes_s, **swinging)
        if not lost:
            self.send(chunk)
        return chunk

    def send(self, chunk):
        """Hand a chunk to the controller, which begins with it in its next cycle."""
        message = to_joint_trajectory(chunk, ROBOT.joint_names, self.now_s + self.PERIOD_S)
        assert self.controller.accept(message, self.now_s) == []

    def accelerations(self, since_s=0.0):
        """Return what the commands needed from one to the next, as a share of the robot's limits: -> [N, J]"""
        velocity = np.stack([velocity_rad_s for stamp_s, _, velocity_rad_s, _ in self.commands if stamp_s >= since_s])
        return np.abs(np.diff(velocity, axis=0)) / self.PERIOD_S / np.array(ROBOT.acceleration_max_rad_s2)
