"""Steps of a walk as those who draw them see them."""
import numpy as np

from diffusion_planner.evaluation.bag_imagined import decoded
from diffusion_planner.evaluation.bag_measures import along
from diffusion_planner.evaluation.bag_records import Moment

POINTS, REACH_S = 41, 4.0      # of each path that is drawn


def moment_of(step, planner, robot):
    """Make a Moment of a step that was measured but has not forgotten its observation: -> bag_records.Moment"""
    lead_s = step.handover.stamp_s - step.now_s
    offset_s = np.linspace(0, min(REACH_S, planner.horizon_s), POINTS)[1:]
    executed_rad, _ = step.recording.motion(step.handover.stamp_s + offset_s)
    paths = {name: _path(step, plan, offset_s) for name, plan in (('planned', step.plan), ('unguided', step.quiet))}
    figures = {'strangeness': max(step.figures['strange'].values(), default=None), 'picture_age_s': max(step.figures['picture_age_s'].values(), default=None)}
    if step.plan:
        figures |= {'predicted_reward': step.plan.breakdown['reward'], 'judge': step.plan.breakdown['judge'], 'typicality': step.plan.breakdown['typicality']}
    imagined = [decoded(planner.backend, step.plan.latent[-1], number) for number in range(len(planner.cameras))] if step.plan else [None]
    return Moment(step.since_s, step.reading.position_rad, step.episode, robot.tip_m(step.reading.position_rad), step.observation.pictures[-1].copy(),
                  step.figures['reward'], lead_s + offset_s, paths['planned'], paths['unguided'], executed_rad,
                  _tips(robot, paths['planned']), _tips(robot, executed_rad),
                  None if any(pixels is None for pixels in imagined) else np.stack(imagined), step.refusal, figures)


def _path(step, plan, offset_s):
    """Sample a plan, nan beyond its arrival: -> position_rad [T, J], None without one"""
    return None if plan is None else along(step.handover, plan.offset_s, plan.position_rad, plan.velocity_rad_s, offset_s)


def _tips(robot, path_rad):
    return None if path_rad is None else robot.tip_m(path_rad)
