"""Ingest as people see it: progress, tables, a closing line."""
from collections import Counter

from diffusion_planner.data.ingest import ingest

OTHER_CLOCK_S = 1e6       # log times and stamps so far apart are of other clocks: simulated time, mostly


def run(paths, map_path, out):
    """Make a data folder of bags and tell about it. Raises what ingest() raises."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    with Progress(TextColumn('{task.description}'), BarColumn(), TextColumn('{task.percentage:.0f} %'), TimeRemainingColumn()) as progress:
        bars = {}

        def tell(bag, share):
            bar = bars.setdefault(bag.path, None) or progress.add_task(bag.path.name, total=1.0)
            bars[bag.path] = bar
            progress.update(bar, completed=min(share, 1.0))
        report = ingest(paths, map_path, out, tell)
    show(report)
    print(f'{out}: episodes, ingest_report.json, ingest_report.png')


def show(report):
    """Print the report as tables."""
    from rich.console import Console
    from rich.table import Table
    console = Console()
    for bag in report['bags']:
        table = Table(title=f'{bag["path"]}: {len(bag["episodes"])} episodes', title_justify='left')
        for column in ('topic', 'messages', 'rate [Hz]', 'gap [s]', 'offset [s]', 'spread [s]', 'rejected'):
            table.add_column(column, justify='left' if column == 'topic' else 'right', overflow='fold')
        for topic in bag['topics'].values():
            table.add_row(*_row(topic))
        console.print(table)
    for warning in report['warnings']:
        console.print(f'- {warning}', markup=False, highlight=False, soft_wrap=True)
    ended = sum((Counter(bag['ended_by']) for bag in report['bags']), Counter())
    console.print(f'{report["episodes"]} episodes, {report["duration_s"]:.1f} s, {report["joint_samples"]} joint samples, {report["pictures"]} pictures; '
                  f'rewarded: {report["rewarded_share"]:.2%} of the samples, in {report["rewarded_episodes"]} episodes ({report["reward"]}). '
                  f'Ended by: {", ".join(f"{reason} {count}" for reason, count in ended.most_common())}', markup=False, highlight=False, soft_wrap=True)


def _row(topic):
    """Write a topic's line: offset is the log time minus the stamp, and its spread from 5 to 95 %."""
    offset = topic['clock_offset_s']
    spread = ('', '') if offset['median'] is None else (f'{offset["median"]:.3f}', f'{offset["p95"] - offset["p05"]:.3f}')
    if offset['median'] is not None and abs(offset['median']) > OTHER_CLOCK_S:
        spread = 'other', ''
    rate = '' if topic['rate_hz'] is None else f'{topic["rate_hz"]:g}'
    return topic['topic'], str(topic['messages']), rate, f'{topic["largest_gap_s"]:.2f}', *spread, str(sum(topic['rejected'].values()))
