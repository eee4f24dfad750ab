"""What the controller commands over the seams between chunks: this node's messages beside the same ones with positions alone.

One run in the simulator is recorded. Its messages, cut down, are then sent to a controller of their own at the same instants.
"""
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from diffusion_planner.evaluation.closed_loop import Loop, LoopSettings, trajectory
from diffusion_planner.records import ActionChunk
from diffusion_planner.sim import scene as scenes
from diffusion_planner.sim.acceptance import nanoseconds
from diffusion_planner.sim.controller import TrajectoryController
from diffusion_planner.sim.env import ArmEnv
from diffusion_planner.sim.task import Touch

LONGEST_S = 60.0
WAYS = {'this node': 'chunks as they are', 'positions only': 'the same chunks, positions alone', 'bare plans': 'tokens of the plans, positions alone'}
# Name, unit, and whose limit, times a period, is the most that it may change from one control period to the next.
ROWS = (('position', 'rad', 'velocity_max_rad_s'), ('velocity', 'rad/s', 'acceleration_max_rad_s2'), ('acceleration', 'rad/s²', 'jerk_max_rad_s3'))
JOINTS = 2           # those that step most with positions only are drawn
COLOURS = ('#004488', '#d09a1e')
SEAM, LIMIT, GRID = '#bb5566', '#7f7f7f', '#e8e8e8'
FONT = {'font.size': 12, 'axes.titlesize': 13, 'axes.titlelocation': 'left', 'legend.fontsize': 12, 'axes.spines.top': False,
        'axes.spines.right': False}
INCHES, DPI = (14.0, 8.0), 90


class Recorder(TrajectoryController):
    """A controller that keeps what it is sent and what it commands at every control period."""

    def reset(self, position_rad):
        super().reset(position_rad)
        self.sent, self.commands = [], []

    def accept(self, trajectory, now_s):
        errors = super().accept(trajectory, now_s)
        if not errors:
            self.sent.append((now_s, trajectory))
        return errors

    def reference(self, now_s, measured=None):
        command = super().reference(now_s, measured)
        self.commands.append((now_s, *command))
        return command


class Errand(ArmEnv):
    """An arm that is shown another target as soon as it has touched one, until `replans` chunks have taken over from one before."""

    def __init__(self, replans):
        super().__init__()
        settings = self.settings
        self.replans = replans
        self.controller = Recorder(self.robot.joint_names, settings.period_s, settings.distribution, settings.interpolate_from_desired_state)

    def reset(self, scene_seed, oddity=None):
        self.targets = iter([scenes.draw_scene(self.world, self.robot, scene_seed + 1 + index).target_m for index in range(self.replans)])
        super().reset(scene_seed, oddity)

    def step(self):
        super().step()
        if self.touch.success and (target_m := next(self.targets, None)):
            self.world.set_target(target_m)
            self.touch = Touch()

    def episode(self):
        sent = self.controller.sent
        enough = len(sent) > self.replans and self.now_s >= sent[self.replans][0] + 1.0
        return {**super().episode(), 'done': enough or self.elapsed_s >= LONGEST_S}


class Listener:
    """A planner whose plans are kept."""

    def __init__(self, planner):
        self.planner, self.plans = planner, []

    def __getattr__(self, name):
        return getattr(self.planner, name)

    def plan(self, *asked):
        self.plans.append(self.planner.plan(*asked))
        return self.plans[-1]


def measure(model, replans=10, seed=3000, **planning):
    """Record a run and replay its messages cut down: -> report, the same for equal arguments; planning: of LoopSettings, as backend"""
    env = Errand(replans)
    loop = Loop(LoopSettings(str(model), **planning), env)
    loop.planner = Listener(loop.planner)
    loop.run(seed)
    env.close()
    controller, robot = env.controller, env.robot
    sent, start_rad = controller.sent[:replans + 1], controller.commands[0][1]
    runs = {'this node': stack(controller.commands)}
    for way, messages in (('positions only', [(now_s, _positions_only(message)) for now_s, message in sent]),
                          ('bare plans', _bare(sent, loop.planner.plans))):
        runs[way] = stack(replay(messages, runs['this node'][0], start_rad, Recorder(robot.joint_names, env.period_s)))
    seams_s = [(now_s, now_s + _seconds(message.points[0])) for now_s, message in sent[1:]]
    return report(model, seed, runs, seams_s, robot, env.period_s)


