"""Whether what was really executed keeps to an objective: every term, on the motion that the encoders measured."""
import numpy as np

FINE = 2     # points per stretch, as of a motion that is dense already: encoders are read more often than plans are looked at


class Score:
    """Scores executed motion by an objective of objectives.spec; in float64, one batch per episode."""

    def __init__(self, objective):
        self.objective = objective

    def least(self, trace, plans):
        """Measure every term on an episode: trace [sim.env.Instant], plans [ImaginedPlan] -> {name: robustness}, below 0 where it is broken

        Limits count at every instant, from the first one on at which they are kept: an arm that begins inside a zone has not entered it.
        Formulas, which speak of seconds from a plan's beginning, are asked from the beginning of each plan over its length, as if the
        arm stood still where the episode ends before that; the least counts. A goal pose is asked at the end of the episode.
        """
        if not trace:
            return {}
        position_rad, velocity_rad_s = (np.stack([getattr(instant, name) for instant in trace]) for name in ('position_rad', 'velocity_rad_s'))
        now_s = np.array([instant.now_s for instant in trace])
        states = self._motion(position_rad[:, None], velocity_rad_s[:, None], np.zeros((len(now_s), 1)))
        windows, found = _windows(now_s, plans), {}
        stretches = self._motion(position_rad[windows[0]], velocity_rad_s[windows[0]], windows[1]) if plans else None
        for term in self.objective.terms:
            if term.formula is None:
                values = term.value(states).numpy()
                found[term.name] = float(_once_kept(values).min() if term.bounded else values[-1])
            elif stretches is not None:
                found[term.name] = float(term.value(stretches).min())
        return found

    def _motion(self, *columns):
        import torch

        from diffusion_planner.objectives.motion import Motion
        return Motion(*(torch.as_tensor(column, dtype=torch.float64) for column in columns), self.objective.kinematics, FINE)


def _once_kept(values):
    """Leave out what comes before the first value of at least 0, or nothing where there is none: [N] -> [M]"""
    return values[np.argmax(values >= 0):]


def _windows(now_s, plans):
    """Find the instants of each plan's length: now_s [N] -> indices [P, T], offset_s [P, T]; the last one is repeated in shorter ones

    A repeated instant has the offset of the first: nothing happens after the end of a motion.
    """
    if not plans:
        return None, None
    first = [min(int(np.searchsorted(now_s, plan.origin_s - 1e-9)), len(now_s) - 1) for plan in plans]
    last = [max(start, int(np.searchsorted(now_s, plan.origin_s + float(plan.offset_s[-1]) + 1e-9)) - 1) for plan, start in zip(plans, first)]
    longest = max(end - start for start, end in zip(first, last)) + 1
    indices = np.minimum(np.array(first)[:, None] + np.arange(longest), np.array(last)[:, None])
    return indices, np.maximum(0.0, now_s[indices] - np.array([plan.origin_s for plan in plans])[:, None])
