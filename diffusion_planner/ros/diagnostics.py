"""What an operator sees: the state, and the figures behind it."""
from collections import deque
from enum import Enum

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from diffusion_planner.ros.conversions import to_time


class State(str, Enum):
    """What ~/status says."""

    INACTIVE = 'INACTIVE'
    NOMINAL = 'NOMINAL'
    DEGRADED = 'DEGRADED'
    BRAKING = 'BRAKING'
    FAULT = 'FAULT'


LEVELS = {State.INACTIVE: DiagnosticStatus.OK, State.NOMINAL: DiagnosticStatus.OK, State.DEGRADED: DiagnosticStatus.WARN,
          State.BRAKING: DiagnosticStatus.WARN, State.FAULT: DiagnosticStatus.ERROR}


HELD_BACK = {'curvature': 'curvature', 'ease': 'typicality', 'region': 'trust region'}    # by their names in a breakdown
UNHINDERED = 0.995     # a factor from here on held nothing back


class StageTimes:
    """Milliseconds per stage of the last plans."""

    def __init__(self, memory=500):
        self._memory, self._stages = memory, {}

    def note(self, timing_ms):
        for stage, milliseconds in timing_ms.items():
            self._stages.setdefault(stage, deque(maxlen=self._memory)).append(milliseconds)

    def facts(self):
        """-> 'stage ms (last/p50/p95/p99)' to text"""
        return {f'{stage} ms (last/p50/p95/p99)': '/'.join(f'{value:.1f}' for value in (kept[-1], *np.percentile(list(kept), (50, 95, 99))))
                for stage, kept in list(self._stages.items())}


class Deadlines:
    """The deadline of the moment, and how many of the last plans kept theirs."""

    def __init__(self, memory=500):
        self.wanted_ms, self._kept = 0.0, deque(maxlen=memory)

    def wanted_s(self):
        """-> seconds that the next plan may take, None: as long as it takes"""
        return self.wanted_ms / 1000 or None

    def note(self, plan):
        if self.wanted_ms and 'total' in plan.timing_ms:
            self._kept.append(plan.timing_ms['total'] <= self.wanted_ms)

    def facts(self):
        """-> name to text"""
        kept = list(self._kept)
        return {'deadline ms': f'{self.wanted_ms:g}' if self.wanted_ms else 'none'} | ({'deadline kept': f'{sum(kept)} of {len(kept)}'} if kept else {})


def input_facts(inputs):
    """Report age, rate and refusals of every input: -> name to text"""
    facts = {}
    for name, source in inputs.sources.items():
        facts[f'{name} age s'] = f'{source.age_s():.3f}'
        facts[f'{name} rate Hz'] = f'{source.rate_hz():.1f}'
        facts[f'{name} dropped'] = _counts(source.rejected)
        facts[f'{name} lost'] = f'{source.lost_share():.0%}'
    return facts | ({'hint': '; '.join(hints)} if (hints := inputs.hints()) else {})


def cycle_facts(cycle):
    """Report plans, chunks, misses and refusals by reason: -> name to text"""
    counters = cycle.counters()
    return {**counters, 'rejected': _counts(counters['rejected']), 'changed': _counts(counters['changed'])}


def guidance(plan, goal):
    """Say how much of the guidance the guard let through: -> {'requested', 'in_force', 'held_back_by': a name, or None}"""
    held = held_back_by(plan)
    return {'requested': goal.guidance_scale, 'in_force': plan.breakdown.get('in_force', goal.guidance_scale),
            'held_back_by': held and held[0]}


def held_back_by(plan):
    """Find what held guidance back most: -> name, its mean factor; None where nothing did"""
    factors = {told: plan.breakdown[name] for name, told in HELD_BACK.items() if plan.breakdown.get(name, 1.0) < UNHINDERED}
    return min(factors.items(), key=lambda factor: factor[1], default=None)


def asked(plan, goal):
    """Say how a plan satisfies the objective it was made under: -> {'name', 'terms': {name: {'robustness', 'share'}}}"""
    names = [name.removeprefix('objective.') for name in plan.breakdown if name.startswith('objective.')]
    terms = {name: {'robustness': plan.breakdown[f'objective.{name}'], 'share': plan.breakdown.get(f'share.{name}')} for name in names}
    return {'name': goal.objective.name, 'terms': terms}


def plan_facts(newest, wanted):
    """Report how the newest plan, a pair (plan, goal) or None, was judged, and what is wanted of the next: -> name to text"""
    facts = {'guidance requested': f'{wanted.guidance_scale:g}', 'objective': wanted.objective.name if wanted.objective else 'none'}
    if newest is None:
        return facts
    plan, goal = newest
    held = held_back_by(plan)
    facts['guidance in force'] = f'{guidance(plan, goal)["in_force"]:.3g}'
    facts['held back by'] = 'nothing' if held is None else f'{held[0]}, factor {held[1]:.2f}'
    if wanted.objective is not None and goal.objective is wanted.objective:
        facts |= {f'objective {name} {figure}': f'{value:.3f}' for name, figures in asked(plan, goal)['terms'].items()
                  for figure, value in figures.items() if value is not None}
    if plan.steps:
        facts['sampling steps'] = ', '.join(f'{stage} {count}' for stage, count in plan.steps.items())
    if plan.level is not None:
        facts['noise left'] = f'{plan.level.max():.2f}'
    if 'success' in plan.breakdown:
        facts['predicted success'] = f'{plan.breakdown["success"]:.3f}'
    return facts | {f'plan {name}': f'{value:.3f}' for name, value in plan.breakdown.items()
                    if not name.startswith(('objective.', 'share.'))}


def to_diagnostics(name, hardware, state, reason, facts, stamp_s, alarm=False):
    """to_diagnostics(node name, model, State, reason, name to value, stamp_s) -> diagnostic_msgs/DiagnosticArray, an error by alarm"""
    status = DiagnosticStatus(level=DiagnosticStatus.ERROR if alarm else LEVELS[state], name=f'{name}: planning', hardware_id=hardware,
                              message=f'{state.value}: {reason}' if reason else state.value)
    status.values = [KeyValue(key=str(key), value=str(value)) for key, value in facts.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = to_time(stamp_s)
    return message


def _counts(counter):
    return ', '.join(f'{count} {reason}' for reason, count in counter.items()) or '0'
