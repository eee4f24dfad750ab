"""Live plans against offline ones: the bag is walked again without clock or middleware, and every plan is made anew.

The node says when each plan began and what it was made from (`made_from` in ~/plan). A plan is made twice at most: from what the bag
shows at that instant, and, where the node had seen something else, from what it had seen. The first tells what the middleware and the
node's threads do to plans, the second whether the planner is the same.
"""
from collections import deque

import numpy as np

from diffusion_planner.messages import fit, read_image
from diffusion_planner.planning.history import NotReady
from diffusion_planner.planning.settings import NoSafeCandidate
from diffusion_planner.records import Goal
from diffusion_planner.ros.circumstances import numbers, observation_of
from diffusion_planner.ros.engine import Engine, load_shipped
from diffusion_planner.ros.worker import Hooks

TOLERANCE_RAD = 1e-4
SAME_RAD, SAME_S = 1e-6, 1e-6     # contexts that differ by less are the same
SLACK_S = 0.05                    # of ROS time: what arrives within it of a plan's beginning may or may not have been there
PICTURES = 100                    # kept per camera, to make a plan again from what the node had


class Walk:
    """The node without ROS: its engine, to which the bag's messages come when somebody asks for an instant."""

    fine = False

    def __init__(self, recording, values, load=load_shipped):
        self.recording, self._now_s, self._waiting, self._messages = recording, 0.0, deque(), recording.messages()
        self.logged, self._pictures = [], {}
        hooks = Hooks(self.now_s, lambda chunk: None, lambda *report: None, self.logged.append)
        self.engine = Engine(values, hooks, True, load, self)
        self.planner = self.engine.planner

    def now_s(self):
        return self._now_s

    def of_stamp(self, stamp_s):
        return stamp_s

    def go_to(self, made_from):
        """Take in what had arrived when a plan began. Of what came within SLACK_S of that, what the node says it had."""
        now_s, newest_s = made_from['now_s'], self._newest_s(made_from)
        while self._messages is not None and (not self._waiting or self._waiting[-1].due_s <= now_s + SLACK_S):
            if (due := next(self._messages, None)) is None:
                self._messages = None
            else:
                self._waiting.append(due)
        ahead = []
        while self._waiting and self._waiting[0].due_s <= now_s + SLACK_S:
            due = self._waiting.popleft()
            stamp_s = due.due_s if due.stamp_s is None else due.stamp_s
            if due.due_s <= now_s or stamp_s <= newest_s.get((due.track.role, due.track.name), -np.inf) + SAME_S:
                self._take(due)
            else:
                ahead.append(due)
        self._waiting.extendleft(reversed(ahead))
        self._now_s = now_s

    def _newest_s(self, made_from):
        """Read the newest stamps that the node had: -> (role, name) -> seconds"""
        seen = numbers(made_from['observation']['picture_stamp_s'])
        newest_s = {('camera', name): stamp_s for name, stamp_s in zip(self.engine.history.cameras, seen[-1])}
        return newest_s | {('joints', ''): made_from['reading_stamp_s']}

    def _take(self, due):
        self._now_s, inputs, track = due.due_s, self.engine.inputs, due.track
        if track.role == 'other':
            return
        try:
            message = self.recording.bag.decode(track.topic, due.data)
        except ValueError:
            return
        if track.role == 'joints':
            inputs.take_joints(message)
        elif track.role == 'sensor':
            inputs.take_sensor(track.name, message)
        else:
            inputs.take_image(track.name, message)
            kept = self._pictures.setdefault(track.name, deque(maxlen=PICTURES))
            kept.append((due.stamp_s, message))

    def observe(self):
        """Look at the bag as a plan would that begins now: -> Observation, MotionState where it takes over. Raises NotReady."""
        return self.engine.cycle.begin(self._now_s)

    def chunk(self, plan, handover):
        """Shape a plan into a chunk as the node does: -> position_rad [H, J], None where it cannot be"""
        chunk = self.engine.cycle.finish(plan, handover, self._now_s)
        return None if chunk is None else chunk.position_rad

    def pictures(self, stamps_s):
        """Find the pictures with stamps [C, V]: -> pixels [C, V, Y, X, 3]. Raises KeyError for one that is not in the bag."""
        cameras = self.engine.history.cameras
        return np.stack([np.stack([self._picture(camera, stamp_s) for camera, stamp_s in zip(cameras, row)]) for row in stamps_s])

    def _picture(self, camera, stamp_s):
        shape = self.planner.picture_shape
        if stamp_s == -np.inf:
            return np.zeros(shape, np.uint8)
        for kept_s, message in self._pictures.get(camera, ()):
            if abs(kept_s - stamp_s) < SAME_S:
                return fit(read_image(message, camera).pixels, shape)
        raise KeyError(f'{camera}: no picture of {stamp_s:.3f} s in the bag')

    def plan(self, observation, said, previous):
        """Make a plan as the node made it: -> ImaginedPlan, None where it is refused"""
        self.planner.previous, self.planner.refused = previous, said['made_from']['refused']
        steps = said['steps']
        goal = Goal(guidance_scale=said['guidance']['requested'])
        try:
            return self.planner.plan(observation, goal, said['seed'], stop_after=steps if {'far', 'fill'} <= steps.keys() else None)
        except NoSafeCandidate:
            return None


