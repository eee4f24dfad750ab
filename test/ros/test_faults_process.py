"""Ends of the planner's process, and what it can do without, by the rows of the contract; one simulator, a planner per test."""
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from rigs import AUTOSTART, Pair, stamp_s

from diffusion_planner.ros.spin import Signals

MODEL = Path(__file__).resolve().parents[2] / 'models/panda_reach/config.json'
needs_model = pytest.mark.skipif(not MODEL.exists(), reason='models/panda_reach is not there: train it first')


class Successive(Pair):
    """A simulator and one planner after another."""

    def start(self, kind, *parameters):
        """Start a planner and wait until the arm moves: -> its process"""
        self.see.statuses.clear()
        self.see.reasons.clear()
        self.order('')
        self.planner = self.bench.start(kind, *AUTOSTART, *(() if kind == 'planner' else (f'model:={self.orders}',)), *parameters)
        self.see.wait_status('NOMINAL', 60)
        self.wait_moving(60)
        self.mark()
        return self.planner

    def rest_after(self, number):
        """Send a signal to the planner of an arm in motion: -> seconds of simulated time until the arm rests for good"""
        self.wait_moving()
        self.planner.send_signal(number)
        begun_s = stamp_s(self.see.joints[-1])
        self.wait_resting()
        rested_s = stamp_s(self.see.joints[-1])
        self.see.spin(0.3)
        assert self.is_resting()
        return rested_s - begun_s


@pytest.fixture(scope='module')
def module_arm(module_bench):
    return Successive(module_bench, kind=None)


@pytest.fixture
def arm(module_arm):
    yield module_arm
    if module_arm.planner.poll() is None:
        module_arm.planner.kill()
    module_arm.planner.wait()
    module_arm.check()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
def test_row_21_a_signal_brakes_the_arm_and_exits_cleanly(arm, number):
    process = arm.start('wayward')
    assert arm.rest_after(number) < 1.0 + 0.35         # long before the chunk would have ended
    assert process.wait(5) == 0


def test_row_21_a_signal_ends_a_planner_that_hangs(arm):
    process = arm.start('wayward', 'hang_timeout_s:=1.0')
    arm.order('hang')
    arm.wait_status('FAULT')
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert 'the planning thread hangs; it is left behind' in process.log.read_text()


def test_row_21_a_second_signal_exits_at_once(arm):
    process = arm.start('wayward', 'hang_timeout_s:=60.0')
    arm.order('hang')                                  # the first one waits for the planning thread
    arm.wait_resting()
    process.send_signal(signal.SIGINT)
    time.sleep(Signals.SAME_S + 0.3)                   # what follows at once is the same Ctrl-C, passed on
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 128 + signal.SIGINT


def test_row_21_an_exception_in_a_callback_brakes_the_arm(arm):
    process = arm.start('tripping')
    arm.rest_after(signal.SIGUSR1)
    arm.wait(lambda: arm.heard('FAULT', 'IndexError in a callback: list index out of range'))
    assert arm.is_silent() and 'Traceback' in process.log.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


@pytest.mark.parametrize('kind', ['wayward', pytest.param('planner', marks=needs_model)])
def test_row_22_a_killed_planner_leaves_the_arm_to_come_to_rest(arm, kind):
    process = arm.start(kind)
    assert arm.rest_after(signal.SIGKILL) < 1.5 + 0.3 + 1.0 + 0.35    # chunk, lead, brake tail, and RESTING readings
    assert process.wait(5) == -signal.SIGKILL


def test_row_26_without_a_disk_it_plans_on(arm, tmp_path):
    logs = tmp_path / 'logs'
    arm.bench.environment['ROS_LOG_DIR'] = str(logs)
    process = arm.start('wayward')
    del arm.bench.environment['ROS_LOG_DIR']
    assert list(logs.iterdir())
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))      # as on a full disk, every write to a file fails
    shutil.rmtree(logs)
    arm.order('once raise')                            # which has something to log
    size = process.log.stat().st_size
    arm.wait_trajectories(4)
    assert process.log.stat().st_size == size and not logs.exists()
    arm.wait_moving()
    assert arm.is_undisturbed() and process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
