"""The nodes' parameters: one table each, from which descriptors, validation and the README's table are made."""
import math
import traceback
from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from diffusion_planner.config import ConfigError
from diffusion_planner.sim.oddities import ODDITIES

OWN_SCALE = -1.0   # the guidance scale that the model's card recommends
ROS_OWN = ('use_sim_time', 'qos_overrides.', 'start_type_description_service')


@dataclass(frozen=True)
class Entry:
    """One parameter; its type is its default's. `read_only` ones are set at start and never again."""

    name: str
    default: Any
    unit: str
    description: str
    low: float | None = None
    high: float | None = None
    read_only: bool = True
    choices: tuple = ()

    @property
    def kind(self):
        return type(self.default)

    def fault(self, value):
        """Say what is wrong with a value: -> str, or None"""
        expected = f'{self.name}: got {value!r}, expected '
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.kind) or isinstance(value, bool) != (self.kind is bool):
            return expected + self.kind.__name__
        if self.choices and value not in self.choices:
            return expected + f'one of {self.allowed()}'
        if self.low is not None and not (math.isfinite(value) and self.low <= value <= self.high):
            return expected + f'{self.low:g} to {self.high:g} {self.unit}'.rstrip()
        return None

    def allowed(self):
        """List the choices, an empty one as quotes: -> str"""
        return ', '.join(choice or "''" for choice in self.choices)

    def descriptor(self):
        """-> rcl_interfaces/ParameterDescriptor"""
        described = ParameterDescriptor(name=self.name, description=f'{self.description} [{self.unit}]' if self.unit else self.description,
                                        read_only=self.read_only, additional_constraints=self.allowed())
        if self.low is not None and self.kind is float:
            described.floating_point_range = [FloatingPointRange(from_value=float(self.low), to_value=float(self.high))]
        elif self.low is not None:
            described.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return described