def compare(recording, values, live, console=None, load=load_shipped):
    """Make every live plan again, offline: compare(Recording, the planner's parameters, what Listener.record wrote) -> dict of figures"""
    walk, rows, made = Walk(recording, values, load), [], {}
    for said in _progress([said for said in live['plans'] if 'made_from' in said], console):
        rows.append(_compared(walk, said, made))
    shaped = [row['chunk_rad'] for row in rows if row['chunk_rad'] is not None]
    return _figures(rows) | {'chunks': len(live['chunks']), 'chunks_agree': sum(_is_among(np.array(chunk), shaped) for chunk in live['chunks'])}


def _is_among(chunk_rad, others):
    """Tell whether a chunk's positions [H, J] are those of another."""
    return any(other.shape == chunk_rad.shape and np.abs(other - chunk_rad).max() <= TOLERANCE_RAD for other in others)


def _progress(plans, console):
    """Show how far the comparison is."""
    if console is None:
        return plans
    from rich.progress import track
    return track(plans, 'making the plans again', console=console, transient=True)


def _compared(walk, said, made):
    """Make one plan again: -> row; `made` keeps those made from the node's own inputs, by origin, for the ones that go on with them."""
    made_from, why, plan, chunk_rad = said['made_from'], [], None, None
    walk.go_to(made_from)
    previous = made.get(made_from['previous_s'])
    if made_from['previous_s'] is not None and previous is None:
        why.append('the plan before it was not heard')
    try:
        observation, handover = walk.observe()
        why += differences(made_from, observation, walk.engine.history.cameras)
        plan = walk.plan(observation, said, previous)
        chunk_rad = None if plan is None else walk.chunk(plan, handover)
    except NotReady as missing:
        why.append(f'offline {missing}')
    remade = plan
    if why:
        try:
            remade = walk.plan(observation_of(made_from, walk.pictures(numbers(made_from['observation']['picture_stamp_s']))), said, previous)
        except KeyError as missing:
            remade = None
            why.append(str(missing.args[0]))
    made[said['origin_s']] = remade
    return {'now_s': made_from['now_s'], 'why': why, 'rad': _difference_rad(said, plan), 'remade_rad': _difference_rad(said, remade),
            'chunk_rad': chunk_rad}


def _difference_rad(said, plan):
    """Hold a plan against the live one: -> differences of positions [T, J]; inf where it was refused or is of another length"""
    live_rad = numbers(said['position_rad'])
    return np.full_like(live_rad, np.inf) if plan is None or plan.position_rad.shape != live_rad.shape else np.abs(plan.position_rad - live_rad)


def differences(made_from, observation, cameras):
    """Name what the node had seen otherwise than the bag shows it: -> list of str, empty where it is the same"""
    seen, why = made_from['observation'], []
    far_rad = np.abs(numbers(seen['position_rad']) - observation.position_rad).max(axis=1)
    for row in np.flatnonzero(far_rad > SAME_RAD):
        why.append(f'joints at {observation.offset_s[row]:+g} s differ by {far_rad[row]:.2g} rad')
    had_s = numbers(seen['picture_stamp_s'])
    for row, camera in np.argwhere(~np.isclose(had_s, observation.picture_stamp_s, rtol=0, atol=SAME_S)):     # both may be -inf
        why.append(f'{cameras[camera]} at {observation.offset_s[row]:+g} s: had the picture of {had_s[row, camera]:.3f} s, '
                   f'the bag has one of {observation.picture_stamp_s[row, camera]:.3f} s by then')
    for name in ('sensors', 'level', 'picture_level', 'sensor_level'):
        offline = getattr(observation, name)
        if offline is not None and not why and not np.allclose(numbers(seen[name]), offline, rtol=SAME_RAD, atol=SAME_RAD):
            why.append(f'{name} differ by {np.abs(numbers(seen[name]) - offline).max():.2g}')
    return why


def _figures(rows):
    """Put rows together: -> dict; None for a difference that is no number, because a plan was refused"""
    largest, remade = ([float(np.max(row[name])) for row in rows] for name in ('rad', 'remade_rad'))
    same = [value for value, row in zip(largest, rows) if not row['why']]
    finite = np.concatenate([np.ravel(row['rad']) for row in rows if np.isfinite(row['rad']).all()] or [np.zeros(0)])
    others = [{'now_s': row['now_s'], 'largest_rad': _told(far), 'remade_rad': _told(again), 'why': row['why'] or ['another plan was chosen']}
              for row, far, again in zip(rows, largest, remade) if row['why'] or far > TOLERANCE_RAD]
    return {'plans': len(rows), 'tolerance_rad': TOLERANCE_RAD, 'same_inputs': len(same), 'agree': _agreeing(largest),
            'largest_rad': _told(max(largest, default=0.0)), 'rms_rad': float(np.sqrt(np.mean(finite ** 2))) if len(finite) else 0.0,
            'same_inputs_agree': _agreeing(same), 'same_inputs_largest_rad': _told(max(same, default=0.0)),
            'remade_agree': _agreeing(remade), 'remade_largest_rad': _told(max(remade, default=0.0)), 'others': others}


def _agreeing(largest_rad):
    return sum(value <= TOLERANCE_RAD for value in largest_rad)


def _told(value):
    return value if np.isfinite(value) else None
