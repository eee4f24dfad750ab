"""What an audit found, as tables on the terminal."""
from diffusion_planner.evaluation import refusal


def show(report):
    """Print the sweep and what it comes to, of the arm."""
    from rich.console import Console
    console = Console(width=150)
    console.print(_sweep(report))
    if 'refusal' in report:
        refusal.show(report['refusal'])
    console.print(_separation(report['separation']))
    console.print(', '.join(f'{name} {value if isinstance(value, int) else format(value, ".3g")}' for name, value in report['summary'].items() if value is not None), highlight=False)


def _sweep(report):
    from rich.table import Table
    table = Table('guidance', 'predicted reward', 'realised', 'predicted success', 'realised', '95 % interval',
                  'contact', 'planned to executed', 'refused', 'in force')
    for row in report['sweep']:
        table.add_row(f'{row["mode"]} {row["scale"]:g}', _number(row['predicted_reward']), _number(row['realised_reward']),
                      _number(row.get('predicted_success')), *_with_interval(row['success']), _number(row['contact'], 100, '{:.1f} %'),
                      _number(row['apart_m'], 100, '{:.1f} cm'), str(row['refused']), _number(row['in_force']))
    return table


def _separation(separation):
    from rich.table import Table
    table = Table('judge, ROC area', *next(iter(separation.values())))
    for name, areas in separation.items():
        table.add_row(name, *('-' if area is None else area if isinstance(area, str) else f'{area:.3f}' for area in areas.values()))
    return table


def show_compared(report):
    """Print settings that were compared on the same scenes, a row each; with an objective its terms, too."""
    from rich.console import Console
    from rich.table import Table
    table = Table('', 'success', '95 % interval', 'predicted success', 'predicted reward', 'realised', 'zone entered', '95 % interval', 'contact',
                  'time to target')
    for row in report['rows']:
        table.add_row(row['name'], *_with_interval(row['success']), _number(row['predicted_success']), _number(row['predicted_reward']),
                      _number(row['realised_reward']), *_with_interval(row['zone_entered']), _number(row['contact'], 100, '{:.0f} %'),
                      _number(row['time_to_target_s'], 1, '{:.2f} s'))
    console = Console(width=150)
    console.print(table)
    if names := dict.fromkeys(name for row in report['rows'] for name in row['violated']):
        table = Table('episodes whose motion breaks', *names)
        for row in report['rows']:
            table.add_row(row['name'], *('{} ({})'.format(*_with_interval(row['violated'][name])) for name in names))
        console.print(table)


def _with_interval(share):
    return _percent(share[0]), f'{_percent(share[1])} to {_percent(share[2])}'


def _number(triple, factor=1.0, pattern='{:.2f}'):
    return '-' if triple is None else pattern.format(triple[0] * factor)


def _percent(share):
    return f'{share:.0%}'
