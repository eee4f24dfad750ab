"""The command line: bad input is one line and status 2, a defect is a traceback."""
import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from diffusion_planner import cli

MODEL = str(Path(__file__).resolve().parent)   # a folder that exists and holds no model


def error_line(capsys, *arguments):
    """Run the command line and return its one line of complaint."""
    assert cli.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_without_arguments_it_explains_itself(capsys):
    assert not cli.main([])
    shown = capsys.readouterr().out
    assert all(command in shown for command in ('demos', 'train', 'sim', 'probe', 'scenes', 'compare'))


@pytest.mark.parametrize('arguments, expected', [
    (['fly'], 'fly'),
    (['sim', '--fast'], '--fast'),
    (['sim', '--episodes', '0'], '0'),
    (['sim', '--episodes', 'many'], 'many'),
    (['sim', '--guidance-scale', '-1'], '-1'),
    (['sim', '--guidance-scale', 'nan'], 'nan'),
    (['sim', '--domain', '400'], '400'),
    (['train', 'nowhere.yaml'], 'nowhere.yaml: cannot be read'),
    (['compare', '--model', 'nowhere'], 'nowhere'),
    (['compare', '--model', MODEL], MODEL),
    (['probe', '--model', 'nowhere'], 'nowhere'),
    (['sim', '--model', 'nowhere'], 'nowhere'),
    (['sim', '--oddity', 'fog'], "got 'fog', expected one of target_off_table"),
    (['sim', '--objective', 'nowhere.yaml'], 'nowhere.yaml'),
    (['sim', '--model', MODEL], MODEL),
    (['sim', '--backend', 'caffe'], "backend: got 'caffe', expected one of torch, onnx"),
    (['compare', '--backend', 'caffe'], "backend: got 'caffe', expected one of torch, onnx"),
    (['compare', '--device', 'tensorrt'], "device: got 'tensorrt' with backend torch, expected one of auto, cpu, cuda"),
    (['soak', '--backend', 'caffe'], "backend: got 'caffe'"),
    (['sim', '--deadline-ms', '-1'], '-1'),
    (['bench', 'deadline', '--backend', 'caffe'], "backend: got 'caffe'"),
    (['bench', 'deadline', '--deadline-ms', '0'], '0'),
])
def test_names_what_is_wrong(capsys, arguments, expected):
    assert expected in error_line(capsys, *arguments)


def test_a_window_needs_a_display(capsys, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    assert 'DISPLAY is not set' in error_line(capsys, 'sim', '--gui')


def test_every_subcommand_finds_its_job():
    for node in ast.walk(ast.parse(Path(cli.__file__).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith('diffusion_planner'):
            for alias in node.names:     # a module of that room, or something in that module
                found = hasattr(importlib.import_module(node.module), alias.name) or importlib.util.find_spec(f'{node.module}.{alias.name}')
                assert found, f'{node.module}: no {alias.name}'


def test_debug_shows_the_traceback_wherever_it_stands():
    for arguments in (['--debug', 'train', 'nowhere.yaml'], ['train', 'nowhere.yaml', '--debug']):
        with pytest.raises(ValueError, match='nowhere.yaml'):
            cli.main(arguments)


def test_a_defect_is_not_hidden(monkeypatch):
    from diffusion_planner.sim import scene

    def broken(count, seed):
        raise ValueError('operands could not be broadcast together')
    monkeypatch.setattr(scene, 'blocked_share', broken)
    with pytest.raises(ValueError, match='broadcast'):
        cli.main(['scenes'])


def test_the_program_keeps_its_arguments():
    # The ROS 2 wheels start the interpreter a second time; the arguments must arrive all the same.
    done = subprocess.run([sys.executable, '-c', 'import sys; from diffusion_planner.cli import main; sys.exit(main())',
                           'train', 'a file.yaml'], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and 'a file.yaml: cannot be read' in done.stderr
