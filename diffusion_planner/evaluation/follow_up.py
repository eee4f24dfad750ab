"""What a plan promised and what became of it."""
import numpy as np

GRACE_S = 0.5        # by which a promised reward may be late


def follow_up(plan, env, robot, alone=False):
    """Say what a plan promised and what became of it, by the trace of the episode: -> figures; alone: it was followed to its end

    'came': whether reward came by the time promised and GRACE_S more, None where the episode ended before that without it.
    'apart_m': mean distance of the fingertip from where the plan had it, as long as the episode went on.
    """
    trace = [instant for instant in env.trace if instant.now_s >= plan.origin_s]
    arrival_s = plan.origin_s + float(plan.offset_s[-1])
    rewarded = any(instant.reward > 0 for instant in trace if instant.now_s <= arrival_s + GRACE_S)
    over = not trace or trace[-1].now_s < arrival_s + GRACE_S - 0.05
    figures = {'came': True if rewarded else None if over and not alone else False,
               'after_s': round(plan.origin_s - env.begun * env.period_s, 3),
               **{name: round(float(value), 5) for name, value in plan.breakdown.items()}}
    within = [instant for instant in trace if plan.origin_s + plan.offset_s[0] <= instant.now_s <= arrival_s]
    if within:
        figures['apart_m'] = round(_apart_m(plan, within, robot), 5)
    return figures


def _apart_m(plan, within, robot):
    """Average the distance of the fingertip from where a plan has it: within [Instant] -> m"""
    planned_m = robot.tip_m(plan.position_rad)
    instants, really_m = np.array([instant.now_s for instant in within]) - plan.origin_s, np.array([instant.tip_m for instant in within])
    there_m = np.stack([np.interp(instants, plan.offset_s, column) for column in planned_m.T], 1)
    return float(np.linalg.norm(there_m - really_m, axis=1).mean())
