"""What the model senses on this arm: the parameter `sensors`, read and held against the model, and the memory of it all."""
import importlib
from dataclasses import dataclass

import yaml

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.data.mapping import check_fields, check_stamps
from diffusion_planner.planning.history import History
from diffusion_planner.ros.health import BRAKE
from diffusion_planner.ros.wishes import locate


@dataclass(frozen=True)
class SensorSource:
    """A topic with numbers: `fields` are paths into its messages, K numbers together. An entry of a mapping, see config/mapping.yaml.

    stamps: header, or log for messages that are dated on receipt. gap_s has a meaning for bags alone.
    """

    topic: str
    type: str
    fields: tuple[str, ...]
    stamps: str = 'header'
    gap_s: float = 0.25

    def __post_init__(self):
        check_stamps(self.stamps)
        check_fields(*self.fields)


def remember(planner, robot, values):
    """Make the memory that the parameters ask for: -> History"""
    camera_s, sensor_s = values['camera_timeout_s'], values['sensor_timeout_s']
    return History(len(robot.joint_names), planner.cameras, planner.context_offset_s, fresh_s=0.5 * camera_s, blind_s=BRAKE * camera_s,
                   any_camera=not values['require_all_cameras'], sensors=getattr(planner, 'sensors', ()), sensor_fresh_s=0.5 * sensor_s,
                   sensor_blind_s=BRAKE * sensor_s, any_sensor=not values['require_sensors'])


def read_sources(text, wanted):
    """Read what the parameter `sensors` names, a file or YAML text: -> {name: SensorSource} of the wanted (name, size), in their order

    Sensors that the model does not have are left out. Raises ConfigError for one that is not there, and where fields are not in its messages.
    """
    entries = _entries(text) if text or wanted else {}
    for name, size in wanted:
        if name not in entries:
            raise ConfigError(f'parameter sensors: got {", ".join(map(str, entries)) or "none"}, expected {name}, of which the model was trained '
                              f'with {size} numbers: its topic, type and fields')
    found = {name: config.from_mapping(SensorSource, entries[name], f'parameter sensors: {name}') for name, _ in wanted}
    for name, source in found.items():
        _check(source, f'parameter sensors: {name}')
    return found


def mistyped(node, sources):
    """Say which sensors' topics carry messages of another type than the parameter says, which nobody would hear: -> texts"""
    carried = [(name, source, info.topic_type) for name, source in sources.items() for info in node.get_publishers_info_by_topic(source.topic)]
    return sorted({f'{name}: {source.topic} carries {kind}, the parameter sensors says {source.type}' for name, source, kind in carried if kind != source.type})


def message_class(kind):
    """Find the class of a message by its type's name, such as geometry_msgs/msg/WrenchStamped. Raises ConfigError."""
    try:
        package, folder, name = kind.split('/')
        return getattr(importlib.import_module(f'{package}.{folder}'), name)
    except (ValueError, ImportError, AttributeError):
        raise ConfigError(f'type: got {kind!r}, expected one that is installed, such as geometry_msgs/msg/WrenchStamped') from None


def _entries(text):
    """Read YAML: name to mapping, or these below the key `sensors` of a file with more in it."""
    try:
        loaded = yaml.safe_load(text if '\n' in text or ': ' in text else locate(text).read_text() if text else '{}')
    except OSError as error:
        raise ConfigError(f'parameter sensors: {text}: cannot be read ({error.strerror}), expected a YAML file, or YAML text') from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'parameter sensors: not valid YAML: {" ".join(str(error).split())}') from None
    loaded = loaded['sensors'] if isinstance(loaded, dict) and 'sensors' in loaded else loaded
    if not isinstance(loaded, dict):
        raise ConfigError(f'parameter sensors: got {loaded!r}, expected name: {{topic, type, fields}} for each')
    return loaded


def _check(source, where):
    """Raise ConfigError for a type that is not installed, and for fields that its messages do not have."""
    try:
        kind = message_class(source.type)
    except ConfigError as error:
        raise ConfigError(f'{where}: {error}') from None
    for path in source.fields:
        message = kind()
        for name in (part.split('[')[0] for part in path.split('.')):
            if name not in (there := message.get_fields_and_field_types()):
                raise ConfigError(f'{where}: fields: {path}: {type(message).__name__} has no {name!r}, expected one of {", ".join(there)}')
            message = getattr(message, name)
            if not hasattr(message, 'get_fields_and_field_types'):
                break       # numbers; or a list of messages, of which an empty one does not tell the kind
