"""How a bag is replayed: what is refused before anything is started, who plays, and with which parameters the planner listens."""
import contextlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from diffusion_planner.config import ConfigError, from_mapping
from diffusion_planner.data.bags import open_bag
from diffusion_planner.data.mapping import load as load_mapping
from diffusion_planner.layout import ModelConfig
from diffusion_planner.ros.parameters import Entry
from diffusion_planner.ros.recording import Recording, ReplayError, tracks_of
from diffusion_planner.ros.wishes import locate
from diffusion_planner.runtime.checkpoint import verify

PLAYERS = 'auto', 'rosbag2', 'own'
PLAYER = (
    Entry('bag', '', '', 'bag to play: a rosbag2 folder, or one of its files'),
    Entry('map', 'config/mapping.yaml', '', 'which topic of the bag is what'),
    Entry('model', 'models/panda_reach', '', 'model folder of the planner that listens'),
    Entry('rate', 1.0, '', 'seconds of the bag per second', 0.01, 20.0),
    Entry('start_s', 0.0, 's', 'where to begin, from the beginning of the bag', 0.0, 1e9),
    Entry('duration_s', 0.0, 's', 'how much to play; 0: to the end', 0.0, 1e9),
    Entry('player', 'auto', '', 'what plays: ros2 bag play, this node, or the first that can', choices=PLAYERS),
    Entry('report', '', '', 'JSON file of what the planner made of it; empty: none'),
)
DRIFT_S = 0.25        # log times and header stamps that are farther apart than this do not fit `ros2 bag play --clock`
CLOCK_HZ = 100


def chosen(given, robot=None):
    """Choose the parameters of both nodes: chosen(those of PLAYER that are given, robot file or None) -> player's, planner's name to value

    Raises ConfigError, ModelError, BagError and ReplayError, before anything is started.
    """
    player = {entry.name: entry.default for entry in PLAYER} | given
    if faults := [fault for entry in PLAYER if (fault := entry.fault(player[entry.name]))]:
        raise ConfigError(faults[0])
    for name in ('bag', 'map', 'model'):
        player[name] = str(locate(player[name]).expanduser().resolve())
    recording, player['player'] = open_checked(player)
    with recording:
        planner = planner_values(recording, model_config(player['model']), load_mapping(player['map'])[0])
    planner |= {'model': player['model'], 'robot': str(locate(robot or robot_file(player['map'])))}
    return {name: value for name, value in player.items() if value != ''}, planner


def model_config(folder):
    """Read what a model's weights mean: -> ModelConfig. Raises ModelError."""
    return from_mapping(ModelConfig, verify(folder)['model'], f'{folder}/config.json: model')


def open_checked(values):
    """Open a bag for the node: values as of PLAYER -> Recording, 'own' or 'rosbag2'. Raises BagError, ReplayError, ConfigError, ModelError."""
    mapping, _ = load_mapping(locate(values['map']))
    model = model_config(locate(values['model']))
    with open_bag(values['bag']) as bag:
        tracks = tracks_of(mapping, model, bag.topics)
    recording = Recording(values['bag'], tracks, values['start_s'], values['duration_s'] or None)
    try:
        _check_robot(recording, model)
        return recording, choose_player(values['player'], recording)
    except BaseException:
        recording.close()
        raise


def _check_robot(recording, model):
    """Refuse a bag of another robot. Raises ReplayError."""
    names = list(recording.first(recording.joints).name)
    if missing := [name for name in model.joint_names if name not in names]:
        raise ReplayError(f'{recording.path}: joints {", ".join(names) or "none"} on {recording.joints}, '
                          f'expected {", ".join(missing)} too, of the robot that the model was trained for')


def choose_player(wanted, recording):
    """Say who plays: 'rosbag2' where it is there and can, else 'own'. Raises ReplayError where rosbag2 is wanted and cannot."""
    if wanted == 'own':
        return 'own'
    trouble = rosbag2_trouble(recording)
    if trouble and wanted == 'rosbag2':
        raise ReplayError(f'player: got rosbag2, {trouble}; expected player own')
    return 'own' if trouble else 'rosbag2'


