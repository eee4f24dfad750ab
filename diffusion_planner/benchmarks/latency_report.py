"""What came of measuring latency: the few figures that count, and all of it as tables."""
from diffusion_planner.benchmarks.latency_accounting import KINDS, OVERHEAD
from diffusion_planner.benchmarks.latency_contenders import KINDS as WHO

STAGE_NAMES = {'read': 'read a picture', 'encode': 'encode', 'far': 'far token', 'fill': 'fill in', 'decode': 'decode', 'choose': 'choose',
               'shape': 'shape, check', 'publish': 'publish'}
SWEEP_NAMES = {'candidates': 'candidates', 'tokens': 'tokens filled in', 'steps': 'sampling steps per stage', 'cameras': 'cameras, two with random weights'}
BUSY = 0.7       # load in the minute before; torch with two threads on two cores is ten times as slow beside another program


def summarise(report):
    """-> {name: {'plan_ms_p50', 'plan_ms_p99', 'speedup_vs_eager_torch', 'roofline_share', 'peak_rss_mb', 'start_s', settings}}"""
    settings = report['settings']
    told = {'candidates': settings['candidates'], 'steps': {'far': settings['far_steps'], 'fill': settings['fill_steps']},
            'threads': settings['threads'], 'cpu': report['machine']['cpu']}
    return {name: {**_figures(report, name), **told} for name in report['backends']}


def _figures(report, name):
    taken_ms, start = report['backends'][name]['plan_ms'], report['start'][name]
    eager = report['backends'].get(' '.join(['eager', *name.split()[1:]]))      # on the same device
    node = start['node'] or {}
    return {**{f'plan_ms_{p}': taken_ms[p] for p in ('p50', 'p95', 'p99')},
            'speedup_vs_eager_torch': eager and eager['plan_ms']['p50'] / taken_ms['p50'],
            'roofline_share': report['roofline']['backends'][name]['share'],
            'peak_rss_mb': start['alone']['peak_rss_mb'], 'start_s': start['alone']['start_s'], 'loads_torch': 'torch' in start['alone']['loaded'],
            'node_peak_rss_mb': node.get('peak_rss_mb'), 'node_start_s': node.get('start_s'), 'node_loads_torch': node and 'torch' in node['loaded'] or None,
            'deadline_kept': report['deadline'][name]['kept']}