PLANNER = (
    Entry('autostart', False, '', 'configure and activate without a lifecycle manager'),
    Entry('model', 'models/panda_reach', '', 'model folder'),
    Entry('robot', 'config/panda.yaml', '', 'robot file: joint names and limits'),
    Entry('robot_description', '', '', "URDF text; the stricter of its limits and the robot file's hold, its joints are checked; empty: none"),
    Entry('backend', 'torch', '', 'what runs the networks; onnx: ONNX Runtime, from the graphs that `export` wrote, without torch',
          choices=('torch', 'onnx')),
    Entry('device', 'auto', '', 'where they run; auto: on a GPU if there is one; tensorrt: with onnx only', choices=('auto', 'cpu', 'cuda', 'tensorrt')),
    Entry('cpu_fallback', True, '', 'go on with the CPU where the backend fails twice in a row'),
    Entry('threads', 1, '', 'CPU threads of the backend', 1, 64),
    Entry('deadline_ms', 0.0, 'ms', 'time that a plan has, up to lead_s - min_lead_s: the steps taken by then make it; 0: as many as it takes',
          0.0, 10_000.0, read_only=False),
    Entry('seed', 0, '', 'seed of the first plan of an episode; each plan adds one', 0, 2**31 - 1),
    Entry('guidance_scale', OWN_SCALE, '', 'how strongly the reward pulls the plan; 0: not at all, -1: as the model recommends',
          -1.0, 100.0, read_only=False),
    Entry('guard', True, '', 'bound guidance and refuse doubtful plans; false: plain classifier guidance, for measurement only',
          read_only=False),
    Entry('objective', '', '', 'what plans must satisfy beside the reward: YAML file, or YAML text; empty: nothing', read_only=False),
    Entry('shadow', False, '', 'publish chunks to ~/shadow/joint_trajectory only: nothing moves, every plan starts from the measured motion'),
    Entry('speed_scale', 1.0, '', 'share of the planned speed; begin with 0.2 on a real arm', 0.01, 1.0, read_only=False),
    Entry('replan_period_s', 0.5, 's', 'time between plans', 0.05, 10.0),
    Entry('lead_s', 0.3, 's', 'from the beginning of a plan to the instant it takes over', 0.02, 5.0),
    Entry('min_lead_s', 0.06, 's', 'what must be left of that when the chunk is published', 0.005, 1.0),
    Entry('chunk_s', 1.5, 's', 'length of a chunk before its brake tail', 0.1, 10.0),
    Entry('velocity_scale', 0.6, '', "share of the robot's velocity limits", 0.01, 1.0),
    Entry('acceleration_scale', 0.3, '', "share of the robot's acceleration limits", 0.01, 1.0),
    Entry('jerk_rad_s3', 60.0, 'rad/s^3', 'jerk limit of every joint', 1.0, 10000.0),
    Entry('following_tolerance_rad', 0.25, 'rad', 'farther from its chunk than this the arm is not executing it', 0.01, 3.0),
    Entry('joint_timeout_s', 0.3, 's', 'brake when joint states are older (steady clock)', 0.05, 10.0),
    Entry('camera_timeout_s', 1.0, 's', 'DEGRADED when pictures are older, brake at three times that; their noise level rises from half of it on', 0.05, 60.0),
    Entry('require_all_cameras', True, '', 'brake when one of several cameras is missing; false: when all are'),
    Entry('camera_size', '', 'px', "size of the pictures that arrive, as 640x480: cropped and resampled to the model's; empty: the model's"),
    Entry('compressed', False, '', 'subscribe to CompressedImage on <camera>/image/compressed'),
    Entry('sensors', '', '', "where the model's further sensors are: YAML file or text of name: {topic, type, fields}, as in config/mapping.yaml"),
    Entry('sensor_timeout_s', 0.5, 's', 'DEGRADED when readings of a sensor are older, brake at three times that; their noise level rises from half of it on',
          0.02, 60.0),
    Entry('require_sensors', True, '', 'brake when a sensor is missing; false: plan on without it'),
    Entry('controller_state', '', '', 'topic of control_msgs/JointTrajectoryControllerState: where the controller holds the arm; empty: as measured'),
    Entry('hang_timeout_s', 3.0, 's', 'brake and FAULT when a plan takes longer', 0.2, 60.0),
    Entry('skew_limit_s', 1.0, 's', 'refuse messages stamped farther from now', 0.01, 60.0),
    Entry('base_frame', 'panda_link0', '', 'frame of the imagined path'),
)

SIM = (
    Entry('robot', 'config/panda.yaml', '', 'robot file: joint names and limits'),
    Entry('scene_seed', 0, '', 'seed of the next scene', 0, 2**31 - 1, read_only=False),
    Entry('oddity', '', '', 'what sets the next scenes apart from the play data; empty: nothing', choices=('', *ODDITIES), read_only=False),
    Entry('objective', '', '', 'objective whose keep_out zones are watched: YAML file, or YAML text; empty: none'),
    Entry('namespaces', '', '', "one arm in each, comma separated, as left,right; empty: one arm, in the node's own"),
    Entry('gui', False, '', "show the simulator's window, that of the first arm; needs a display"),
    Entry('real_time_factor', 1.0, '', 'simulated seconds per second; 0: as fast as it goes (lock-step)', 0.0, 100.0),
    Entry('wall_time', False, '', 'stamps in system time and no /clock, as from a real arm; needs real_time_factor 1 and no lock_step'),
    Entry('lock_step', False, '', "wait for the planner's trajectory whenever one is due"),
    Entry('lock_step_period_s', 0.5, 's', 'simulated time between trajectories in lock-step', 0.05, 10.0),
    Entry('lock_step_timeout_s', 2.0, 's', 'longest wait for a trajectory, on the steady clock', 0.05, 60.0),
    Entry('distribution', 'jazzy', '', 'whose joint_trajectory_controller is imitated', choices=('humble', 'jazzy', 'kilted', 'master')),
    Entry('interpolate_from_desired_state', True, '', 'where a new trajectory begins: at the reference, or at the measured joints'),
    Entry('view_height_px', 360, 'px', 'size of ~/view, rendered while somebody subscribes', 32, 2160),
    Entry('inject', False, '', 'listen on ~/inject for faults to simulate'),
    Entry('inject_seed', 0, '', 'seed of the draws of intermittent faults', 0, 2**31 - 1),
)


