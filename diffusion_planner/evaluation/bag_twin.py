"""A plan and its twin: the same context and the same noise, once with guidance and once without."""
from dataclasses import replace

import numpy as np

from diffusion_planner.planning.planner import NoSafeCandidate, Planner


class Twin:
    """Two planners on one backend, each going on with its own last plan."""

    def __init__(self, planner, robot, goal):
        self.planner, self.robot, self.goal, self.quiet_goal = planner, robot, goal, replace(goal, guidance_scale=0.0)
        self.quiet = Planner(planner.backend, robot, planner.settings, planner.weights)

    def reset(self):
        """Forget the last plans and every cached picture, as the node's planner at the beginning of an episode."""
        self.planner.reset()
        self.quiet.reset()

    def plan(self, step, cycle):
        """Make both plans of a step, and the chunk of the guided one; refusals are noted in it."""
        backend = self.planner.backend
        step.contexts = tuple(backend.encode(step.observation, goal) for goal in (self.goal, self.quiet_goal))
        step.figures['strange'] = {name: float(value) for name, value in backend.strange(step.contexts[0], step.observation).items()}
        try:
            step.plan = self.planner.measure(self.planner.plan(step.observation, self.goal, step.seed))
        except NoSafeCandidate as refused:
            cycle.refuse(refused)
            step.refusal, step.reasons = str(refused), {reason: count for reason, count in refused.reasons.items() if count}
        else:
            before = cycle.rejected.copy()
            step.chunk = cycle.finish(step.plan, step.handover, step.now_s, self.goal.objective)
            step.figures['chunk_refused'] = dict(cycle.rejected - before)
        try:
            step.quiet = self.quiet.measure(self.quiet.plan(step.observation, self.quiet_goal, step.seed))
        except NoSafeCandidate as refused:
            step.quiet_refusal = str(refused)
        step.figures['guidance'] = self._pull(step)

    def _pull(self, step):
        """Measure what guidance does to far tokens, arrival by arrival, from the same noise: -> {figure: [with, without] or number}"""
        backend, settings = self.planner.backend, self.planner.settings
        offset_s = np.linspace(settings.shortest_s, self.planner.horizon_s, settings.arrivals).astype(np.float32)
        tips_m, found_rad, figures = [], [], {}
        for context, goal in zip(step.contexts, (self.goal, self.quiet_goal)):
            far = backend.imagine_far(context, offset_s, goal, settings, step.seed)
            judged = backend.judge_far(context, far, offset_s, step.seed, True)
            for name in ('reward', 'panel', 'judge', 'typicality'):
                figures.setdefault(name, []).append(float(np.mean(judged[name])))
            figures.setdefault('best_judge', []).append(float(np.max(judged['judge'])))
            found_rad.append(backend.decode(far)[0][:, 0])
            tips_m.append(self.robot.tip_m(found_rad[-1]))
        return {**figures, 'moved_m': float(np.linalg.norm(tips_m[0] - tips_m[1], axis=-1).mean()),
                'moved_rad': float(np.sqrt(np.square(found_rad[0] - found_rad[1]).mean()))}
