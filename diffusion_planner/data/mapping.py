"""Which topic of a bag is what: joints, cameras, further sensors, commands, reward and the borders of episodes."""
import re
from dataclasses import dataclass, field
from pathlib import Path

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.robot import Robot

STAMPS = 'header', 'log'
PATH = re.compile(r'[A-Za-z_]\w*(\[\d+(:\d+)?\])?(\.[A-Za-z_]\w*(\[\d+(:\d+)?\])?)*')


def check_positive(record, *names):
    """Raise ValueError unless these numbers of a record are above 0, where they are given."""
    for name in names:
        value = getattr(record, name)
        if value is not None and not 0 < value < float('inf'):
            raise ValueError(f'{name}: got {value}, expected a number above 0')


def check_topic(topic):
    if not topic.startswith('/') or topic.endswith('/'):
        raise ValueError(f'topic: got {topic!r}, expected a full name such as /joint_states')


def check_stamps(stamps):
    if stamps not in STAMPS:
        raise ValueError(f'stamps: got {stamps!r}, expected one of {", ".join(STAMPS)}')


def check_fields(*paths):
    """Raise ValueError for paths that cannot be fields of a message."""
    for path in paths:
        if not PATH.fullmatch(path):
            raise ValueError(f'field: got {path!r}, expected a path such as wrench.force.x or data[0:3]')


@dataclass(frozen=True)
class CameraTopic:
    """A topic with pictures, raw or compressed; `stamps`: header, or log where the camera has a clock of its own."""

    topic: str
    stamps: str = 'header'

    def __post_init__(self):
        check_topic(self.topic)
        check_stamps(self.stamps)


@dataclass(frozen=True)
class SensorTopic:
    """A topic with numbers: `fields` are paths into its messages, K numbers together; silent for gap_s, it ends an episode.

    type: of its messages, which a bag knows by itself and the planner node must be told.
    """

    topic: str
    fields: tuple[str, ...]
    stamps: str = 'header'
    gap_s: float = 0.25
    type: str = ''

    def __post_init__(self):
        check_topic(self.topic)
        check_stamps(self.stamps)
        check_fields(*self.fields)
        check_positive(self, 'gap_s')
        if not self.fields:
            raise ValueError('fields: got none, expected at least one')


@dataclass(frozen=True)
class RewardTopic:
    """Rewarded while a number in a topic is above a threshold. Its last value holds for hold_s, or until the next one."""

    topic: str
    field: str = 'data'
    above: float = 0.5
    hold_s: float | None = None

    def __post_init__(self):
        check_topic(self.topic)
        check_fields(self.field)
        check_positive(self, 'hold_s')


@dataclass(frozen=True)
class RewardMarker:
    """Rewarded while the robot's fingertip is within the ball of a visualization_msgs/Marker, or within_m outside it."""

    topic: str
    within_m: float = 0.0

    def __post_init__(self):
        check_topic(self.topic)
        if not -10 < self.within_m < 10:
            raise ValueError(f'within_m: got {self.within_m}, expected metres')


@dataclass(frozen=True)
class RewardIntervals:
    """Rewarded within the intervals of a file; their times are seconds since the bag began, or absolute ones."""

    file: str
    absolute: bool = False


@dataclass(frozen=True)
class Rewards:
    """Exactly one of the three, or none of them: nothing is rewarded then."""

    topic: RewardTopic | None = None
    marker: RewardMarker | None = None
    intervals: RewardIntervals | None = None

    def __post_init__(self):
        given = [name for name in ('topic', 'marker', 'intervals') if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f'got {" and ".join(given)}, expected one of them')

    @property
    def kind(self):
        return next((name for name in ('topic', 'marker', 'intervals') if getattr(self, name) is not None), 'none')


@dataclass(frozen=True)
class SplitTopic:
    """An episode begins whenever a field's value changes or, with an empty field, with any message."""

    topic: str
    field: str = 'data'

    def __post_init__(self):
        check_topic(self.topic)
        if self.field:
            check_fields(self.field)


