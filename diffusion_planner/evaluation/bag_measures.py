"""What is measured of one step once its future is known: plans against what really happened, and judgements of what really happened."""
from dataclasses import replace

import numpy as np

from diffusion_planner.evaluation.bag_commands import infer
from diffusion_planner.evaluation.bag_imagined import Pictures
from diffusion_planner.evaluation.bag_recording import REWARD_GRACE_S
from diffusion_planner.splines import cubic_at

OFFSETS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0)      # from the instant at which a plan takes over
JUDGED_S = (0.5, 1.0, 2.0, 3.0, 4.0)                 # at which what really happened is judged as if it had been imagined
TOLD_S = 2.0                 # where the arm really is by then is told to a plan, of which only the way there is imagined
COMMAND_S, NEXT_S = 0.05, 0.25       # the command that inverse dynamics infers belongs here, from this instant and that one


class Measures:
    """Measures steps of one model; what it finds goes into step.figures."""

    def __init__(self, planner, robot, quiet_goal):
        self.planner, self.backend, self.robot, self.quiet_goal = planner, planner.backend, robot, quiet_goal
        horizon_s = planner.horizon_s
        self.offset_s = np.array([offset for offset in OFFSETS_S if offset <= horizon_s])
        self.judged_s = np.array([offset for offset in JUDGED_S if offset <= horizon_s])
        self.told_s = min(TOLD_S, horizon_s)

    def measure(self, step):
        """Measure everything that the recording allows."""
        figures, recording = step.figures, step.recording
        origin_s = step.handover.stamp_s
        figures['reward'] = recording.reward(step.now_s)
        executed_rad, _ = recording.motion(origin_s + self.offset_s)
        figures['motion'] = {name: self._apart(path, executed_rad) for name, path in self._paths(step).items()}
        true_s, tokens = self.true_tokens(step, origin_s, self.judged_s)
        figures['executed'] = self._judge(step, true_s, tokens)
        told = self._told(step, origin_s, true_s, tokens)
        figures['told'] = {name: self._apart(path, executed_rad) for name, path in told.items()}
        figures['dynamics'] = self._dynamics(step)
        figures['pictures'] = Pictures(self.backend, self.planner.cameras).compare(step, origin_s, true_s, tokens)
        figures['came'] = None if step.plan is None else recording.rewarded_within(origin_s, origin_s + float(step.plan.offset_s[-1]) + REWARD_GRACE_S)

    # -- motion

    def _paths(self, step):
        """Where each way of foretelling has the arm at the offsets: -> {name: position_rad [O, J]}, nan beyond a plan's arrival"""
        ahead_s, reading = step.handover.stamp_s + self.offset_s - step.reading.stamp_s, step.reading
        found = {'hold': np.repeat(reading.position_rad[None], len(self.offset_s), 0),
                 'constant_velocity': reading.position_rad + ahead_s[:, None] * reading.velocity_rad_s}
        for name, plan in (('guided', step.plan), ('unguided', step.quiet)):
            if plan is not None:
                found[name] = along(step.handover, plan.offset_s, plan.position_rad, plan.velocity_rad_s, self.offset_s)
        return found

    def _apart(self, path_rad, executed_rad):
        """Compare two paths: -> [O, 2]: rms over the joints in rad, distance of the fingertips in m; nan where either is not known"""
        joints = np.sqrt(np.square(path_rad - executed_rad).mean(1))
        known, tip_m = np.isfinite(joints), np.full(len(joints), np.nan)
        if known.any():
            tip_m[known] = np.linalg.norm(self.robot.tip_m(path_rad[known]) - self.robot.tip_m(executed_rad[known]), axis=1)
        return np.stack([joints, tip_m], 1)

    def _told(self, step, origin_s, true_s, tokens):
        """Imagine only the way to where the arm really was after told_s: -> {name: position_rad [O, J]}, {} where that is not known

        `smooth` knows the same: the cubic that has the position and the velocity of both ends.
        """
        if self.told_s not in true_s:
            return {}
        far, offset_s = tokens[list(true_s).index(self.told_s)][None, None], np.array([self.told_s], np.float32)
        way = self.backend.fill_in(step.contexts[1], far, np.array([0]), offset_s, self.planner.settings, step.seed)
        position_rad, velocity_rad_s, latent = (values[0] for values in self.backend.decode(way))
        knot_s = self.told_s * np.arange(1, len(position_rad) + 1) / len(position_rad)
        step.figures['way'] = knot_s, latent
        before = np.where(self.offset_s < self.told_s - 1e-6, self.offset_s, np.inf)
        end = slice(-1, None)
        return {'told': along(step.handover, knot_s, position_rad, velocity_rad_s, before),
                'smooth': along(step.handover, knot_s[end], position_rad[end], velocity_rad_s[end], before)}

    # -- judgements of what happened

    def true_tokens(self, step, origin_s, offset_s):
        """Bring instants that happened to network space, as far as joints, pictures and sensors are known: -> offset_s [N], tokens [N, D]"""
        position_rad, velocity_rad_s = step.recording.motion(origin_s + offset_s)
        rows = []
        for index, offset in enumerate(offset_s):
            seen = [step.recording.newest(name, origin_s + offset) for name in step.recording.seen]
            if np.isfinite(position_rad[index]).all() and all(record is not None for record in seen):
                rows.append((offset, position_rad[index], velocity_rad_s[index], seen))
        count, tokens = len(step.observation.offset_s), []
        for first in range(0, len(rows), count):
            part = rows[first:first + count]
            tokens += list(self._encoded(step.observation, [*part, *[part[-1]] * (count - len(part))])[:len(part)])
        return np.array([row[0] for row in rows]), _stacked(tokens)

    def _encoded(self, observation, rows):
        """Encode as many instants as a context has: -> tokens [C, D]"""
        cameras = len(self.planner.cameras)
        _, position_rad, velocity_rad_s, seen = (list(column) for column in zip(*rows))
        changed = {'position_rad': np.stack(position_rad), 'velocity_rad_s': np.stack(velocity_rad_s), 'level': np.zeros(len(rows)), 'picture_level': None,
                   'pictures': np.stack([np.stack([frame.pixels for frame in records[:cameras]]) for records in seen]),
                   'picture_stamp_s': np.array([[frame.stamp_s for frame in records[:cameras]] for records in seen])}
        if getattr(observation, 'sensors', None) is not None:
            changed |= {'sensors': np.stack([np.concatenate([reading.values for reading in records[cameras:]]) for records in seen]), 'sensor_level': None}
        tokens = self.backend.encode(replace(observation, **changed), self.quiet_goal).tokens
        return tokens.reshape(len(rows), -1)

    def _judge(self, step, true_s, tokens):
        """Judge what really happened as if it had been imagined: -> {figure: [O]}, None at offsets of which not all is known"""
        names = ('reward', 'panel', 'judge', 'typicality')
        found = {name: [None] * len(self.judged_s) for name in (*names, 'realised')}
        if len(true_s):
            judged = self.backend.judge_far(step.contexts[1], tokens[:, None], true_s.astype(np.float32), step.seed, True)
            for row, offset in enumerate(true_s):
                index = int(np.flatnonzero(self.judged_s == offset)[0])
                for name in names:
                    found[name][index] = float(judged[name][row])
                found['realised'][index] = step.recording.reward(step.handover.stamp_s + offset)
        return found

    def _dynamics(self, step):
        """Compare the command that inverse dynamics infers with where the arm was next: -> rad {of whom: mean over joints}, None if unknown"""
        at_s = step.now_s + np.array([0.0, COMMAND_S, NEXT_S])
        position_rad, velocity_rad_s = step.recording.motion(at_s)
        if not np.isfinite(position_rad).all():
            return None
        command_rad = infer(self.backend, *zip(position_rad[[0, 2]], velocity_rad_s[[0, 2]]), NEXT_S)
        said = {'hold': position_rad[0], 'constant_velocity': position_rad[0] + COMMAND_S * velocity_rad_s[0]}
        said |= {} if command_rad is None else {'model': command_rad}
        return {name: np.abs(values - position_rad[1]) for name, values in said.items()}


def _stacked(tokens):
    """Put tokens of either backend, arrays or tensors, on top of one another."""
    if not tokens or isinstance(tokens[0], np.ndarray):
        return np.array(tokens)
    import torch
    return torch.stack(tokens)


def along(handover, offset_s, position_rad, velocity_rad_s, at_s):
    """Sample a path from the state where it takes over: -> position_rad [N, J], nan beyond its end"""
    begun = [np.concatenate([first[None], rest]) for first, rest in ((handover.position_rad, position_rad), (handover.velocity_rad_s, velocity_rad_s))]
    path_rad = cubic_at(np.concatenate([[0.0], offset_s]), *begun, np.asarray(at_s))[0]
    return np.where((np.asarray(at_s) <= offset_s[-1] + 1e-6)[:, None], path_rad, np.nan)
