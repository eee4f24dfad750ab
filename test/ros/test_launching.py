"""What the launch files share, where launch itself is not needed."""
import pytest

from diffusion_planner.ros import launching
from diffusion_planner.ros.launching import Argument, BadArgument


class Context:
    """As much of a LaunchContext as reading arguments takes."""

    def __init__(self, **given):
        self.launch_configurations = given


@pytest.mark.parametrize('kind, text, value', [(int, '3', 3), (float, '2', 2.0), (bool, 'False', False), (bool, 'true', True), (str, '1', '1')])
def test_arguments_are_read_as_their_type(kind, text, value):
    read = Argument('name', kind, '').read(text)
    assert read == value and type(read) is kind


@pytest.mark.parametrize('kind, text, expected', [(int, '1.5', 'int'), (float, 'strong', 'float'), (bool, 'off', 'true or false'),
                                                  (bool, '', 'true or false'), (float, '', 'float')])
def test_a_value_that_does_not_fit_is_refused(kind, text, expected):
    with pytest.raises(BadArgument, match=f'^name:={text}: expected a value .*{expected}$'):
        Argument('name', kind, '').read(text)


def test_what_is_empty_is_not_given_unless_it_has_a_default():
    arguments = Argument('model', str, ''), Argument('seed', int, ''), Argument('shadow', bool, '', 'true'), Argument('camera', str, '', 'camera')
    assert launching.given(Context(model='', seed='4'), arguments) == {'seed': 4, 'shadow': True, 'camera': 'camera'}
    assert launching.given(Context(shadow='false', camera=''), arguments) == {'shadow': False, 'camera': ''}
    with pytest.raises(BadArgument, match='shadow:=: expected'):      # emptied, a safe default must not turn into another
        launching.given(Context(shadow=''), arguments)


@pytest.mark.parametrize('text, spaces', [('', ['']), ('left', ['left']), ('left, right', ['left', 'right']), ('/cell/left', ['cell/left'])])
def test_namespaces(text, spaces):
    assert launching.namespaces(text) == spaces


@pytest.mark.parametrize('text', ['left,', 'left,left', 'left,/left', '1st', 'a-b', 'a//b', ',', 'left right'])
def test_bad_namespaces(text):
    with pytest.raises(BadArgument, match='expected names of ROS namespaces'):
        launching.namespaces(text)


@pytest.mark.parametrize('text', ['camera/image', '/left/joint_states', '~/view', 'x'])
def test_topics(text):
    assert launching.topic('image_topic', text) == text


@pytest.mark.parametrize('text', ['', '/', 'a b', '2nd/image', 'a/', 'a//b', 'image:=b'])
def test_bad_topics(text):
    with pytest.raises(BadArgument, match="expected a topic's name"):
        launching.topic('image_topic', text)


def test_files_are_found_as_given_or_among_ours(tmp_path):
    (tmp_path / 'config').mkdir()
    (shipped := tmp_path / 'config' / 'a.xml').write_text('')
    assert launching.located('profile', 'config/a.xml', tmp_path) == launching.located('profile', str(shipped), '/') == shipped
    for text in ('config/b.xml', 'config'):
        with pytest.raises(BadArgument, match=f'profile:={text}: expected the name of a file'):
            launching.located('profile', text, tmp_path)


@pytest.mark.parametrize('environment, names', [
    ({}, ['FASTDDS_DEFAULT_PROFILES_FILE']),
    ({'ROS_DISTRO': 'kilted', 'RMW_IMPLEMENTATION': 'rmw_fastrtps_dynamic_cpp'}, ['FASTDDS_DEFAULT_PROFILES_FILE']),
    ({'ROS_DISTRO': 'humble'}, ['FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE']),
    ({'RMW_IMPLEMENTATION': 'rmw_cyclonedds_cpp'}, []),
    ({'FASTDDS_DEFAULT_PROFILES_FILE': 'mine.xml'}, []),
    ({'FASTRTPS_DEFAULT_PROFILES_FILE': 'mine.xml'}, []),
])
def test_the_profile_is_for_fast_dds_and_gives_way(tmp_path, environment, names):
    (file := tmp_path / 'a.xml').write_text('')
    assert launching.profile('a.xml', tmp_path, environment) == dict.fromkeys(names, str(file))
    assert launching.profile('', tmp_path, environment) == {}


def test_another_package_that_is_missing_is_named():
    def missing(name):
        raise LookupError(name)
    with pytest.raises(BadArgument, match='^rviz:=true: expected package rviz2, which is not installed$'):
        launching.installed('rviz', 'true', 'rviz2', missing)
    launching.installed('rviz', 'true', 'rviz2', lambda name: '/opt/share')


def test_a_robot_description_is_text(tmp_path):
    (file := tmp_path / 'arm.urdf').write_text('<robot name="arm"/>')
    assert launching.described(str(file)) == '<robot name="arm"/>'
    with pytest.raises(BadArgument, match='robot_description_file:=nowhere.urdf: expected the name of a file'):
        launching.described('nowhere.urdf')


def test_xacro_is_run_where_the_file_needs_it(tmp_path, monkeypatch):
    (file := tmp_path / 'arm.urdf.xacro').write_text('<robot name="arm"/>')
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(BadArgument, match='expected a URDF file, or xacro installed'):
        launching.described(str(file))
    program = tmp_path / 'xacro'
    program.write_text('#!/bin/sh\necho "<robot/> $1"\n')
    program.chmod(0o755)
    assert launching.described(str(file)) == f'<robot/> {file}\n'
    program.write_text('#!/bin/sh\necho no such\necho property: reach >&2\nexit 3\n')
    with pytest.raises(BadArgument, match='it says: property: reach$'):
        launching.described(str(file))
