"""One episode in closed loop: what is sensed, when a plan is due, when it is handed over."""
import numpy as np

from diffusion_planner.evaluation.follow_up import follow_up
from diffusion_planner.planning.history import BLIND_S, History

SETTLE_S = 1.0       # a plan that is followed alone is watched for so long after its end
ATTEMPTS = 10        # at a plan that is followed alone


class Camera:
    """The camera of an episode, some of whose pictures never arrive; the first one does. `ages_s`: of the newest when plans began."""

    def __init__(self, history, env, dropout, seed):
        self.history, self.env, self.dropout = history, env, dropout
        self.random, self.seen_s, self.ages_s, self.stops = np.random.default_rng((seed, 0xCA)), None, [], 0

    def look(self):
        if self.seen_s is None or not self.dropout or self.random.random() >= self.dropout:
            self.history.append(self.env.render())
            self.seen_s = self.env.now_s

    def age_s(self):
        self.ages_s.append(self.env.now_s - self.seen_s)
        return self.ages_s[-1]


class Episode:
    """An episode of a Loop that is under way. `waiting`: (from when on, plan, handover) of a plan that is to be handed over."""

    def __init__(self, loop, seed, method, watch=None):
        self.loop, self.env, self.settings, self.seed, self.method, self.watch = loop, loop.env, loop.settings, seed, method, watch
        self.history = History(len(loop.robot.joint_names), loop.planner.cameras, loop.planner.context_offset_s,
                               **({} if self.settings.trust else {'fresh_s': 1e9, 'blind_s': 2e9}))
        self.camera = Camera(self.history, self.env, self.settings.dropout, seed)
        self.cycle, self.goal = loop.cycle(self.history), loop.goal(method)
        self.plans, self.plan, self.attempts, self.waiting = [], None, 0, None
        self.next_plan_s, self.end_s = self.env.now_s, float('inf')

    def run(self):
        """Run to the end: -> row of figures"""
        while not (self.env.episode()['done'] or self.env.now_s >= self.end_s):
            self._sense()
            if self.waiting and self.env.now_s >= self.waiting[0]:
                self._hand_over()
            if self.waiting is None and self.env.now_s >= self.next_plan_s - 1e-9:
                self._replan()
            self.env.step()
        return self._row()

    def _sense(self):
        env = self.env
        if (env.steps - env.begun) % env.settings.joint_every == 0:
            self.history.append(env.joints())
        if (env.steps - env.begun) % env.settings.frame_every == 0:
            self.camera.look()
            if self.watch:
                self.watch(env, self.plan)

    def _hand_over(self):
        _, plan, handover = self.waiting
        if not self.loop.deliver(self.cycle, plan, handover):
            self.next_plan_s = self.env.now_s
        elif self.settings.alone:
            self.next_plan_s, self.end_s = float('inf'), plan.origin_s + plan.offset_s[-1] + SETTLE_S
        self.waiting = None

    def _replan(self):
        now_s, settings = self.env.now_s, self.settings
        if self.camera.age_s() > BLIND_S:
            self.loop.send(self.cycle.brake(now_s))
            self.camera.stops, self.next_plan_s = self.camera.stops + 1, now_s + settings.latency_s
            return
        self.plan, handover = self.loop.think(self.cycle, self.goal, self.seed * 1000 + self.attempts)
        self.attempts += 1
        # Refused: the next attempt draws other noise, as soon as a plan takes.
        self.next_plan_s = now_s + (settings.replan_s if self.plan else settings.latency_s)
        if self.plan:
            self.plans.append(self.loop.planner.measure(self.plan))
            self.waiting = now_s + settings.latency_s, self.plan, handover
        elif settings.alone and self.attempts >= ATTEMPTS:
            self.end_s = now_s

    def _row(self):
        loop, env, plans = self.loop, self.env, self.plans
        return {**env.episode(), 'method': self.method, 'plan_ms': [plan.timing_ms['total'] for plan in plans],
                'predicted_reward': [plan.breakdown['reward'] for plan in plans], 'steps': [plan.steps for plan in plans],
                'noise_left': [float(plan.level.max()) for plan in plans], **self.cycle.counters(),
                'judged': [follow_up(plan, env, loop.robot, self.settings.alone) for plan in plans],
                'executed': loop.score and loop.score.least(env.trace, plans), 'refusals': loop.refusals, 'attempts': self.attempts,
                'took_ms': loop.took_ms, 'picture_age_s': self.camera.ages_s, 'blind': self.camera.stops}
