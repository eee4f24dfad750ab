"""What a soak adds up: episodes, faults, memory; and how it is judged, shown and written."""
import json
import os
from collections import Counter
from pathlib import Path

from diffusion_planner.evaluation import stages

HOW = 'by itself', 'after reset', 'not'
MINUTE_S, GROWTH = 60.0, 0.05       # memory counts from here on; by how much of it a process may grow
CASES = 100                         # of violations that are written down
INJECTED, RIVALS = 'injected:', 'no points'    # how the simulator's reasons for refusals begin that are none of the planner's


class Ledger:
    """Adds up the simulator's reports, episode after episode."""

    def __init__(self):
        self.episodes, self.successes, self.contacts, self.accepted = 0, 0, 0, 0
        self.violations, self.rejected, self.largest, self._before = Counter(), Counter(), {}, {}
        self.cases = []      # of limit violations: where to look

    def hear(self, report, fault, lead_s=None):
        """Take a report; what is new in it came about under `fault`, the newest chunk went out `lead_s` before its first point."""
        before = self._before
        if report['seed'] != before.get('seed') or report['elapsed_s'] < before['elapsed_s']:
            self.episodes, before = self.episodes + 1, {}
        if beyond := report['limit_violations'] - before.get('limit_violations', 0):
            self.violations[fault] += beyond
            self.cases.append({'fault': fault, 'seed': report['seed'], 'elapsed_s': report['elapsed_s'], 'steps': beyond, 'lead_s': lead_s,
                               'largest': report['largest']})
        self.contacts += report['contacts'] - before.get('contacts', 0)
        self.successes += report['success'] - before.get('success', False)
        self.accepted += report['trajectories'] - before.get('trajectories', 0)
        self.rejected += Counter(report['rejected']) - Counter(before.get('rejected', {}))
        self.largest = {name: max(share, self.largest.get(name, 0.0)) for name, share in report['largest'].items()}
        self._before = report

    def figures(self):
        apart = {reason: count for reason, count in self.rejected.items() if reason.startswith((INJECTED, RIVALS))}
        return {'episodes': self.episodes, 'successes': self.successes, 'contacts': self.contacts, 'trajectories_taken': self.accepted,
                'limit_violations': dict(self.violations), 'violation_cases': self.cases[-CASES:], 'largest_shares': self.largest,
                'rejected': {reason: count for reason, count in self.rejected.items() if reason not in apart}, 'rejected_by_design': apart}


class Memory:
    """Resident memory of processes, life by life; the longest life counts."""

    def __init__(self):
        self._lives = {}     # (name, life) -> [bytes a minute after its start or None, newest bytes, newest age]

    def note(self, name, life, age_s, resident):
        """Take a look at a process; None, where the system does not say, is left out."""
        if resident is not None:
            known = self._lives.setdefault((name, life), [None, 0, 0.0])
            known[0] = resident if known[0] is None and age_s >= MINUTE_S else known[0]
            known[1:] = resident, age_s

    def figures(self):
        """-> {name: {'life_s', 'minute_mb', 'end_mb', 'growth'}}; growth is a share, None for a life too short"""
        found = {}
        for (name, _), (minute, newest, age_s) in self._lives.items():
            if age_s >= found.get(name, {}).get('life_s', 0.0):
                grown = None if minute is None or age_s < 2 * MINUTE_S else newest / minute - 1.0
                found[name] = {'life_s': age_s, 'minute_mb': minute and minute / 1e6, 'end_mb': newest / 1e6, 'growth': grown}
        return found


def recoveries(events):
    """Count how faults were recovered from: -> {kind: {'injected', *HOW, 'slowest_s'}}; the one under way is left out"""
    found = {}
    for event in events:
        if event.get('recovered'):
            row = found.setdefault(event['fault'], {'injected': 0, **dict.fromkeys(HOW, 0), 'slowest_s': 0.0})
            row['injected'] += 1
            row[event['recovered']] += 1
            row['slowest_s'] = max(row['slowest_s'], event['recovery_s'])
    return found


def summarise(events, ledger, memory, watcher):
    """Put together what is shown and judged: -> dict"""
    return {'faults': recoveries(events), **ledger.figures(), 'chunks': watcher.sent, 'chunks_beyond_limits': watcher.exceeding,
            'beyond_limits': dict(watcher.excesses), 'chunks_refused': watcher.refused, 'refused': dict(watcher.refusals),
            'memory': memory.figures(), 'stages_ms': watcher.stages.figures(), 'deadline_misses': watcher.total_misses}