def rosbag2_trouble(recording):
    """Say why `ros2 bag play` cannot play a bag to the node, '' where it can."""
    try:
        from ament_index_python.packages import get_package_share_directory
        get_package_share_directory('ros2bag')
        there = shutil.which('ros2') is not None
    except (ImportError, LookupError, OSError):
        there = False
    if not there:
        return 'but ros2 bag is not installed'
    if any(track.restamp for track in recording.present):
        return 'but a camera has a clock of its own (stamps: log), which it cannot mend'
    if len({track.topic for track in recording.present}) < len({(track.topic, track.to) for track in recording.present}):
        return 'but a topic is needed under two names, which it cannot give it'
    if recording.clock_ahead_s() > DRIFT_S and '/clock' not in recording.bag.topics:
        return f'but header stamps are up to {recording.clock_ahead_s():.1f} s from log times, by which it sets /clock, and the bag has no /clock'
    return ''


def rosbag2_command(recording, values):
    """Write the command line of `ros2 bag play`: what the node needs, where it listens, and a /clock that fits the stamps: -> list of str"""
    topics = dict.fromkeys(track.topic for track in recording.present)
    moved = [f'{topic}:={to}' for topic, to in dict.fromkeys((track.topic, track.to) for track in recording.present) if topic != to]
    own_clock = recording.clock_ahead_s() > DRIFT_S
    command = ['ros2', 'bag', 'play', str(recording.path), '--rate', f'{values["rate"]:g}', '--disable-keyboard-controls']
    command += [] if own_clock else ['--clock', str(CLOCK_HZ)]
    command += ['--start-offset', f'{values["start_s"]:g}'] if values['start_s'] else []
    command += ['--playback-duration', f'{values["duration_s"]:g}'] if values['duration_s'] else []
    command += ['--topics', *topics, *(['/clock'] if own_clock else [])]
    return command + (['--remap', *moved] if moved else [])


def planner_values(recording, model, mapping):
    """Choose what the planner's parameters must be for a bag: -> name to value. Raises ReplayError."""
    found = {'use_sim_time': True, 'autostart': True, 'shadow': True}
    sizes = {track.topic: picture_size(recording, track.topic) for track in recording.tracks if track.role == 'camera'}
    if len(set(sizes.values())) > 1:
        told = ', '.join(f'{topic} {columns}x{rows}' for topic, (rows, columns) in sizes.items())
        raise ReplayError(f'{recording.path}: pictures of different sizes, {told}; expected one size, as the node takes')
    for rows, columns in sizes.values():
        found |= {'camera_size': f'{columns}x{rows}'} if (rows, columns) != tuple(model.picture_shape[:2]) else {}
    found |= {'compressed': True} if any(track.to.endswith('/compressed') for track in recording.tracks) else {}
    sensors = {track.name: sensor_entry(mapping.sensors[track.name], recording) for track in recording.tracks if track.role == 'sensor'}
    return found | ({'sensors': json.dumps(sensors)} if sensors else {})      # on one line, which is YAML, too


def sensor_entry(sensor, recording):
    """Write down where a sensor is for the node, whose messages arrive with stamps that it can use: -> {'topic', 'type', 'fields'}"""
    return {'topic': sensor.topic, 'type': recording.bag.topics[sensor.topic].type, 'fields': list(sensor.fields)}


def picture_size(recording, topic):
    """Read the size of a camera's first picture: -> rows, columns. Raises ReplayError."""
    from diffusion_planner.messages import MessageError, read_image
    try:
        return read_image(recording.first(topic), topic).pixels.shape[:2]
    except MessageError as error:
        raise ReplayError(f'{recording.path}: {topic}: {error}') from None


def robot_file(mapping):
    """Name the robot file of a mapping, found as `data.mapping.load` finds it: -> str"""
    import yaml
    path = locate(mapping)
    name = yaml.safe_load(path.read_text())['robot']
    return next((str(place.resolve()) for place in (Path(name), path.parent / name) if place.exists()), name)


@contextlib.contextmanager
def scratch():
    """Hold a folder that is gone after the block: -> Path"""
    with tempfile.TemporaryDirectory(prefix='diffusion_planner_') as folder:
        yield Path(folder)


def read_json(path):
    return json.loads(Path(path).read_text())


def write_json(path, content):
    """Write a file whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + '.part')
    part.write_text(json.dumps(content, indent=1) + '\n')
    os.replace(part, path)