def declare(node, table, change=lambda changes: None):
    """Declare a table on a node, refuse bad changes while running and hand good ones to `change` (name to value).

    `change` may refuse by raising ConfigError, before it changes anything. Raises ConfigError for bad values at start.
    """
    entries = {entry.name: entry for entry in table}
    _check_overrides(node, entries)
    for entry in table:
        node.declare_parameter(entry.name, entry.default, entry.descriptor())

    def check(parameters):
        changes = {parameter.name: parameter.value for parameter in parameters if parameter.name in entries}
        faults = [entries[name].fault(value) for name, value in changes.items()]
        reason = '; '.join(filter(None, faults)) or _refusal(node, change, changes)
        return SetParametersResult(successful=not reason, reason=reason)
    node.add_on_set_parameters_callback(check)


def _refusal(node, change, changes):
    """Make a change: -> why it was refused, in one line, '' where it was not. A defect must not end a node that moves an arm."""
    try:
        change(changes)
        return ''
    except ConfigError as error:
        return ' '.join(str(error).split())
    except Exception as error:
        node.get_logger().error(traceback.format_exc())
        return ' '.join(f'{", ".join(changes)}: {type(error).__name__}: {error}'.split())


def _check_overrides(node, entries):
    """Check what files and command line set, unknown names too, which rclpy would pass over in silence."""
    overrides = getattr(node, '_parameter_overrides', {})
    for name, override in list(overrides.items()):
        if name not in entries:
            if not name.startswith(ROS_OWN):
                raise ConfigError(f'parameter {name}: unknown, expected one of {", ".join(sorted(entries))}')
        elif fault := entries[name].fault(override.value):
            raise ConfigError(f'parameter {fault}')
        elif entries[name].kind is float and isinstance(override.value, int):   # YAML writes 1 for 1.0
            overrides[name] = type(override)(name, value=float(override.value))


def values(node, table):
    """Read a node's parameters: -> name to value"""
    return {entry.name: node.get_parameter(entry.name).value for entry in table}


def settings(kind, given):
    """Build a frozen dataclass from the parameters that bear its fields' names. Raises ConfigError."""
    try:
        return kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})
    except ValueError as error:
        raise ConfigError(f'parameter {error}') from None


def check_deadline(given):
    """Refuse a deadline after which no plan would be in time. Raises ConfigError."""
    most_ms = 1000 * (given['lead_s'] - given['min_lead_s'])
    if given['deadline_ms'] > most_ms + 1e-6:
        raise ConfigError(f'parameter deadline_ms: got {given["deadline_ms"]:g}, expected 0 for none, or at most lead_s - min_lead_s = {most_ms:g} ms')


def picture_size(text):
    """Read a size like 640x480: -> (rows, columns), None for ''. Raises ConfigError."""
    try:
        columns, rows = map(int, text.split('x')) if text else (1, 1)
        if min(columns, rows) < 1:
            raise ValueError
    except ValueError:
        raise ConfigError(f'parameter camera_size: got {text!r}, expected two whole numbers like 640x480') from None
    return (rows, columns) if text else None


def markdown(table):
    """Print a table for the README."""
    rows = ['| parameter | default | range | unit | changes while running | meaning |', '|---|---|---|---|---|---|']
    for entry in table:
        allowed = entry.allowed() or ('' if entry.low is None else f'{entry.low:g} to {entry.high:g}')
        default = str(entry.default).lower() if entry.kind is bool else "''" if entry.default == '' else entry.default
        rows.append(f'| `{entry.name}` | `{default}` | {allowed} | {entry.unit} | {"no" if entry.read_only else "yes"} | {entry.description} |')
    return '\n'.join(rows)


if __name__ == '__main__':
    for title, table in (('planner', PLANNER), ('sim', SIM)):
        print(f'### {title}\n\n{markdown(table)}\n')
