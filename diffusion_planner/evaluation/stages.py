"""Where the time of a plan goes, from the newest picture to the published chunk, stage by stage."""
from collections import deque

import numpy as np

PERCENTILES = (50, 95, 99)
# In the order in which they come; `total` is inference, `outside` all but inference and waiting for a plan to be due.
STAGES = {'transport': 'transport', 'read': 'read', 'wait': 'wait until a plan is due', 'observe': 'observe', 'encode': 'encode', 'far': 'far token',
          'fill': 'fill', 'decode': 'decode', 'choose': 'choose', 'total': 'inference', 'shape': 'shape', 'publish': 'publish',
          'outside': 'outside inference', 'turnaround': 'turn-around'}
MEMORY = 20_000      # plans that are kept: hours of them


class Stages:
    """Milliseconds per stage of the plans so far."""

    def __init__(self):
        self.taken_ms = {}

    def note(self, timing_ms):
        for stage, milliseconds in timing_ms.items():
            self.taken_ms.setdefault(stage, deque(maxlen=MEMORY)).append(milliseconds)

    def figures(self):
        """-> {stage: {'plans', 'p50', 'p95', 'p99', 'max'}} in ms, in the order of STAGES; others come before the last two"""
        others = [stage for stage in self.taken_ms if stage not in STAGES]
        order = [*list(STAGES)[:-2], *others, *list(STAGES)[-2:]]
        return {stage: quantiles(self.taken_ms[stage]) for stage in order if stage in self.taken_ms}


def quantiles(taken_ms):
    """Summarise times, at least one: -> {'plans', 'p50', 'p95', 'p99', 'max'}"""
    values = np.percentile(list(taken_ms), PERCENTILES).tolist()
    return {'plans': len(taken_ms), **{f'p{p}': value for p, value in zip(PERCENTILES, values)}, 'max': float(max(taken_ms))}


def table(figures, title):
    """Lay out Stages.figures() as a rich table."""
    from rich.table import Table
    view = Table('stage', *(f'p{p} ms' for p in PERCENTILES), 'largest', title=title, title_justify='left')
    for stage, found in figures.items():
        style = 'bold' if stage in ('outside', 'turnaround') else None
        view.add_row(STAGES.get(stage, stage), *(f'{found[name]:.1f}' for name in (*(f'p{p}' for p in PERCENTILES), 'max')), style=style)
    return view
