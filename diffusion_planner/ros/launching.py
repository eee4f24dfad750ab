"""What the launch files share: arguments with types, and what is refused before anything is started.

Only launch files call it. launch itself is imported inside functions: the PyPI wheels of ROS 2 do not have it.
"""
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

PACKAGE = 'diffusion_planner'
PROFILE_VARIABLES = 'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE'   # what Fast DDS 3 reads, and Fast DDS 2
FAST_DDS_2 = 'humble', 'iron', 'jazzy'
BRAKE_S = '10.0'        # from SIGINT to SIGTERM, which would end the node at once; a brake, its acknowledgement and the end of Python take less
LEVELS = 'debug', 'info', 'warn', 'error', 'fatal'
NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
TOPIC = re.compile(rf'(~?/)?{NAME.pattern}(/{NAME.pattern})*')


class BadArgument(RuntimeError):
    """An argument that cannot be used; the text names it, its value and what was expected."""

    def __init__(self, name, value, expected):
        super().__init__(f'{name}:={value}: expected {expected}')


@dataclass(frozen=True)
class Argument:
    """One launch argument. Without a default and left empty it is not given, and what the parameter files say holds."""

    name: str
    kind: type
    meaning: str
    default: str = ''

    def read(self, text):
        """Read the text of a value: -> value of `kind`. Raises BadArgument."""
        words = {'true': True, 'false': False}
        try:
            return words[text.lower()] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            expected = 'true or false' if self.kind is bool else f'of type {self.kind.__name__}'
            raise BadArgument(self.name, text, f'a value {expected}') from None


def declared(arguments):
    """Declare them: -> list of launch.actions.DeclareLaunchArgument"""
    from launch.actions import DeclareLaunchArgument
    return [DeclareLaunchArgument(entry.name, default_value=entry.default, description=entry.meaning) for entry in arguments]


def given(context, arguments):
    """Read the arguments that are given, or have a default: -> name to typed value. Raises BadArgument."""
    texts = {entry.name: context.launch_configurations.get(entry.name, entry.default) for entry in arguments}
    return {entry.name: entry.read(texts[entry.name]) for entry in arguments if texts[entry.name] or entry.default}


def strangers(context, arguments):
    """Warn of words on the command line that name no argument here, which launch would pass over: -> list of actions"""
    from launch.actions import LogInfo
    names = {entry.name for entry in arguments}
    found = [word for word in context.argv if ':=' in word and word.split(':=')[0] not in names]
    return [LogInfo(msg=f'{word}: not an argument of this launch file, and without effect here') for word in found]


def parameters(values, names):
    """Take those of the values that are parameters: -> name to value as launch_ros wants it"""
    from launch_ros.parameter_descriptions import ParameterValue
    # Left to itself, launch reads a text as YAML: an objective would arrive as a mapping, a robot description as an error.
    return {name: ParameterValue(values[name], value_type=str) if isinstance(values[name], str) else values[name]
            for name in names if name in values}


def node(executable, name, files, **options):
    """Describe one of our nodes, with time to brake before it is ended: -> launch_ros.actions.Node"""
    from launch_ros.actions import Node
    return Node(package=PACKAGE, executable=executable, name=name, output='screen', parameters=files,
                sigterm_timeout=BRAKE_S, sigkill_timeout=BRAKE_S, **options)


def namespaces(text, name='namespaces'):
    """Split 'left,right' into namespaces: -> list of str, [''] for ''. Raises BadArgument."""
    found = [part.strip().strip('/') for part in text.split(',')] if text else ['']
    if len(set(found)) < len(found) or text and not all(NAME.fullmatch(step) for part in found for step in part.split('/')):
        raise BadArgument(name, text, "names of ROS namespaces, each once, such as 'left,right'")
    return found


def topic(name, text):
    """Check the name of a topic, which rcl would refuse in ten lines: -> text. Raises BadArgument."""
    if not TOPIC.fullmatch(text):
        raise BadArgument(name, text, "a topic's name, such as camera/image or /left/joint_states")
    return text


def located(name, text, share):
    """Find a file as given, or below the package's share folder: -> absolute Path. Raises BadArgument."""
    for path in (Path(text).expanduser(), Path(share) / text):
        if path.is_file():
            return path.resolve()
    raise BadArgument(name, text, 'the name of a file that exists')


def installed(name, value, package, share_of):
    """Refuse what another package would have to do where that is missing. Raises BadArgument."""
    try:
        share_of(package)
    except LookupError:
        raise BadArgument(name, value, f'package {package}, which is not installed') from None


def profile(text, share, environment=os.environ):
    """Choose the environment that makes Fast DDS read a profile: -> name to value, none where others have chosen. Raises BadArgument."""
    other = not environment.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp').startswith('rmw_fastrtps')
    if not text or other or any(environment.get(name) for name in PROFILE_VARIABLES):
        return {}
    # Beside the variable that it reads, Fast DDS 3 warns of the old one.
    names = PROFILE_VARIABLES if environment.get('ROS_DISTRO') in FAST_DDS_2 else PROFILE_VARIABLES[:1]
    return dict.fromkeys(names, str(located('profile', text, share)))


def described(text):
    """Read a robot description, through xacro where the file needs it: -> URDF text. Raises BadArgument."""
    path, name = Path(text).expanduser(), 'robot_description_file'
    if not path.is_file():
        raise BadArgument(name, text, 'the name of a file that exists')
    if path.suffix != '.xacro':
        return path.read_text()
    if shutil.which('xacro') is None:
        raise BadArgument(name, text, 'a URDF file, or xacro installed to make one of it')
    done = subprocess.run(['xacro', str(path)], capture_output=True, text=True)
    if done.returncode:
        raise BadArgument(name, text, f'a file that xacro can read; it says: {" ".join(done.stderr.split()) or done.returncode}')
    return done.stdout