def stack(commands):
    """Turn rows of commands into arrays: -> now_s [N], position, velocity, acceleration [N, J]"""
    return tuple(np.array(part) for part in zip(*commands))


def replay(messages, instants_s, start_rad, controller):
    """Send messages to a controller at rest at a posture, each before the first of the instants after it: -> commands"""
    controller.reset(start_rad)
    waiting = list(messages)
    for now_s in instants_s:
        while waiting and waiting[0][0] < now_s - 1e-9:
            sent_s, message = waiting.pop(0)
            if errors := controller.accept(message, sent_s):
                raise ValueError(f'replay: the controller got a message that it refuses: {errors[0]}')
        controller.reference(now_s)
    return controller.commands


def figures(run, seams_s, period_s):
    """Find the largest change from one control period to the next, in the whole run and at the seams: -> {name: [all, seams]}

    Acceleration is what commanded velocities come to, whatever the controller says it is: a step of velocity is none of its own. A
    seam is where the controller begins its way to a chunk, and where it gets there, two periods to either side.
    """
    now_s, position, velocity, _ = run
    acceleration = np.diff(velocity, axis=0, prepend=velocity[:1]) / period_s
    instants_s = np.array(seams_s).ravel() + period_s     # a message sent now begins at the next period
    near = (np.abs(now_s[1:, None] - instants_s) <= 2.5 * period_s).any(axis=1)
    found = {}
    for name, values in (('position', position), ('velocity', velocity), ('acceleration', acceleration)):
        change = np.abs(np.diff(values, axis=0)).max(axis=1)
        found[name] = [float(change.max()), float(change[near].max(initial=0.0))]
    found['jerk'] = [value / period_s for value in found['acceleration']]
    return found


def report(model, seed, runs, seams_s, robot, period_s):
    """Put everything that is shown or drawn into one mapping."""
    now_s, _, velocity, _ = runs['positions only']
    drawn = [int(joint) for joint in np.argsort(-np.abs(np.diff(velocity, axis=0)).max(axis=0))[:JOINTS]]
    return {
        'model': str(model), 'seed': seed, 'replans': len(seams_s), 'period_s': period_s, 'begun_s': float(now_s[0]),
        'seams_s': [list(seam) for seam in seams_s], 'joints': [robot.joint_names[joint] for joint in drawn],
        'acceleration_max_rad_s2': min(robot.acceleration_max_rad_s2[joint] for joint in drawn),
        'allowed': {name: min(getattr(robot, limit)) * period_s for name, _, limit in ROWS} | {'jerk': min(robot.jerk_max_rad_s3)},
        'jumps': {way: figures(run, seams_s, period_s) for way, run in runs.items()},
        'trace': {way: _trace(run, drawn, period_s) for way, run in runs.items()},
    }


