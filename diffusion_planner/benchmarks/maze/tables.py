"""The benchmark's report as tables, published scores beside it."""
WIDTH = 180       # columns of a terminal that the tables are laid out for
FOOTNOTES = (
    'First reach: an episode that never reaches the goal counts with all its steps. Plans in a wall: that enter one anywhere, of all plans made.',
    'Plans/s: single plans, one after the other, on one thread. "few steps" is "full sequence" with fewer sampling steps ({few} instead of '
    '{whole}), so that the ratio of speeds can be read against either.')


def show(report):
    """Print the report as tables."""
    from rich.console import Console
    console = Console(width=WIDTH, highlight=False)
    for goal in dict.fromkeys(row['goal'] for row in report['rows']):
        console.print(scores(report, goal))
    for maze_name, figures in report['timing'].items():
        ratios = ', '.join(f'{name} {ratio:.1f}' for name, ratio in figures['ratios'].items() if name != 'ours / ours')
        console.print(f'{maze_name}: time per plan on one thread, {ratios or "not compared"}; eightfold horizon {figures["eightfold_horizon"]:.2f} times')
    steps = {name: report['tuned'][method]['steps'] for name, method in (('few', 'few steps'), ('whole', 'full sequence'))}
    for line in FOOTNOTES:
        console.print(line.format(**steps))
    console.print(beside(report))
    for line in (*report['caveats'], *report['differences'], f'version {report["version"]}, source {report["source"]}'):
        console.print(line)


def scores(report, goal):
    """Lay out the rows of one kind of goal: -> table"""
    from rich.table import Table
    table = Table(title=f'goal {goal}, {report["seeds"]} seeds from {report["first_seed"]}; 95 % intervals')
    for column in ('maze', 'method', 'normalised', 'latched', 'first reach, steps (failures: all)', 'success', 'plans in a wall', 'plans/s, one thread'):
        table.add_column(column)
    for row in report['rows']:
        if row['goal'] == goal:
            table.add_row(*cells(row, report['timing'][row['maze']]['plans_per_second'].get(row['method'])))
    return table


def beside(report):
    """Lay out the published rows, and this planner's own of the fixed goal below them: -> table"""
    from rich.table import Table
    table, mazes = Table(title="published elsewhere, on D4RL's own data; goal fixed"), ('umaze', 'medium', 'large')
    for column in ('method', *mazes, 'average'):
        table.add_column(column)
    for row in report['published']:
        table.add_row(row['method'], *(f'{row[name]:.1f}' for name in (*mazes, 'average')))
    for score in ('normalised', 'latched'):
        own = {row['maze']: row[score][0] for row in report['rows'] if (row['method'], row['goal']) == ('ours', 'fixed')}
        if own:
            average = f'{sum(own.values()) / 3:.1f}' if len(own) == 3 else ''
            table.add_row(f'this planner here, {score}', *(f'{own[name]:.1f}' if name in own else '' for name in mazes), average)
    return table


def spread(triple, digits=1, factor=1.0, unit=''):
    """Write a figure with its interval, or a dash for none."""
    if triple is None:
        return '-'
    mean, low, high = (factor * value for value in triple)
    return f'{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}){unit}'


def cells(row, rate):
    """Write one row of scores: -> cells of `scores`"""
    return (row['maze'], row['method'], spread(row['normalised']), spread(row['latched']), spread(row['first_reach_steps'], 0),
            spread(row['success'], 0, 100, ' %'), spread(row['wall_crossing'], 1, 100, ' %'), '' if rate is None else f'{rate:.1f}')
