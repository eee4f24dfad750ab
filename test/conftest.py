"""Profiles of hypothesis, and which tests want the machine for themselves; see halves.py.

The ordinary profile is that of each test; `--hypothesis-profile=thorough` is for the contract, see there.
"""
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile('thorough', max_examples=10000, deadline=None)
settings.register_profile('shared', deadline=None, suppress_health_check=[HealthCheck.too_slow])      # how fast an example is drawn says nothing

ROOT = Path(__file__).parent
ALONE = 'ros', 'benchmarks/test_camera.py'      # nodes that run in real time
# Begun first, as long files begun last would keep one worker waiting for the other.
LONG = 'test_walk.py', 'benchmarks/test_tiny_maze.py', 'training', 'runtime/test_export.py', 'evaluation'


def pytest_collection_modifyitems(items):
    for item in items:
        if _within(item, ALONE):
            item.add_marker(pytest.mark.alone)
    items.sort(key=lambda item: not _within(item, LONG))


def _within(item, names):
    return any(item.path.is_relative_to(ROOT / name) for name in names)
