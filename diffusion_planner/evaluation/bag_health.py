"""How the bag's topics were recorded: rates, gaps, clocks, what could not be used."""
from collections import Counter
from dataclasses import dataclass, field

import numpy as np


@dataclass
class TopicHealth:
    """Receipts and stamps of one topic."""

    log_s: list = field(default_factory=list)
    header_s: list = field(default_factory=list)      # of messages with a header that was set
    unstamped: int = 0
    rejected: Counter = field(default_factory=Counter)      # by what cannot be read at all

    def note(self, message):
        self.log_s.append(message.log_s)
        if message.header_s:
            self.header_s.append(message.header_s)
        elif message.header_s is not None:
            self.unstamped += 1

    def figures(self):
        """-> {'messages', 'rate_hz', 'largest_gap_s', ...}, by stamps where there are any, else by reception"""
        stamps = np.array(self.header_s if len(self.header_s) > 1 else self.log_s)
        steps_s, late = np.diff(np.sort(stamps)), np.diff(stamps)
        span_s = float(steps_s.sum())
        offsets_s = np.array(self.log_s)[:len(self.header_s)] - self.header_s if self.header_s and not self.unstamped else None
        return {'messages': len(self.log_s), 'rate_hz': len(steps_s) / span_s if span_s > 0 else None,
                'usual_gap_s': float(np.median(steps_s)) if len(steps_s) else None, 'largest_gap_s': float(steps_s.max()) if len(steps_s) else None,
                'dated_by': 'header' if len(self.header_s) > 1 else 'reception', 'unstamped': self.unstamped,
                'out_of_order': int((late < 0).sum()), 'repeated_stamps': int((late == 0).sum()),
                'clock_offset_s': None if offsets_s is None else float(np.median(offsets_s)),
                'clock_offset_spread_s': None if offsets_s is None else float(np.ptp(np.quantile(offsets_s, (0.05, 0.95))))}


class Health:
    """TopicHealth of everything that the walk reads."""

    def __init__(self, topics):
        self.topics = {topic: TopicHealth() for topic in topics.roles}
        self.roles, self.kinds = topics.roles, {topic: topics.bag.topics[topic].type for topic in topics.roles}

    def note(self, message):
        self.topics[message.topic].note(message)

    def reject(self, message, fault):
        """Count a message that cannot be read, by the field at fault."""
        self.topics[message.topic].rejected[str(fault).split(':')[0]] += 1

    def rows(self, sources):
        """-> [{'topic', 'role', 'type', ..., 'rejected': {reason: count}}]; sources: the node's, by name"""
        rows = []
        for topic, health in self.topics.items():
            kind, name = self.roles[topic]
            source = sources.get(name)
            rejected = health.rejected + (source.rejected if source is not None else Counter())
            rows.append({'topic': topic, 'role': name if kind in ('camera', 'sensor') else kind, 'type': self.kinds[topic], **health.figures(),
                         'rejected': dict(rejected), 'rejected_total': sum(rejected.values())})
        return rows
