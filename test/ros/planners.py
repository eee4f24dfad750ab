"""Planners for tests, and a main that runs the real node around one: python planners.py NAME [ROS arguments]."""
import sys
import time

import numpy as np

from diffusion_planner.planning.settings import PlannerSettings, StrangeScene
from diffusion_planner.records import ImaginedPlan


class Swing:
    """Turns the last joint to and fro, which touches nothing, whatever it sees."""

    context_offset_s, cameras, picture_shape = (-1.2, -0.4, 0.0), ('camera',), (96, 96, 3)
    sweep_rad, offset_s = 0.5, np.linspace(0.2, 2.0, 10)

    def __init__(self, robot):
        self.joint_names, self.robot, self.resets, self.count = robot.joint_names, robot, 0, 0
        self.settings, self.made = PlannerSettings(), []     # (guard, goal) of every plan

    def plan(self, observation, goal, seed):
        self.count += 1
        self.made.append((self.settings.guard, goal))
        position_rad = np.tile(observation.position_rad[-1], (len(self.offset_s), 1))
        position_rad[:, -1] += self.sweep_rad * self.offset_s * (1 if seed % 8 < 4 else -1)
        velocity_rad_s = np.zeros_like(position_rad)
        velocity_rad_s[:, -1] = self.sweep_rad * (1 if seed % 8 < 4 else -1)
        return ImaginedPlan(observation.origin_s, self.offset_s, position_rad, velocity_rad_s, np.zeros((len(self.offset_s), 2)),
                            {'reward': 0.5, 'judge': 0.5, 'typicality': 0.1, **self.judged(goal)}, {}, {'total': 1.0})

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

    def plan(self, observation, goal, seed):
        if observation.pictures[-1].mean() > self.bright and self.settings.strange_limit < 3.1:
            raise StrangeScene({'picture': 3.1, 'latent': 0.4})
        return super().plan(observation, goal, seed)


class Broken(Swing):
    """Raises in every plan but those of the warm-up."""

    def plan(self, observation, goal, seed):
        if self.count >= 2:
            raise RuntimeError('out of memory')
        return super().plan(observation, goal, seed)


class Hanging(Swing):
    """Never comes back from the tenth plan."""

    def plan(self, observation, goal, seed):
        if self.count >= 9:
            time.sleep(3600)
        return super().plan(observation, goal, seed)


if __name__ == '__main__':
    from diffusion_planner.ros.planner_node import main
    kind = {'swing': Swing, 'hold': Hold, 'strange': Strange, 'broken': Broken, 'hanging': Hanging}[sys.argv.pop(1)]
    sys.exit(main(load=lambda values, robot: kind(robot)))
