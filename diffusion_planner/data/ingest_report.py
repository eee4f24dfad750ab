"""What was found in bags: a report that is written as JSON."""
import json
import re

import numpy as np

SECOND_NS = 1_000_000_000
FORMAT = 'diffusion_planner/ingest_report/1'
PAIR = re.compile(r'\[\s+([-+.\de]+),\s+([-+.\de]+)\s+\]')


def rounded(value, digits=4):
    return None if value is None else round(float(value), digits)


def counted(count, name):
    return f'{count} {name}{"s" * (count != 1)}'


def episode_line(episode, begin_ns, why, mapping):
    """Describe an episode: -> dict; rewarded: [begin, end] in seconds from its beginning"""
    return {'seed': int(episode.seed), 'begin_s': rounded(begin_ns / SECOND_NS, 6), 'duration_s': rounded(episode.stamp_s[-1]),
            'joint_samples': len(episode.stamp_s), 'pictures': len(episode.pixels), 'rewarded_samples': int(np.count_nonzero(episode.reward)),
            'rewarded': spans(episode.reward, 1 / mapping.joint_hz), 'ended_by': why}


def spans(reward, period_s):
    """Find where a reward is above 0: spans(reward [N], period_s) -> [[begin_s, end_s], ...]"""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], reward > 0, [0]])))
    return [[rounded(begin * period_s), rounded(end * period_s)] for begin, end in edges.reshape(-1, 2)]


def topic_report(stream):
    """Describe a stream: -> dict; times in seconds, offsets are log time minus stamp"""
    usual_ns = stream.period_ns.quantile(0.5)
    return {'topic': stream.topic, 'messages': stream.count, 'rate_hz': rounded(SECOND_NS / usual_ns, 2) if usual_ns else None,
            'first_s': rounded(stream.first_ns / SECOND_NS, 6) if stream.first_ns is not None else None,
            'last_s': rounded(stream.last_ns / SECOND_NS, 6) if stream.last_ns is not None else None,
            'largest_gap_s': rounded(stream.largest_gap_ns / SECOND_NS), 'gaps': stream.gap_count,
            'gap_spans_s': [[rounded(begin / SECOND_NS), rounded(end / SECOND_NS)] for begin, end in stream.gaps],
            'clock_offset_s': {name: rounded(value / SECOND_NS, 6) if value is not None else None for name, value in (
                ('median', stream.offset_ns.quantile(0.5)), ('p05', stream.offset_ns.quantile(0.05)), ('p95', stream.offset_ns.quantile(0.95)))},
            'unstamped': stream.zero, 'reordered': stream.reordered, 'duplicates': stream.repeated, 'too_late': stream.late,
            'rejected': {reason: count for reason, count in stream.rejected.most_common() if count}}


def bag_report(bag, feed, cutter, lines):
    """Describe what became of one bag: -> dict"""
    return {'path': str(bag.path), 'notes': list(bag.notes), 'log_s': rounded(((bag.end_ns or 0) - (bag.begin_ns or 0)) / SECOND_NS),
            'clock_restarts': feed.restarts, 'dated_by': 'log time' if feed.by_log else 'header stamps',
            'topics': {stream.name: topic_report(stream) for stream in feed.streams}, 'episodes': lines,
            'left_out': {reason: count for reason, count in cutter.left_out.items() if count}, 'ended_by': dict(cutter.ends),
            'unused_s': rounded(cutter.unused_s),
            'picture_age_s': {'median': rounded(cutter.picture_age_s.quantile(0.5)), 'largest': rounded(cutter.picture_age_s.quantile(1.0))},
            'commands': 'next measured position' if not cutter.mapping.command else f'{cutter.commands.missing} instants by the next measured position'}


def summary(told, mapping, robot, sizes):
    """Add up what became of all bags: -> the report"""
    lines = [line for bag in told for line in bag['episodes']]
    samples = sum(line['joint_samples'] for line in lines)
    rewarded = sum(line['rewarded_samples'] for line in lines)
    return {'format': FORMAT, 'robot': robot.name, 'joint_names': list(robot.joint_names), 'reward': mapping.reward.kind, 'episodes': len(lines),
            'duration_s': rounded(sum(line['duration_s'] for line in lines)), 'joint_samples': samples, 'pictures': sum(line['pictures'] for line in lines),
            'rewarded_share': rounded(rewarded / samples, 6) if samples else 0.0, 'rewarded_episodes': sum(bool(line['rewarded']) for line in lines),
            'cameras': {name: {'rows': size[0], 'columns': size[1]} for name, size in sizes.items()},
            'joint_hz': mapping.joint_hz, 'camera_hz': mapping.camera_hz, 'warnings': warnings(told, mapping), 'bags': told}


def warnings(told, mapping):
    """List what somebody should know before training on it: -> lines"""
    found = []
    for bag in told:
        found += [f'{bag["path"]}: {note}' for note in bag['notes']]
        for name, topic in bag['topics'].items():
            found += [f'{bag["path"]}: {name}: {text}' for text in _oddities(name, topic)]
        if bag['clock_restarts']:
            found.append(f'{bag["path"]}: the clock was set back {counted(bag["clock_restarts"], "time")}: episodes end there')
        if bag['dated_by'] == 'log time':
            found.append(f'{bag["path"]}: joint states have no stamps: everything is dated by log times')
        found += [f'{bag["path"]}: {counted(count, "episode")} left out: {reason}' for reason, count in bag['left_out'].items()]
        found += [] if bag['episodes'] else [f'{bag["path"]}: no episode']
    return found + (['nothing is rewarded: such data trains no reward'] if mapping.reward.kind == 'none' else [])


def _oddities(name, topic):
    if not topic['messages']:
        return ['no message']
    gaps = counted(topic['gaps'], 'gap')
    found = [f'{gaps}, the largest {topic["largest_gap_s"]:.2f} s: episodes end there'] if topic['gaps'] else []
    for key, text in (('unstamped', 'without a stamp, dated by log times'), ('reordered', 'in the wrong order, sorted'), ('duplicates', 'twice, left out'),
                      ('too_late', 'too late to be sorted, left out')):
        found += [f'{counted(topic[key], "message")} {text}'] if topic[key] else []
    return found + [f'{counted(count, "message")} rejected: {reason}' for reason, count in topic['rejected'].items()]


def why_nothing(told):
    """Say in a line what stood in the way of episodes."""
    reasons = [f'{name}: {text}' for bag in told for name, topic in bag['topics'].items() for text in _oddities(name, topic)]
    reasons += [f'{count} left out: {reason}' for bag in told for reason, count in bag['left_out'].items()]
    return '; '.join(reasons[:4]) or 'the inputs do not overlap'


def write(report, folder):
    """Write ingest_report.json into a folder."""
    text = json.dumps(report, indent=1, allow_nan=False)
    (folder / 'ingest_report.json').write_text(PAIR.sub(r'[\1, \2]', text) + '\n')      # a gap is one line, not four
