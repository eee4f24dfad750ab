"""Losses over steps: a CSV file per stage, and a picture of them all."""
import csv
import os
from pathlib import Path

import numpy as np

COLOURS = ('#004488', '#bb5566', '#ddaa33', '#228833', '#66ccee', '#aa4499', '#777777', '#997700')
FONT = {'font.size': 10, 'axes.titlesize': 11, 'axes.titlelocation': 'left', 'axes.titleweight': 'bold', 'legend.fontsize': 8.5,
        'axes.spines.top': False, 'axes.spines.right': False}
COLUMNS, DPI, PANEL_INCHES = 4, 90, (3.6, 3.0)
WINDOW = 0.05      # of a curve, for its running mean
# What is no loss: shares told right, how many tokens a batch had, and the probes on held-out data.
APART = ('right', 'fill', '_cm', '_rad')


class Curve:
    """Figures of one stage as rows of step, name, value. Those beyond the checkpoint that a run resumes from are dropped."""

    def __init__(self, path, done):
        self.path, part = Path(path), Path(path).with_suffix('.csv.part')
        kept = [row for row in read(path) if row[0] <= done]
        with part.open('w', newline='') as file:
            csv.writer(file).writerows([('step', 'name', 'value'), *kept])
        os.replace(part, path)

    def add(self, step, figures):
        with self.path.open('a', newline='') as file:
            csv.writer(file).writerows((step, name, f'{value:.9g}') for name, value in figures.items())


def read(path):
    """Read a curve, without a last row that was cut off: -> [(step, name, value)]; nothing where there is no file."""
    rows = []
    if Path(path).exists():
        with Path(path).open(newline='') as file:
            for row in csv.reader(file):
                try:
                    rows.append((int(row[0]), row[1], float(row[2])))
                except (ValueError, IndexError):     # the heading, or what a kill left
                    continue
    return rows


def losses(rows):
    """Sort rows by name, losses alone: -> {name: (step [N], value [N])}"""
    names = dict.fromkeys(name for _, name, _ in rows if not name.endswith(APART))
    return {name: tuple(np.array(column) for column in zip(*((step, value) for step, own, value in rows if own == name))) for name in names}


def smoothed(values, share=WINDOW):
    """Take the running mean over a share of the curve, fewer at its ends: values [N] -> [N]"""
    half = int(len(values) * share / 2)
    total, rows = np.concatenate([[0.0], np.cumsum(values)]), np.arange(len(values))
    first, last = np.maximum(rows - half, 0), np.minimum(rows + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)


def draw(folder, out):
    """Draw the losses of every stage in a folder, those trained first above: draw(folder, out) -> path of the picture"""
    import matplotlib
    from matplotlib.figure import Figure
    stages = {path.stem: losses(read(path)) for path in sorted(Path(folder).glob('*.csv'), key=lambda path: path.stat().st_mtime)}
    stages = {name: found for name, found in stages.items() if found}
    rows = max(1, -(-len(stages) // COLUMNS))
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * rows), dpi=DPI, layout='constrained')
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axis, (name, found) in zip(axes, stages.items()):
            _panel(axis, name, found)
        for axis in axes[len(stages):]:
            axis.axis('off')
        figure.savefig(out, pil_kwargs={'optimize': True})
    return Path(out)


def _panel(axis, stage, found):
    for colour, (name, (step, value)) in zip(COLOURS * 2, found.items()):
        axis.plot(step, value, color=colour, alpha=0.25, linewidth=0.8)
        axis.plot(step, smoothed(value), color=colour, linewidth=1.6, label=name)
    lowest, highest = (bound([bound(value) for _, value in found.values()]) for bound in (min, max))
    # Decades label nothing within a factor of three.
    axis.set(title=stage, xlabel='step', yscale='log' if 0 < 3 * lowest < highest else 'linear')
    axis.grid(axis='y', color='#e8e8e8')
    axis.legend(frameon=False, ncols=min(3, len(found)), loc='upper center', bbox_to_anchor=(0.45, -0.2), handlelength=1,
                columnspacing=1)
