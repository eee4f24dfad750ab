"""How fast bags become episodes, and how much memory that takes: a camera's pictures, raw and JPEG, over a bag and over a longer one."""
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

KINDS = 'raw', 'jpeg'
JOINT_HZ, TIMES_LONGER, PICTURES = 100, 10, 16
BEGIN_NS = 1_700_000_000 * 10**9
QUALITY = 90
# Peak memory is that of a process of its own: nothing else has been loaded into it, and ru_maxrss would be that of the parent before exec.
CHILD = '''
import json, sys, time
from pathlib import Path
from diffusion_planner.data.ingest import ingest
begun_s, begun_cpu_s = time.monotonic(), time.process_time()
report = ingest([sys.argv[1]], sys.argv[2], sys.argv[3])
took_s = time.monotonic() - begun_s
peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
print(json.dumps({'took_s': took_s, 'cpu_s': time.process_time() - begun_cpu_s, 'peak_mib': int(peak.split()[1]) / 1024,
                  'episode_s': report['duration_s'], 'pictures': report['pictures']}))
'''
MAPPING = '''
robot: {robot}
joint_states: /joint_states
cameras: {{camera: {{topic: /camera/image}}}}
reward: {{topic: {{topic: /reward}}}}
'''


@dataclass(frozen=True)
class Options:
    """What is recorded: a camera, joint states at 100 Hz and a reward; and the folder that bags are made in, for a while."""

    seconds: float = 20.0
    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    storage: str = 'mcap'
    longer: bool = True
    scratch: Path | None = None


def measure(options, say=lambda text: None):
    """Make bags, ingest each in a process of its own, and throw them away: -> report"""
    runs = []
    with tempfile.TemporaryDirectory(prefix='ingest_bench_', dir=options.scratch) as scratch:
        for kind in KINDS:
            for times in (1, TIMES_LONGER)[:1 + options.longer]:
                say(f'{kind}, {times * options.seconds:g} s')
                runs.append(_run(options, kind, times * options.seconds, Path(scratch)))
    return {'options': asdict(options) | {'scratch': None}, 'runs': runs,
            'machine': {'cores': os.cpu_count(), 'load': os.getloadavg(), 'kernel': platform.release()}}


def _run(options, kind, seconds, scratch):
    import shutil

    from diffusion_planner.files import find
    bag, mapping, out = scratch / 'bag', scratch / 'mapping.yaml', scratch / 'out'
    mapping.write_text(MAPPING.format(robot=find('config/panda.yaml')))
    write_bag(bag, kind, seconds, options)
    size = sum(path.stat().st_size for path in bag.iterdir())
    done = subprocess.run([sys.executable, '-c', CHILD, bag, mapping, out], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    for folder in (bag, out):
        shutil.rmtree(folder)
    return {'pictures_as': kind, 'seconds': seconds, 'bag_mib': size / 2**20, 'times_real_time': seconds / found['took_s'], **found}


def write_bag(path, kind, seconds, options):
    """Write a bag of an arm that swings slowly before a camera: kind is raw or jpeg."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    from diffusion_planner.sim.scene import default_robot
    store, robot = get_typestore(Stores.ROS2_JAZZY), default_robot()
    picture = 'sensor_msgs/msg/CompressedImage' if kind == 'jpeg' else 'sensor_msgs/msg/Image'
    kinds = {'/joint_states': 'sensor_msgs/msg/JointState', '/camera/image': picture, '/reward': 'std_msgs/msg/Float32'}
    views = _pictures(options)
    with Writer(path, version=8, storage_plugin=StoragePlugin[options.storage.upper()]) as writer:
        connections = {topic: writer.add_connection(topic, name, typestore=store) for topic, name in kinds.items()}
        for stamp_s, topic, message in _messages(store, robot, views, kind, seconds, options.rate_hz):
            writer.write(connections[topic], BEGIN_NS + round((stamp_s + 0.004) * 1e9), store.serialize_cdr(message, kinds[topic]))


def _messages(store, robot, views, kind, seconds, rate_hz):
    """List what is recorded in order of time: yields (stamp_s, topic, message)"""
    types, shown, none = store.types, 0, np.zeros(0)
    for row in range(round(seconds * JOINT_HZ)):
        stamp_s = row / JOINT_HZ
        header = types['std_msgs/msg/Header'](_time(types, stamp_s), 'camera')
        position_rad = np.array(robot.home_rad) + 0.3 * np.sin(0.5 * stamp_s)
        yield stamp_s, '/joint_states', types['sensor_msgs/msg/JointState'](header, list(robot.joint_names), position_rad, none, none)
        yield stamp_s, '/reward', types['std_msgs/msg/Float32'](float(stamp_s % 2 > 1))
        if stamp_s >= shown / rate_hz:
            yield stamp_s, '/camera/image', _image(types, header, views[shown % len(views)], kind)
            shown += 1


def _time(types, stamp_s):
    stamp = BEGIN_NS + round(stamp_s * 1e9)
    return types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)


def _image(types, header, pixels, kind):
    import cv2
    if kind == 'jpeg':
        data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        return types['sensor_msgs/msg/CompressedImage'](header, 'rgb8; jpeg compressed bgr8', data)
    height, width = pixels.shape[:2]
    return types['sensor_msgs/msg/Image'](header, height, width, 'rgb8', 0, 3 * width, pixels.reshape(-1))


def _pictures(options):
    """Make pictures with edges, shades and noise, as a camera's have: -> list of [Y, X, 3] uint8"""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:options.height, :options.width]
    made = []
    for number in range(PICTURES):
        shade = 110 + 60 * np.sin(columns / 90 + number) + 40 * ((rows // 60 + columns // 80) % 2)
        made.append(np.clip(shade[..., None] + random.normal(0, 6, (options.height, options.width, 3)), 0, 255).astype(np.uint8))
    return made


def write(report, path):
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + '\n')


def show(report):
    """Print the report as a table."""
    from rich.console import Console
    from rich.table import Table
    options = report['options']
    table = Table(title=f'ingest, {options["width"]}x{options["height"]} at {options["rate_hz"]:g} Hz, {options["storage"]}', title_justify='left')
    for column in ('pictures', 'bag [s]', 'bag [MiB]', 'took [s]', 'CPU [s]', 'times real time', 'peak memory [MiB]'):
        table.add_column(column, justify='left' if column == 'pictures' else 'right')
    for run in report['runs']:
        table.add_row(run['pictures_as'], f'{run["seconds"]:g}', f'{run["bag_mib"]:.0f}', f'{run["took_s"]:.1f}', f'{run["cpu_s"]:.1f}',
                      f'{run["times_real_time"]:.0f}', f'{run["peak_mib"]:.0f}')
    Console().print(table)
