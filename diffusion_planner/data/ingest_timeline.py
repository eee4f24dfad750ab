"""A picture of an ingest report: when each input was there, which episodes were made of it, and what was rewarded."""
BAGS = 8                  # panels; more would not be looked at
INPUT, GAP, EPISODES, REWARDED = '#4c78a8', '#e45756', ('#9aa5b1', '#cdd3da'), '#54a24b'
ROW_INCHES, PANEL_INCHES, WIDTH_INCHES = 0.32, 1.0, 10.0
NARROWEST = 0.001         # of the axis: what is shorter would not be seen
MANY_GAPS = 100           # drawn wider than they are, they would hide what is between


def draw(report, path):
    """Draw a report's bags, one panel each, the first of them where there are many, into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    bags = report['bags'][:BAGS]
    heights = [PANEL_INCHES + ROW_INCHES * (len(bag['topics']) + 2) for bag in bags]
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights) + 0.4), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, bag in zip(figure.subplots(len(bags), 1, squeeze=False, gridspec_kw={'height_ratios': heights})[:, 0], bags):
        _panel(axes, bag)
    more = f'; the first {BAGS} of {len(report["bags"])} bags' if len(report['bags']) > BAGS else ''
    figure.suptitle(f'{report["episodes"]} episodes, {report["duration_s"]:.0f} s, {report["rewarded_share"]:.1%} rewarded{more}', fontsize=11)
    figure.savefig(path, dpi=110)


def _panel(axes, bag):
    """Draw a bag: a row for each topic, then episodes and rewarded instants."""
    topics = {name: topic for name, topic in bag['topics'].items() if topic['first_s'] is not None}
    begin_s = min((topic['first_s'] for topic in topics.values()), default=0.0)
    end_s = max((topic['last_s'] for topic in topics.values()), default=1.0)
    least_s = NARROWEST * (end_s - begin_s)
    names = [*bag['topics'], 'episodes made', 'rewarded']
    for row, name in enumerate(names[:-2]):
        if name in topics:
            _input(axes, row, topics[name], begin_s, least_s)
    episodes = [(episode['begin_s'] - begin_s, episode['duration_s']) for episode in bag['episodes']]
    for parity, colour in enumerate(EPISODES):
        axes.broken_barh(episodes[parity::2], (len(names) - 2 - 0.4, 0.8), color=colour, linewidth=0)
    rewarded = [(episode['begin_s'] - begin_s + first, max(last - first, least_s)) for episode in bag['episodes'] for first, last in episode['rewarded']]
    axes.broken_barh(rewarded, (len(names) - 1 - 0.4, 0.8), color=REWARDED, linewidth=0)
    axes.set_yticks(range(len(names)), [f'{name} ({bag["topics"][name]["messages"]})' if name in bag['topics'] else name for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max(end_s - begin_s, 1e-3))
    axes.set_xlabel('seconds since the first stamp; red: gaps', fontsize=8)
    axes.set_title(f'{bag["path"]}: {len(bag["episodes"])} episodes', fontsize=9, loc='left')
    axes.tick_params(axis='x', labelsize=8)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)


def _input(axes, row, topic, begin_s, least_s):
    """Draw when a topic's messages came: a bar, broken where there are gaps."""
    edges = [topic['first_s'], *(edge for gap in topic['gap_spans_s'] for edge in gap), topic['last_s']]
    there = [(first - begin_s, max(last - first, least_s)) for first, last in zip(edges[::2], edges[1::2])]
    axes.broken_barh(there, (row - 0.3, 0.6), color=INPUT, linewidth=0)
    widened_s = least_s if len(topic['gap_spans_s']) < MANY_GAPS else 0.0
    gaps = [(first - begin_s, max(last - first, widened_s)) for first, last in topic['gap_spans_s']]
    axes.broken_barh(gaps, (row - 0.08, 0.16), color=GAP, linewidth=0)
