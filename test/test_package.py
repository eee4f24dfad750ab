"""The package as pip and colcon see it: everything shipped is listed, every requirement is pinned, every key agrees."""
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def setup(monkeypatch):
    """Run setup.py with a setup() that only listens."""
    setuptools = pytest.importorskip('setuptools')
    heard = {}
    monkeypatch.setattr(setuptools, 'setup', heard.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    return heard


def plain(requirement):
    return re.split(r'[\[=<>; ]', requirement)[0].lower()


def test_every_launch_config_and_model_file_is_installed(setup):
    listed = {path for _, paths in setup['data_files'] for path in paths}
    shipped = {str(path.relative_to(ROOT)) for folder in ('launch', 'config', 'models') for path in (ROOT / folder).rglob('*')
               if path.is_file() and not {'training', '__pycache__'} & set(path.parts)}
    assert shipped <= listed
    assert {'resource/diffusion_planner', 'package.xml'} <= listed


def test_work_in_progress_is_not_installed(setup):
    assert not [target for target, _ in setup['data_files'] if 'training' in target.split('/')]


def test_everything_required_is_pinned(setup):
    pinned = {plain(line) for name in ('requirements.txt', 'requirements-ros.txt')
              for line in (ROOT / name).read_text().splitlines() if re.match(r'[a-z0-9\[\]-]+==[0-9.]+$', line)}
    extras = setup['extras_require']
    required = [*setup['install_requires'], *(name for extra, names in extras.items() if extra != 'gpu' for name in names)]
    assert {plain(requirement) for requirement in required} == pinned


def test_one_onnxruntime_at_a_time(setup):
    # Both have the same module: installed together, whichever came last is what is imported.
    extras = setup['extras_require']
    assert 'onnxruntime' in extras['onnx'] and 'onnxruntime-gpu' in extras['gpu'] and 'onnxruntime' not in extras['gpu']


def test_package_xml_agrees(setup):
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('name') == setup['name'] and package.findtext('version') == setup['version']
    depends = {element.text for element in package.iter('exec_depend')}
    wheels = {plain(name).removeprefix('ros-').replace('-', '_') for name in setup['extras_require']['ros']}
    assert wheels <= depends


def test_no_package_is_left_out(setup):
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / 'diffusion_planner').rglob('*.py')}
    assert {'.'.join(folder.parts) for folder in folders} == set(setup['packages'])