@dataclass(frozen=True)
class Split:
    """What divides a recording into episodes, beside gaps in its inputs. service: the name of a service with introspection."""

    topic: SplitTopic | None = None
    service: str | None = None
    longest_s: float = 60.0
    shortest_s: float = 1.0

    def __post_init__(self):
        check_positive(self, 'longest_s', 'shortest_s')
        if self.service is not None:
            check_topic(self.service)
        if self.shortest_s >= self.longest_s:
            raise ValueError(f'shortest_s: got {self.shortest_s}, expected less than longest_s ({self.longest_s})')


@dataclass(frozen=True)
class Mapping:
    """What `diffusion-planner ingest` does with a bag; see config/mapping.yaml, which explains every key."""

    robot: str
    joint_states: str
    cameras: dict[str, CameraTopic]
    sensors: dict[str, SensorTopic] = field(default_factory=dict)
    command: str | None = None
    reward: Rewards = Rewards()
    episodes: Split = Split()
    picture_size: tuple[int, int] = (96, 96)
    joint_hz: float = 20.0
    camera_hz: float = 5.0
    joint_gap_s: float = 0.25
    picture_gap_s: float = 0.6
    reorder_s: float = 1.0
    lag_s: float = 3.0

    def __post_init__(self):
        check_positive(self, 'joint_hz', 'camera_hz', 'joint_gap_s', 'picture_gap_s', 'reorder_s', 'lag_s')
        for topic in (self.joint_states, *filter(None, [self.command])):
            check_topic(topic)
        if not self.cameras:
            raise ValueError('cameras: got none, expected at least one')
        if min(self.picture_size) < 8:
            raise ValueError(f'picture_size: got {list(self.picture_size)}, expected rows and columns of at least 8')
        if self.joint_hz < self.camera_hz:
            raise ValueError(f'joint_hz: got {self.joint_hz:g}, expected at least camera_hz ({self.camera_hz:g})')
        self._check_names()

    def _check_names(self):
        for name in (*self.cameras, *self.sensors):
            if not re.fullmatch(r'\w+', name):
                raise ValueError(f'name: got {name!r}, expected letters, digits and underscores')
        if twice := set(self.cameras) & set(self.sensors):
            raise ValueError(f'sensors: {min(twice)!r} is a camera already, expected another name')

    def needed(self):
        """List the topics that a bag must have: -> what each is for -> topic"""
        topics = {'joint_states': self.joint_states}
        topics |= {f'cameras.{name}': camera.topic for name, camera in self.cameras.items()}
        topics |= {f'sensors.{name}': sensor.topic for name, sensor in self.sensors.items()}
        topics |= {'command': self.command} if self.command else {}
        reward = self.reward.topic or self.reward.marker
        topics |= {f'reward.{self.reward.kind}': reward.topic} if reward else {}
        topics |= {'episodes.topic': self.episodes.topic.topic} if self.episodes.topic else {}
        return topics | ({'episodes.service': service_topic(self.episodes.service)} if self.episodes.service else {})


def service_topic(service):
    """Name the topic on which service introspection tells of calls."""
    return f'{service}/_service_event'


def load(path):
    """Read a mapping, and the robot that it names, found from where the user stands, beside the mapping, or in the package: -> Mapping, Robot

    Raises ConfigError, FileNotFoundError.
    """
    from diffusion_planner.files import find
    mapping = config.load(Mapping, path)
    places = [Path(mapping.robot), Path(path).parent / mapping.robot]
    robot = next((place for place in places if place.exists()), None) or find(mapping.robot)
    return mapping, config.load(Robot, robot)


def interval_file(mapping, path):
    """Find the file of rewarded intervals, from where the user stands or beside the mapping."""
    for place in (Path(mapping.reward.intervals.file), Path(path).parent / mapping.reward.intervals.file):
        if place.exists():
            return place
    raise ConfigError(f'{path}: reward: intervals: file: got {mapping.reward.intervals.file!r}, expected a file that is there')
