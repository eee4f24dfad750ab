"""What steps of the system's clock do to the node's time: nothing."""
from types import SimpleNamespace

import pytest

from diffusion_planner.ros.timebase import SimulatedTime, WallTime


class Clocks:
    """A system clock and a steady one, that the test moves."""

    def __init__(self):
        self.system_s, self.steady_s = 1.7e9, 500.0
        self.time = WallTime(lambda: self.system_s, lambda: self.steady_s)

    def wait(self, seconds):
        self.system_s, self.steady_s = self.system_s + seconds, self.steady_s + seconds


def test_it_begins_at_the_systems_time_and_goes_on_with_it():
    clocks = Clocks()
    clocks.wait(12.5)
    assert clocks.time.now_s() == pytest.approx(1.7e9 + 12.5)
    assert clocks.time.of_stamp(clocks.system_s - 0.25) == pytest.approx(clocks.time.now_s() - 0.25)


@pytest.mark.parametrize('step_s', [3600.0, -3600.0])
def test_a_step_of_the_systems_clock_changes_nothing(step_s):
    clocks = Clocks()
    clocks.wait(1.0)
    before_s = clocks.time.now_s()
    clocks.system_s += step_s
    assert clocks.time.now_s() == before_s
    assert clocks.time.of_stamp(clocks.system_s) == pytest.approx(before_s)      # a message stamped after the step
    clocks.wait(2.0)
    assert clocks.time.now_s() == pytest.approx(before_s + 2.0)
    assert clocks.time.of_stamp(clocks.system_s - 0.1) == pytest.approx(before_s + 1.9)


def test_a_clock_that_is_slewed_does_not_drift_away_from_its_stamps():
    clocks = Clocks()
    for _ in range(100):
        clocks.wait(1.0)
        clocks.system_s += 5e-4                   # as fast as NTP slews
    assert clocks.time.of_stamp(clocks.system_s) == pytest.approx(clocks.time.now_s())


def test_simulated_time_is_what_the_clock_says():
    time = SimulatedTime(SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=12_345_000_000)))
    assert (time.now_s(), time.of_stamp(3.5)) == (12.345, 3.5)
