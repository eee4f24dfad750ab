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


def input_facts(inputs):
    """Report age, rate and refusals of every input: -> name to text"""
    facts = {}
    for name, source in inputs.sources.items():
        facts[f'{name} age s'] = f'{source.age_s():.3f}'
        facts[f'{name} rate Hz'] = f'{source.rate_hz():.1f}'
        facts[f'{name} dropped'] = _counts(source.rejected)
    return facts


def cycle_facts(cycle):
    """Report plans, chunks, misses and refusals by reason: -> name to text"""
    counters = cycle.counters()
    return {**counters, 'rejected': _counts(counters['rejected'])}


def plan_facts(plan, guidance_scale):
    """Report how the newest plan was judged: -> name to text"""
    facts = {'guidance scale': f'{guidance_scale:g}'}
    if plan is not None:
        facts |= {f'plan {name}': f'{value:.3f}' for name, value in plan.breakdown.items()}
    return facts


def to_diagnostics(name, hardware, state, reason, facts, stamp_s):
    """to_diagnostics(node name, model, State, reason, name to value, stamp_s) -> diagnostic_msgs/DiagnosticArray"""
    status = DiagnosticStatus(level=LEVELS[state], name=f'{name}: planning', hardware_id=hardware,
                              message=f'{state.value}: {reason}' if reason else state.value)
    status.values = [KeyValue(key=str(key), value=str(value)) for key, value in facts.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = to_time(stamp_s)
    return message


def _counts(counter):
    return ', '.join(f'{count} {reason}' for reason, count in counter.items()) or '0'
