"""The house rules, read from the source: who may import whom, and what a room must not load."""
import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'diffusion_planner'
CONTRACTS = {'urdf', 'config', 'robot', 'records', 'messages', 'layout', 'safety', 'files', 'splines', 'statistics'}
RANKS = {'diffusion': 0, 'nets': 1, 'objectives': 1, 'sim': 1, 'data': 1, 'runtime': 2, 'planning': 2,
         'training': 3, 'evaluation': 3, 'ros': 4, 'benchmarks': 4, 'cli': 5, 'cli_bags': 5, 'cli_audit': 5, 'contracts': 0}
# Beyond the ranks: diffusion knows nothing of ours, and the backends satisfy the planner's protocol by shape.
FORBIDDEN = {('diffusion', 'contracts'), ('contracts', 'diffusion'), ('planning', 'nets'), ('planning', 'runtime')}
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if path.name != '__init__.py')
NO_TORCH = ('messages', 'records', 'safety', 'layout', 'planning.history', 'sim.env', 'ros.conversions',
            'planning.planner', 'planning.cycle', 'runtime.checkpoint', 'runtime.providers', 'evaluation.assembly', 'evaluation.closed_loop',
            'objectives.written', 'runtime.exported_objective', 'runtime.onnx_backend', 'ros.wishes', 'ros.engine', 'ros.planner_node', 'ros.session')


def dotted(path):
    """Name a module below the package: sim/env.py -> sim.env"""
    return '.'.join(path.relative_to(PACKAGE).with_suffix('').parts)


def room(name):
    first = name.split('.')[0]
    return 'contracts' if first in CONTRACTS else first


def imported(path):
    """List what a file imports, inside functions too; a relative import counts as its absolute name."""
    package = ['diffusion_planner', *path.relative_to(PACKAGE).parts[:-1]]
    names = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) + 1 - node.level] if node.level else []
            base = '.'.join([*base, *filter(None, [node.module])])
            # `from diffusion_planner import sim` imports a room, which only the full name shows
            names += [f'{base}.{alias.name}' for alias in node.names]
    return names


def ours(path):
    return [name.split('.', 1)[1] for name in imported(path) if name.startswith('diffusion_planner.')]


def may_import(importer, target):
    if importer == target:
        return True
    allowed = RANKS[target] < RANKS[importer] or importer.startswith('cli') and target in ('ros', 'cli_bags', 'cli_audit')
    return allowed and (importer, target) not in FORBIDDEN and (target != 'ros' or importer.startswith('cli'))


def run_fresh(code):
    """Run code in an interpreter that has loaded nothing of ours: -> its standard output"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize('path', MODULES, ids=dotted)
def test_imports_only_from_lower_ranks(path):
    assert room(dotted(path)) in RANKS, f'{dotted(path)}: a room without a rank'
    wrong = [name for name in ours(path) if not may_import(room(dotted(path)), room(name))]
    assert not wrong


@pytest.mark.parametrize('path', [path for path in MODULES if room(dotted(path)) != 'ros'], ids=dotted)
def test_ros_stays_in_its_room(path):
    roots = {name.split('.')[0] for name in imported(path)}
    assert not {root for root in roots if root == 'rclpy' or root.endswith(('_msgs', '_srvs', '_interfaces'))}


@pytest.mark.parametrize('path', [path for path in MODULES if room(dotted(path)) == 'contracts'], ids=dotted)
def test_contracts_need_numpy_and_the_standard_library(path):
    # yaml is what a configuration file is read with, ament_index_python where an installed one lies: both inside functions
    allowed = {'numpy', 'diffusion_planner', 'yaml', 'ament_index_python', 'cv2'} | sys.stdlib_module_names
    assert {name.split('.')[0] for name in imported(path)} <= allowed


def test_init_files_are_empty():
    assert [str(path) for path in PACKAGE.rglob('__init__.py') if path.read_text().strip()] == []


@pytest.mark.parametrize('module', NO_TORCH)
def test_loads_no_torch(module):
    assert run_fresh(f'import sys, diffusion_planner.{module}; print("torch" in sys.modules)').strip() == 'False'


def test_nothing_outside_ros_loads_rclpy():
    outside = [f'diffusion_planner.{dotted(path)}' for path in MODULES if room(dotted(path)) != 'ros']
    code = f'''
import importlib, sys
for name in {outside}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:   # an optional dependency that is not installed
        if error.name.startswith('diffusion_planner'):
            raise
    assert 'rclpy' not in sys.modules, name
'''
    run_fresh(code)


def test_the_command_line_loads_nothing_heavy():
    loaded = run_fresh('import sys, diffusion_planner.cli; print(*sys.modules)').split()
    assert not {'torch', 'rclpy', 'pybullet', 'numpy', 'h5py'} & set(loaded)