def shortcomings(summary):
    """List why a soak has failed; an empty list is success."""
    lost = sum(row['not'] for row in summary['faults'].values())
    grown = [f'memory of the {name} grew by {found["growth"]:.1%}, expected {GROWTH:.0%} at most'
             for name, found in summary['memory'].items() if (found['growth'] or 0.0) > GROWTH]
    counts = {'chunks beyond limits': summary['chunks_beyond_limits'], 'limit violations in the simulator': sum(summary['limit_violations'].values()),
              'chunks refused by the contract check': summary['chunks_refused'], 'chunks rejected by the simulator': sum(summary['rejected'].values()),
              'faults not recovered from': lost}
    silent = [] if summary['chunks'] else ['no chunk was published']
    return [f'{count} {name}, expected 0' for name, count in counts.items() if count] + grown + silent


def write(path, settings, events, summary, samples):
    """Replace the JSON file; a reader never sees half of it."""
    part = Path(f'{path}.part')
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps({'settings': settings, 'summary': summary, 'events': events, 'memory_mb': samples}, indent=1) + '\n')
    os.replace(part, path)


def show(console, summary, elapsed_s):
    """Print the tables, then what was counted, a line each."""
    from rich.table import Table
    table = Table('fault', 'injected', *HOW, 'slowest', 'beyond limits', title=f'{elapsed_s / 60:.1f} minutes: faults, and how the planner recovered',
                  title_justify='left')
    table.columns[0].no_wrap = True
    for kind, row in sorted(summary['faults'].items()):
        table.add_row(kind, str(row['injected']), *(str(row[how] or '') for how in HOW), f'{row["slowest_s"]:.1f} s',
                      str(summary['limit_violations'].get(kind, '')))
    console.print(table)
    if summary['stages_ms']:
        console.print(stages.table(summary['stages_ms'], 'from the newest picture to the published chunk'))
    for name, text in lines(summary):
        console.print(f'{name:<22} {text}', soft_wrap=True, highlight=False, markup=False)


def lines(summary):
    """Write down the counts: -> (name, text) pairs"""
    faults = summary['faults'].values()
    total = {how: sum(row[how] for row in faults) for how in ('injected', *HOW)}
    shares = ', '.join(f'{name} {share:.0%}' for name, share in summary['largest_shares'].items())
    yield 'faults', f'{total["injected"]} injected; recovered by itself {total["by itself"]}, after reset {total["after reset"]}, not {total["not"]}'
    yield 'chunks', f'{summary["chunks"]} published, {summary["chunks_beyond_limits"]} beyond limits, {summary["chunks_refused"]} refused by the contract check'
    yield from (('  beyond limits', f'{count} {text}') for text, count in summary['beyond_limits'].items())
    yield from (('  refused', f'{count} {text}') for text, count in summary['refused'].items())
    beyond = summary['limit_violations']
    yield 'limits, simulator', f'{sum(beyond.values())} physics steps beyond: {_counts(beyond)}; largest shares: {shares or "none"}'
    yield 'rejected, simulator', f'{_counts(summary["rejected"])} of {summary["trajectories_taken"]} taken; by design: {_counts(summary["rejected_by_design"])}'
    yield 'episodes', (f'{summary["episodes"]}, target touched in {summary["successes"]}, {summary["contacts"]} contacts, '
                       f'{summary["deadline_misses"]} deadlines missed')
    for name, found in summary['memory'].items():
        minute = 'a minute after its start: not reached' if found['minute_mb'] is None else f'{found["minute_mb"]:.0f} MB a minute after its start'
        grown = 'too short to judge' if found['growth'] is None else f'{found["growth"]:+.1%}'
        yield f'memory, {name}', f'{minute}, {found["end_mb"]:.0f} MB at the end of {found["life_s"] / 60:.1f} minutes, {grown}'
    bad = shortcomings(summary)
    yield 'verdict', '; '.join(bad) if bad else 'passed'


def _counts(counts):
    return ', '.join(f'{count} ({name})' for name, count in counts.items()) or '0'
