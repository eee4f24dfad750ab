"""A robot_description (URDF): its limits narrow those of a robot file, and from it alone a robot file can be made."""
import math
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from xml.etree import ElementTree

import numpy as np

from diffusion_planner.config import ConfigError, to_mapping
from diffusion_planner.robot import JointFrame, Robot, rotation_rpy

WHERE = 'robot_description'
TURNING = ('revolute', 'continuous')
ENDLESS_RAD = 2 * math.pi       # either way, for a joint that the URDF says may turn for ever
CAUTIOUS_RAD_S2 = 2.0           # where neither the URDF nor the caller names an acceleration: a tenth of what light arms do
CAUTIOUS_RAD_S3 = 20.0
HOME_MARGIN_RAD = 0.1
CHECKS = {
    'joint_names': 'In the order of the chain; the controller must know the same names.',
    'position_min_rad': 'The stricter of hard and soft limits; two turns in all for a joint without end.',
    'velocity_max_rad_s': "The URDF's; compare with the data sheet, and mind the payload.",
    'acceleration_max_rad_s2': 'The URDF has it seldom: then it is what --acceleration said, or a cautious guess.',
    'jerk_max_rad_s3': 'Likewise, --jerk.',
    'control_period_s': "One over the controller manager's update_rate.",
    'home_rad': 'A guess, unless --home was given: a posture that is clear of everything, not stretched out.',
    'chain': 'Joint origins; each joint turns about its z axis.',
}


@dataclass(frozen=True)
class Limits:
    """What a URDF allows one joint, infinite where it says nothing."""

    low_rad: float
    high_rad: float
    velocity_rad_s: float
    acceleration_rad_s2: float
    jerk_rad_s3: float


def narrowed(robot, text, where=WHERE):
    """Take the stricter of a robot's limits and a URDF's, joint by joint: narrowed(robot, text) -> Robot

    Hard and soft position limits count, velocity, and acceleration, deceleration and jerk where the URDF has them. Raises
    ConfigError for what is no URDF, a joint that is missing or does not turn by itself, and limits that leave nothing.
    """
    with _place(where):
        joints = _joints(_parse(text))
        limits = [_limits(_turning(joints, name)) for name in robot.joint_names]
        for name, low, high, limit in zip(robot.joint_names, robot.position_min_rad, robot.position_max_rad, limits):
            if not max(low, limit.low_rad) < min(high, limit.high_rad):
                raise ValueError(f'{name}: got {limit.low_rad} to {limit.high_rad} rad, expected a range that overlaps {low} to {high} rad')

        def stricter(choose, mine, theirs):
            return tuple(choose(own, getattr(limit, theirs)) for own, limit in zip(getattr(robot, mine), limits))
        return replace(robot, position_min_rad=stricter(max, 'position_min_rad', 'low_rad'),
                       position_max_rad=stricter(min, 'position_max_rad', 'high_rad'),
                       velocity_max_rad_s=stricter(min, 'velocity_max_rad_s', 'velocity_rad_s'),
                       acceleration_max_rad_s2=stricter(min, 'acceleration_max_rad_s2', 'acceleration_rad_s2'),
                       jerk_max_rad_s3=stricter(min, 'jerk_max_rad_s3', 'jerk_rad_s3'))


def robot_from_urdf(text, tip_link, base_link=None, joints=None, name=None, acceleration_rad_s2=None, jerk_rad_s3=None,
                    home_rad=None, control_period_s=0.01, where=WHERE):
    """Make a robot of the joints that turn between two links; without `base_link` from the URDF's root: -> Robot

    `joints` are the names that must be found there, in this order. Acceleration and jerk bound every joint, beside what the
    URDF says; home is zero where that is well inside the limits, else their middle. Raises ConfigError.
    """
    with _place(where):
        root = _parse(text)
        way = _way(root, tip_link, base_link)
        names = [_name(joint) for joint in way if joint.get('type') != 'fixed']
        limits = [_bounded(moving, _limits(_turning(_joints(root), moving))) for moving in names]
        if joints is not None and list(joints) != names:
            raise ValueError(f'joints: got {list(joints)}, expected {names}, those on the way from base to tip')
        chain, tip = _frames(way)
        low, high, velocity, acceleration, jerk = zip(*(astuple(limit) for limit in limits)) if limits else [()] * 5
        return Robot(name or root.get('name') or 'robot', tuple(names), low, high, velocity,
                     tuple(_least(theirs, acceleration_rad_s2, CAUTIOUS_RAD_S2) for theirs in acceleration),
                     tuple(_least(theirs, jerk_rad_s3, CAUTIOUS_RAD_S3) for theirs in jerk),
                     control_period_s, chain, tip, tuple(map(_home, low, high) if home_rad is None else home_rad))