def show(report):
    """Print everything as tables."""
    from rich.console import Console
    console = Console(width=140)
    for title, table in (_stages(report), _summary(report), _spent(report), _sweeps(report)):
        console.print(f'\n{title}', style='bold', markup=False, highlight=False)
        console.print(table)
    for line in notes(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def notes(report):
    """Say in lines what the tables leave out."""
    rates, machine = report['roofline']['rates_gflops'], report['machine']
    said = [f'{device}: matrix products at {", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in found.items())}' for device, found in rates.items()]
    for name, found in report['roofline']['backends'].items():
        own = f'; its matrix products alone, one after the other, reach {found["own_gflops"]:.0f} GFLOP/s' if found.get('own_gflops') else ''
        said.append(f'{name}: {found["calls"]:.0f} calls and {found["gflop"]:.3f} GFLOP in the denoiser per plan, {found["ms"]:.1f} ms{own}')
    said += [f'{name}: start-up {"; ".join(_start(where, found) for where, found in sorted(starts.items()) if found)}'
             for name, starts in report['start'].items()]
    said.append(f'{machine["cpu"]}, {machine["cores"]} cores, {" ".join(machine["instructions"])}; load before {machine["load"]:.1f}'
                + ': other programs took their share, so no figure here is to be relied on' * (machine['load'] > BUSY))
    return [*said, *(f'not measured: {line}' for line in dict.fromkeys(report['missing']))]


def _start(where, found):
    parts = ', '.join(f'{name} {found[f"{key}_s"]:.2f}' for name, key in (('imports', 'import'), ('load', 'load'), ('warm-up', 'warm_up'), ('plan', 'plan')))
    return f'{where} {found["start_s"]:.2f} s ({parts}), peak {found["peak_rss_mb"]:.0f} MB, {"torch" if "torch" in found["loaded"] else "no torch"}'


def _table(first, names):
    from rich.table import Table
    view = Table(first)
    for name in names:
        view.add_column(name, justify='right')
    return view


def _stages(report):
    settings, backends = report['settings'], report['backends']
    title = (f'ms, p50 / p95 / p99 of {settings["plans"]} plans: {settings["candidates"]} candidates and {settings["warm_candidates"]} from the last plan, '
             f'{settings["far_steps"]} + {settings["fill_steps"]} steps, {settings["fill_in"]} tokens filled in on {settings["paths"]} paths, '
             f'{settings["threads"]} threads')
    view = _table('stage', backends)
    for stage, words in STAGE_NAMES.items():
        if any(stage in found['stages_ms'] for found in backends.values()):
            view.add_row(words, *(_three(found['stages_ms'].get(stage)) for found in backends.values()))
    view.add_row('plan (encode to choose)', *(_three(found['plan_ms']) for found in backends.values()), style='bold')
    view.add_row('everything', *(_three(found['whole_ms']) for found in backends.values()))
    return title, view


def _summary(report):
    view = _table('', report['summary'])
    rows = {'plan p50 / p99, ms': lambda row: f'{row["plan_ms_p50"]:.1f} / {row["plan_ms_p99"]:.1f}',
            'times as fast as eager torch': lambda row: _short(row['speedup_vs_eager_torch']),
            'share of the roofline in the denoiser': lambda row: percent(row['roofline_share']),
            'peak memory alone / as a node, MB': lambda row: f'{row["peak_rss_mb"]:.0f} / {_short(row["node_peak_rss_mb"], 0)}',
            'start to first plan alone / as a node, s': lambda row: f'{row["start_s"]:.1f} / {_short(row["node_start_s"])}',
            f'deadline of {report["settings"]["deadline_ms"]:g} ms kept': lambda row: f'{row["deadline_kept"]:.1%}'}
    for words, said in rows.items():
        view.add_row(words, *(said(row) for row in report['summary'].values()))
    under = [report['deadline'][name] for name in report['summary']]
    view.add_row('sampling steps it leaves, far + fill', *(' + '.join(_short(mean) for mean in (it['steps'] or {'any': None}).values()) for it in under))
    view.add_row('plans refused under it', *(f'{it["refused"]} of {it["plan_ms"]["plans"]}' for it in under))
    view.add_row('plans like those recorded', *(f'{report["backends"][name]["alike"]:.0%}' for name in report['summary']))
    return '\n'.join(f'{kind}: {words}' for kind, words in WHO.items()), view


def _spent(report):
    found = report['roofline']['backends']
    view = _table('', found)
    for kind in (*KINDS, OVERHEAD):
        view.add_row(kind, *(_short(row.get('spent_ms', {}).get(kind)) for row in found.values()))
    view.add_row('operators', *(_short(row.get('operators'), 0) for row in found.values()))
    return 'what the time in the denoiser is spent on, ms per plan, under a profiler', view


def _sweeps(report):
    view = _table('', report['summary'])
    for sweep, words in SWEEP_NAMES.items():
        for point in report['sweeps'][sweep]:
            row = [point.get(name) for name in report['summary']]
            view.add_row(f'{words}: {point["at"]}', *('-' if it is None else f'{it["p50"]:.1f} / {it["p99"]:.1f}' for it in row))
    return f'one setting changed at a time: plan, ms, p50 / p99 of {report["settings"]["plans_per_point"]} plans', view


def _three(found):
    return '-' if found is None else ' / '.join(f'{found[p]:.1f}' for p in ('p50', 'p95', 'p99'))


def percent(value):
    return '-' if value is None else f'{value:.0%}'


def _short(value, digits=1):
    return '-' if value is None else f'{value:.{digits}f}'
