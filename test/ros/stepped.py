"""An engine whose planning thread is the test's own, before an arm that executes what is sent, on one clock that the test moves."""
import numpy as np
import planners

from diffusion_planner import config
from diffusion_planner.files import find
from diffusion_planner.planning.playback import sample
from diffusion_planner.records import JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions, engine, parameters
from diffusion_planner.ros.timebase import WallTime
from diffusion_planner.ros.worker import Hooks, Worker

ROBOT = config.load(Robot, find('config/panda.yaml'))
SCENE = np.random.default_rng(0).integers(20, 230, (96, 96, 3), np.uint8)


class TwoEyes(planners.Swing):
    cameras = ('left', 'right')


class Stepped(Worker):
    """Plans when the test says so."""

    def start(self):
        pass

    def is_alive(self):
        return not self._ending

    def join(self, timeout=None):
        pass


class Rig:
    """`turn` lets the arm follow, the engine see it, plan and look after itself: 20 ms of every clock at a time.

    `ahead_s` is by how much the stamps of joint states are ahead of the node's time.
    """

    def __init__(self, patch, kind=planners.Swing, simulated=False, load=None, **values):
        patch.setattr(engine, 'Worker', Stepped)
        self.now_s, self.sent, self.reports, self.logged, self.count, self.ahead_s = 100.0, [], [], [], 0, 0.0
        self.position_rad, self.velocity_rad_s, self.follows, self.unseen = np.array(ROBOT.home_rad), np.zeros(7), True, set()
        self.warned = []      # (what was doubtful, how many chunks were out)
        hooks = Hooks(self.clock, self._send, lambda *report: self.reports.append(report), self.logged.append,
                      warn=lambda reason: self.warned.append((reason, len(self.sent))))
        given = {entry.name: entry.default for entry in parameters.PLANNER} | values
        self.engine = engine.Engine(given, hooks, simulated, load or (lambda values, robot: kind(robot)), WallTime(self.clock, self.clock))
        for source in self.engine.inputs.sources.values():
            source._steady = self.clock

    def clock(self):
        return self.now_s

    def _send(self, chunk):
        conversions.to_joint_trajectory(chunk, ROBOT.joint_names, self.now_s)     # which refuses what is late
        self.sent.append(chunk)

    def start(self):
        self.see()
        self.engine.start()
        return self

    def see(self):
        """Move the arm on, and show it and its pictures, no two alike, unless `unseen` names them."""
        begun = [chunk for chunk in self.sent[-2:] if chunk.origin_s <= self.now_s]
        if begun and self.follows and self.now_s <= begun[-1].end_s + 0.03:
            state = sample(begun[-1], self.now_s)
            self.position_rad, self.velocity_rad_s = state.position_rad, state.velocity_rad_s
        inputs, self.count = self.engine.inputs, self.count + 1
        if inputs.JOINTS not in self.unseen:
            taken = JointReading(self.now_s + self.ahead_s, self.position_rad, self.velocity_rad_s)
            inputs.take_joints(conversions.to_joint_state(taken, ROBOT.joint_names))
        pixels = SCENE.copy()
        pixels[0, 0] = self.count % 251
        for camera in set(self.engine.history.cameras) - self.unseen:
            inputs.take_image(camera, conversions.to_image(pixels, self.now_s, camera))

    def turn(self, seconds=0.02):
        """Let time pass: -> what the engine said last"""
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.see()
            if self.engine.worker is not None:
                self.engine.worker.step()
            said = self.engine.watch()
        return said

    def until(self, state, seconds=10.0):
        """Turn until it says so: -> the reason"""
        for _ in range(round(seconds / 0.02)):
            said, reason = self.turn()
            if said == state:
                return reason
        raise AssertionError(f'{seconds:g} s, and the engine says {said}: {reason}')

    def speed_rad_s(self):
        return np.abs(self.velocity_rad_s).max()