def write(found, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(f'{path}.part')
    part.write_text(json.dumps(found) + '\n')
    os.replace(part, path)


def show(found):
    """Print the largest changes as a table."""
    from rich.console import Console
    from rich.table import Table
    table = Table('largest change in one control period', 'limits allow', *WAYS, title=f'{found["replans"]} replans, in the whole run / at the seams')
    for name, unit, _ in (*ROWS, ('jerk', 'rad/s³', None)):
        what = f'{name}, {unit}' if name != 'jerk' else f'jerk itself, {unit}'
        table.add_row(what, _short(found['allowed'][name]), *(' / '.join(map(_short, found['jumps'][way][name])) for way in WAYS))
    Console(width=140).print(table)


def draw(json_path, out):
    """Draw commands over time, a column per way of sending them: draw(json_path, out) -> path of the picture"""
    import matplotlib
    from matplotlib.figure import Figure
    found = json.loads(Path(json_path).read_text())
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=INCHES, dpi=DPI, layout='constrained')
        axes = figure.subplots(len(ROWS), len(WAYS), sharex=True, sharey='row')
        for column, way in enumerate(WAYS):
            _column(axes[:, column], found, way)
        for axis, (name, unit, _) in zip(axes[:, 0], ROWS):
            axis.set_ylabel(f'{name.replace("position", "from the start")} [{unit}]')
        figure.suptitle(f'What the controller commands over {found["replans"]} replans', fontsize=16, fontweight='bold', x=0.01, ha='left')
        figure.legend(handles=_legend(found), loc='outside lower left', ncols=5, frameon=False)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, pil_kwargs={'optimize': True})
    return Path(out)


def _column(axes, found, way):
    trace, limit = found['trace'][way], found['acceleration_max_rad_s2']
    for axis, (name, unit, _) in zip(axes, ROWS):
        for joint, colour in enumerate(COLOURS):
            axis.plot(trace['time_s'], [row[joint] for row in trace[name]], color=colour, lw=1.4)
        for sent_s, _ in found['seams_s']:
            axis.axvline(sent_s - found['begun_s'], color=SEAM, lw=0.9, ls=':', zorder=0)
        axis.grid(axis='y', color=GRID, lw=0.7)
        axis.set_title(f'largest step at a seam: {_short(found["jumps"][way][name][1])} {unit}', fontsize=11)
    for words, above, weight in ((way, 42, 'bold'), (WAYS[way], 24, 'normal')):
        axes[0].annotate(words, (0, 1), xycoords='axes fraction', xytext=(0, above), textcoords='offset points', fontweight=weight)
    axes[-1].set_ylim(-1.6 * limit, 1.6 * limit)
    for side in (-limit, limit):
        axes[-1].axhline(side, color=LIMIT, lw=1.2, ls='--', zorder=0)
    axes[-1].set_xlabel('time [s]')


def _legend(found):
    from matplotlib.lines import Line2D
    return [*(Line2D([], [], color=colour, label=joint) for colour, joint in zip(COLOURS, found['joints'])),
            Line2D([], [], color=SEAM, ls=':', label='a new chunk is sent'),
            Line2D([], [], color=LIMIT, ls='--', label='limit of acceleration; curves go on beyond the frame')]


def _positions_only(message):
    points = [SimpleNamespace(positions=point.positions, velocities=[], accelerations=[], effort=[], time_from_start=point.time_from_start)
              for point in message.points]
    return SimpleNamespace(header=message.header, joint_names=message.joint_names, points=points)


def _bare(sent, plans):
    """Make of each message what its plan alone would have been: -> [(now_s, message)]"""
    messages = []
    for now_s, message in sent:
        plan = min(plans, key=lambda plan: abs(plan.origin_s - now_s - _seconds(message.points[0])))
        tokens = ActionChunk(plan.origin_s, plan.offset_s, plan.position_rad, plan.velocity_rad_s, plan.velocity_rad_s)
        messages.append((now_s, _positions_only(trajectory(tokens, message.joint_names, now_s))))
    return messages


def _trace(run, joints, period_s):
    now_s, position, velocity, _ = run
    acceleration = np.diff(velocity, axis=0, prepend=velocity[:1]) / period_s
    rows = {name: np.round(values[:, joints], 5).tolist() for (name, _, _), values in zip(ROWS, (position - position[0], velocity, acceleration))}
    return {'time_s': np.round(now_s - now_s[0], 5).tolist(), **rows}


def _seconds(point):
    return nanoseconds(point.time_from_start) / 1e9


def _short(value):
    return f'{value:.3g}'