def to_yaml(robot, heading):
    """Write a robot file that config.load reads back, with a word on what to check in it: -> str"""
    import yaml

    def flow(value):
        return yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=10000).strip()[1:-1]
    mapping = to_mapping(robot)
    lines = [f'# {heading}', '# Check every line before an arm moves by it.']
    for field in fields(robot):
        if field.name in CHECKS:
            lines.append(f'# {CHECKS[field.name]}')
        frames = mapping[field.name] if field.name == 'chain' else ()
        lines.append(f'{field.name}:' + ('' if frames else f' {flow(mapping[field.name])}'))
        lines += [f'  - {flow(frame)}' for frame in frames]
    return '\n'.join(lines) + '\n'


@contextmanager
def _place(where):
    """Name the place in every ValueError raised inside, and make it a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(' '.join(f'{where}: {error}'.split())) from None


def _parse(text):
    """Read URDF text: -> its <robot> element"""
    try:
        root = ElementTree.fromstring(text.strip())
    except ElementTree.ParseError as error:
        raise ValueError(f'got what is not XML ({error}), expected a URDF') from None
    if root.tag != 'robot':
        raise ValueError(f'got <{root.tag}>, expected <robot>')
    return root


def _joints(root):
    """Collect the joints, not those that <transmission> and <ros2_control> mention: -> name to element"""
    joints = {}
    for joint in root.findall('joint'):
        if _name(joint) in joints:
            raise ValueError(f'{_name(joint)}: got two joints of that name, expected one')
        joints[_name(joint)] = joint
    return joints


def _name(joint):
    if not joint.get('name'):
        raise ValueError('got a <joint> without a name, expected one')
    return joint.get('name')


def _turning(joints, name):
    """Find a joint that turns by itself: -> element"""
    if name not in joints:
        known = [known for known, joint in joints.items() if joint.get('type') in TURNING]
        raise ValueError(f'{name}: got no such joint, expected one of {", ".join(known)}')
    joint = joints[name]
    if joint.get('type') not in TURNING:
        raise ValueError(f'{name}: got a {joint.get("type")} joint, expected revolute or continuous')
    if joint.find('mimic') is not None:
        raise ValueError(f'{name}: got a joint that mimics {joint.find("mimic").get("joint")}, expected one that is driven')
    return joint


def _numbers(joint, tag, attribute, default):
    """Read the numbers of a joint's child, as many as the default has: -> tuple of float, the default where it is left out"""
    text = None if joint.find(tag) is None else joint.find(tag).get(attribute)
    try:
        values = default if text is None else tuple(float(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != len(default) or any(map(math.isnan, values)):
        raise ValueError(f'{_name(joint)}: <{tag}> {attribute}: got {text!r}, expected {"a number" if len(default) == 1 else "three numbers"}')
    return values


def _limits(joint):
    """Read what a joint is allowed: -> Limits"""
    name, ranges = _name(joint), []
    if joint.get('type') == 'revolute':
        if joint.find('limit') is None:
            raise ValueError(f'{name}: got no <limit>, expected one of a revolute joint')
        ranges.append([_numbers(joint, 'limit', end, (0.0,))[0] for end in ('lower', 'upper')])     # URDF's defaults
    soft = [_numbers(joint, 'safety_controller', f'soft_{end}_limit', (default,))[0] for end, default in (('lower', -math.inf), ('upper', math.inf))]
    if soft != [0.0, 0.0]:                  # that is how exporters write soft limits that nobody set
        ranges.append(soft)
    for low, high in ranges:
        if not low < high:
            raise ValueError(f'{name}: got limits {low} to {high} rad, expected the lower below the upper')
    rates = {rate: _numbers(joint, 'limit', rate, (math.inf,))[0] for rate in ('velocity', 'acceleration', 'deceleration', 'jerk')}
    for rate, value in rates.items():
        if value <= 0:
            raise ValueError(f'{name}: <limit> {rate}: got {value}, expected a positive limit')
    low, high = max([-math.inf, *(low for low, _ in ranges)]), min([math.inf, *(high for _, high in ranges)])
    return Limits(low, high, rates['velocity'], min(rates['acceleration'], rates['deceleration']), rates['jerk'])


def _bounded(name, limit):
    """Give a joint that may turn for ever an end: -> Limits"""
    if limit.velocity_rad_s == math.inf:
        raise ValueError(f'{name}: <limit> velocity: got none, expected one in rad/s')
    return replace(limit, low_rad=max(limit.low_rad, -ENDLESS_RAD), high_rad=min(limit.high_rad, ENDLESS_RAD))


def _least(theirs, mine, guess):
    return guess if mine is None and theirs == math.inf else min(theirs, math.inf if mine is None else mine)


def _home(low_rad, high_rad):
    return 0.0 if low_rad + HOME_MARGIN_RAD < 0 < high_rad - HOME_MARGIN_RAD else round((low_rad + high_rad) / 2, 4)


def _way(root, tip_link, base_link):
    """Go down from base to tip: -> list of joint elements"""
    links, above = [link.get('name') for link in root.findall('link')], {}
    for wanted in filter(None, (tip_link, base_link)):
        if wanted not in links:
            raise ValueError(f'{wanted}: got no such link, expected one of {", ".join(map(str, links))}')
    for name, joint in _joints(root).items():
        ends = [None if joint.find(tag) is None else joint.find(tag).get('link') for tag in ('parent', 'child')]
        if None in ends or ends[1] in above:
            raise ValueError(f'{name}: got parent and child {ends}, expected two links, the child of no other joint')
        above[ends[1]] = ends[0], joint
    way, link = [], tip_link
    while link in above and link != base_link and len(way) <= len(above):
        link, joint = above[link]
        way.insert(0, joint)
    if link in above and link != base_link:
        raise ValueError(f'{tip_link}: got joints in a ring, expected a tree')
    if base_link not in (None, link):
        raise ValueError(f'{tip_link}: got a way up to {link}, expected one up to {base_link}')
    return way


def _frames(way):
    """Fold fixed joints into the next frame and turn every axis into z: -> (tuple of JointFrame, tip JointFrame)"""
    frames, rotation, offset_m = [], np.eye(3), np.zeros(3)     # from the last joint's frame, as ours is turned
    for joint in way:
        offset_m = offset_m + rotation @ _numbers(joint, 'origin', 'xyz', (0.0, 0.0, 0.0))
        rotation = rotation @ rotation_rpy(_numbers(joint, 'origin', 'rpy', (0.0, 0.0, 0.0)))
        if joint.get('type') == 'fixed':
            continue
        turn = _onto(_axis(joint))          # turning about the axis is: back to z, about z, and forth again
        frames.append(JointFrame.of(offset_m, rotation @ turn))
        rotation, offset_m = turn.T, np.zeros(3)
    return tuple(frames), JointFrame.of(offset_m, rotation)


def _axis(joint):
    axis = np.array(_numbers(joint, 'axis', 'xyz', (1.0, 0.0, 0.0)))    # URDF's default is x
    length = np.linalg.norm(axis)
    if length < 1e-6:
        raise ValueError(f'{_name(joint)}: <axis> xyz: got {axis.tolist()}, expected a direction')
    return axis / length


def _onto(axis):
    """Find the rotation that turns z into an axis: _onto(axis [3]) -> rotation [3, 3]"""
    if axis[2] < 0:
        flip = np.diag([1.0, -1.0, -1.0])
        return flip @ _onto(flip @ axis)
    cross = np.array([[0.0, 0.0, axis[0]], [0.0, 0.0, axis[1]], [-axis[0], -axis[1], 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + axis[2])
