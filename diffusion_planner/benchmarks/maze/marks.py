"""What results depend on, as a mark: finished episodes are used again only where nothing of it has changed."""
import ast
import hashlib
import json
from functools import lru_cache
from importlib import metadata
from pathlib import Path

VERSION = 2                        # of episodes and scoring: older results are run again
PACKAGE = Path(__file__).resolve().parents[2]
# Whose source decides how an episode goes. Here these only train (the weights have a mark of their own), draw, print, or choose
# settings that are part of the mark anyway.
ROOMS = ('planning', 'diffusion', 'runtime', 'nets', 'objectives', 'benchmarks/maze')
CONTRACTS = ('layout.py', 'records.py', 'robot.py', 'splines.py')
APART = ('pictures', 'plots', 'denoising', 'tables', 'published', 'training', 'tuning', 'ablation', 'audit')
# Their values are part of the mark of whatever uses them, so that tuning one method leaves the results of the others.
TABLES = ('SETTINGS', 'WEIGHTS', 'TUNED')
PACKAGES = ('torch', 'numpy', 'mujoco', 'gymnasium', 'gymnasium-robotics')


@lru_cache(maxsize=None)
def source():
    """Hash the source that episodes depend on, whatever the commit: -> 16 hexadecimal digits"""
    digest = hashlib.sha256()
    for path in sources():
        digest.update(f'{path.relative_to(PACKAGE).as_posix()}\n{without_tables(path.read_text())}\0'.encode())
    return digest.hexdigest()[:16]


def sources():
    """List the files that episodes depend on: -> [path]"""
    found = [PACKAGE / name for name in CONTRACTS]
    for room in ROOMS:
        found += [path for path in sorted((PACKAGE / room).rglob('*.py')) if room != 'benchmarks/maze' or path.stem not in APART]
    return found


def without_tables(text):
    """Leave out the assignments to TABLES, and the comments above them: source -> source"""
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) in TABLES:
            first = node.lineno - 1
            while first and lines[first - 1].startswith('#'):
                first -= 1
            lines[first:node.end_lineno] = [''] * (node.end_lineno - first)
    return '\n'.join(line for line in lines if line)


@lru_cache(maxsize=None)
def version(package):
    """Name the version of an installed package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def packages():
    """Name the versions of what the episodes run on: -> {package: version}"""
    return {name: version(name) for name in PACKAGES}


def fingerprint(folder, *parts):
    """Say what results depend on: weights, calibration, source, what they run on, and `parts`, the settings."""
    config = json.loads((Path(folder) / 'config.json').read_text())
    planning = {name: value for name, value in config.get('planning', {}).items() if name != 'recommended_scale'}
    known = VERSION, config['sha256'], json.dumps(planning, sort_keys=True), source(), packages(), parts
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]
