"""From bags to episodes: reads each bag once, in the order of stamps, and writes shards that the training reads."""
import json
import shutil
from contextlib import ExitStack
from pathlib import Path

from diffusion_planner import config
from diffusion_planner.data import ingest_inputs as inputs
from diffusion_planner.data import ingest_report as reports
from diffusion_planner.data import ingest_reward as rewards
from diffusion_planner.data import ingest_timeline, lerobot
from diffusion_planner.data import mapping as mappings
from diffusion_planner.data import store
from diffusion_planner.data.bags import open_bag
from diffusion_planner.data.ingest_episodes import Cutter
from diffusion_planner.data.ingest_feed import Feed

STATE = 'ingest_state.json'


class IngestError(ValueError):
    """Bags of which no episodes can be made; the message names what was found and what was expected."""


def ingest(paths, map_path, out, progress=lambda bag, share: None):
    """Make a data folder of bags: the same as `demos` writes, with ingest_report.json and ingest_report.png: -> the report

    The folder appears when it is complete; until then it is called OUT.part, which a later run begins anew.
    Raises IngestError, BagError, ConfigError, CameraError.
    """
    mapping, robot = mappings.load(map_path)
    out, part = Path(out), Path(f'{out}.part')
    if out.exists():
        raise IngestError(f'--out: got {out}, which is there already, expected a new folder')
    for path in filter(lerobot.is_dataset, paths):
        raise IngestError(f'{path}: is a LeRobot dataset, expected a bag; "diffusion-planner from-lerobot" reads those')
    with ExitStack() as stack:
        bags = [stack.enter_context(open_bag(path)) for path in paths]
        for bag in bags:
            inputs.check_topics(bag, mapping)
        reward = _reward_maker(mapping, map_path, robot, len(bags))
        _begin(part, paths)
        try:
            report = _ingest(bags, mapping, robot, reward, part, progress)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    part.rename(out)
    return report


def _begin(part, paths):
    """Make the folder for what is not complete yet, in place of one that an interrupted run left."""
    if part.exists():
        if not (part / STATE).exists():
            raise IngestError(f'{part}: is there already and no unfinished ingest, expected a name that is free')
        shutil.rmtree(part)
    part.mkdir(parents=True)
    (part / STATE).write_text(json.dumps({'unfinished': [str(path) for path in paths]}))


def _ingest(bags, mapping, robot, reward, part, progress):
    writer = store.ShardWriter(part, attributes(mapping, robot, bags))
    sizes, told = {}, []
    for bag in bags:
        told.append(_read(bag, mapping, robot, reward, writer, sizes, lambda share, bag=bag: progress(bag, share)))
    writer.close()
    report = reports.summary(told, mapping, robot, sizes)
    _check(report, told, mapping, robot)
    reports.write(report, part)
    ingest_timeline.draw(report, part / 'ingest_report.png')
    (part / STATE).unlink()
    return report


def _read(bag, mapping, robot, make_reward, writer, sizes, progress):
    """Read one bag to its end: -> what its streams and episodes were like"""
    joints, others = inputs.make_streams(bag, mapping, robot)
    feed = Feed(bag, joints, others, mapping.lag_s)
    cutter = Cutter(mapping, inputs.Cameras(bag, mapping, sizes), feed.streams, make_reward(feed), writer.count)
    span_ns = max((bag.end_ns or 0) - (bag.begin_ns or 0), 1)
    lines = []
    for until_ns, events, over in feed.batches(lambda log_ns: progress((log_ns - (bag.begin_ns or log_ns)) / span_ns)):
        for episode, begin_ns, why in cutter.advance(until_ns, events, over):
            writer.add(episode)
            lines.append(reports.episode_line(episode, begin_ns, why, mapping))
    progress(1.0)
    return reports.bag_report(bag, feed, cutter, lines)


def attributes(mapping, robot, bags):
    """Describe the data, as `demos` does and beyond: -> attributes of the shards"""
    return {'joint_names': list(robot.joint_names), 'cameras': list(mapping.cameras), 'robot': robot.name,
            'picture_shape': (*mapping.picture_size, 3), 'sensors': list(mapping.sensors), 'joint_hz': mapping.joint_hz, 'camera_hz': mapping.camera_hz,
            'reward': mapping.reward.kind, 'source': 'ingest', 'bags': [bag.path.name for bag in bags],
            'mapping': json.dumps(config.to_mapping(mapping))}


def _reward_maker(mapping, map_path, robot, bag_count):
    """Prepare what tells rewards: -> function of a Feed"""
    setting = mapping.reward
    if setting.topic:
        return lambda feed: rewards.TopicReward(setting.topic)
    if setting.marker:
        return lambda feed: rewards.MarkerReward(setting.marker, robot)
    if not setting.intervals:
        return lambda feed: rewards.NoReward()
    intervals = rewards.read_intervals(mappings.interval_file(mapping, map_path))
    if bag_count > 1 and not setting.intervals.absolute:
        raise config.ConfigError(f'{map_path}: reward: intervals: seconds since a bag began, got {bag_count} bags, expected one, or absolute: true')
    return lambda feed: rewards.IntervalReward(intervals, lambda: 0 if setting.intervals.absolute else feed.begin_ns or 0)


def _check(report, told, mapping, robot):
    """Raise IngestError where nothing can be learned from what was found."""
    for bag in told:
        for name, topic in bag['topics'].items():
            if topic['messages'] and topic['messages'] == sum(topic['rejected'].values()):
                said = f'no message is of robot {robot.name}' if name == 'joint_states' else 'no message can be used'
                raise IngestError(f'{bag["path"]}: {name}: {topic["topic"]}: {said}; {next(iter(topic["rejected"]))}')
    if not report['episodes']:
        raise IngestError(f'no episode of at least {mapping.episodes.shortest_s:g} s in {len(told)} bag{"s" * (len(told) > 1)}: {reports.why_nothing(told)}')
    if mapping.reward.kind != 'none' and not report['rewarded_share']:
        told_by = mapping.reward.topic or mapping.reward.marker
        raise IngestError(f'reward: {mapping.reward.kind} {told_by.topic if told_by else mapping.reward.intervals.file} never fires: no instant of '
                          f'{report["duration_s"]:.0f} s is rewarded, expected some; leave reward out for data without any')
