"""The planner node against a stand-in robot on the wall clock: lifecycle, faults of input, planner and operator."""
import signal

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_srvs.srv import SetBool

from diffusion_planner import config
from diffusion_planner.files import find
from diffusion_planner.records import JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions

ROBOT = config.load(Robot, find('config/panda.yaml'))


class Sensors:
    """Publishes a standing arm and dim pictures at 50 Hz; each can be switched off."""

    def __init__(self, observer):
        self.observer, self.joints, self.camera, self.size_px, self.level = observer, True, True, 96, 0

    def __call__(self):
        now_s = self.observer.get_clock().now().nanoseconds * 1e-9
        if self.joints:
            reading = JointReading(now_s, np.array(ROBOT.home_rad), np.zeros(7))
            self.observer.joint_publisher.publish(conversions.to_joint_state(reading, ROBOT.joint_names))
        if self.camera:
            pixels = self.level + np.tile(np.linspace(0, 40, self.size_px), (3, self.size_px, 1)).T.astype(np.uint8)
            self.observer.image_publisher.publish(conversions.to_image(pixels, now_s, 'optical'))


@pytest.fixture
def rig(bench):
    return bench, bench.observer, Sensors(bench.observer)


def change(see, sensors, transition):
    request = ChangeState.Request(transition=Transition(id=transition))
    return see.call('planner/change_state', ChangeState, request, sensors).success


def said(see, text):
    """Return whether the newest diagnostics say so."""
    return see.diagnostics is not None and text in see.diagnostics.message


def test_lifecycle_over_and_over(rig):
    bench, see, sensors = rig
    process = bench.start('hold')
    see.wait_status('INACTIVE')
    for _ in range(3):
        assert change(see, sensors, Transition.TRANSITION_CONFIGURE)
        assert change(see, sensors, Transition.TRANSITION_ACTIVATE)
        before = len(see.trajectories)
        see.wait_status('NOMINAL', every=sensors)
        see.wait(lambda: len(see.trajectories) > before, every=sensors)
        assert change(see, sensors, Transition.TRANSITION_DEACTIVATE)
        see.wait_status('INACTIVE', 2, sensors)
        assert change(see, sensors, Transition.TRANSITION_CLEANUP)
    assert change(see, sensors, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert process.wait(5) == 0


def test_no_motion_before_any_input(rig):
    bench, see, _ = rig
    bench.start('swing', 'autostart:=true')
    see.wait_status('DEGRADED')
    see.spin(1.0)
    assert see.trajectories == []
    assert said(see, 'waiting for joint states')


def test_joint_states_stop_and_come_back(rig):
    bench, see, sensors = rig
    bench.start('hold', 'autostart:=true')
    see.wait(lambda: len(see.trajectories) >= 2, every=sensors)
    sensors.joints = False
    see.wait_status('BRAKING', 1.5, sensors)
    see.wait(lambda: said(see, 'joint_states: stale'), 3, sensors)
    sensors.joints = True
    see.wait_status('NOMINAL', 5, sensors)


def test_camera_stops_and_comes_back(rig):
    bench, see, sensors = rig
    bench.start('hold', 'autostart:=true', 'camera_timeout_s:=0.4')
    see.wait(lambda: len(see.trajectories) >= 2, every=sensors)
    sensors.camera = False
    see.wait_status('DEGRADED', 2, sensors)
    see.wait_status('BRAKING', 3, sensors)
    sensors.camera = True
    see.wait_status('NOMINAL', 5, sensors)


def test_pictures_of_another_size_are_named(rig):
    bench, see, sensors = rig
    sensors.size_px = 64
    process = bench.start('hold', 'autostart:=true')
    see.wait_status('DEGRADED', every=sensors)
    see.wait(lambda: said(see, 'pictures of camera'), every=sensors)
    see.wait(lambda: 'size: got 64x64, expected 96x96' in process.log.read_text(), 3, sensors)
    assert see.trajectories == []


def test_a_strange_scene_is_refused_by_name_and_recovered_from(rig):
    bench, see, sensors = rig
    sensors.level = 200
    bench.start('strange', 'autostart:=true')
    see.wait(lambda: said(see, 'DEGRADED: plan refused: scene unlike the play data: picture 3.1 times what play shows'), every=sensors)
    see.spin(1.0, sensors)
    assert see.trajectories == [] and see.statuses[-1] == 'DEGRADED'
    sensors.level = 0
    see.wait_status('NOMINAL', 8, sensors)
    see.wait(lambda: see.trajectories, 3, sensors)


@pytest.mark.parametrize('planner, text', [('broken', 'out of memory'), ('hanging', 'longer than 1 s')])
def test_a_planner_that_fails_brakes_once_and_faults(rig, planner, text):
    bench, see, sensors = rig
    process = bench.start(planner, 'autostart:=true', 'hang_timeout_s:=1.0')
    see.wait_status('FAULT', 20, sensors)
    see.wait(lambda: said(see, text), 3, sensors)
    see.spin(0.3, sensors)
    sent = len(see.trajectories)
    see.spin(1.0, sensors)
    assert len(see.trajectories) == sent
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_a_missing_model_is_a_fault_that_the_node_outlives(rig):
    bench, see, _ = rig
    process = bench.start('planner', 'autostart:=true', 'model:=nowhere/at_all')
    see.wait_status('FAULT')
    see.wait(lambda: said(see, 'nowhere/at_all: no such model folder'))
    assert process.poll() is None


@pytest.mark.parametrize('parameter, said', [
    ('lead_s:=-1.0', 'lead_s: got -1.0, expected 0.02 to 5 s'),
    ('velocity_scale:=fast', "velocity_scale: got 'fast', expected float"),
    ('led_s:=0.3', 'led_s: unknown, expected one of'),
    ('backend:=magic', "backend: got 'magic', expected one of torch"),
])
def test_a_bad_parameter_ends_it_with_one_line(bench, parameter, said):
    process = bench.start('hold', parameter)
    assert process.wait(20) == 2
    assert said in process.log.read_text()
    assert len(process.log.read_text().strip().splitlines()) == 1


def test_parameters_that_do_not_fit_each_other_are_refused_at_configure(rig):
    bench, see, _ = rig
    bench.start('hold', 'autostart:=true', 'min_lead_s:=0.5')
    see.wait_status('FAULT')
    see.wait(lambda: said(see, 'min_lead_s: got 0.5'))


def test_guidance_changes_while_running(rig):
    bench, see, sensors = rig
    bench.start('hold', 'autostart:=true')
    see.wait_status('NOMINAL', every=sensors)
    assert not see.set_parameter('planner', 'guidance_scale', 1e9).successful
    assert see.set_parameter('planner', 'guidance_scale', 3.0).successful
    assert not see.set_parameter('planner', 'seed', 3).successful
    assert see.call('planner/set_guidance', SetBool, SetBool.Request(data=True)).message == 'guidance scale 3'
    assert see.call('planner/set_guidance', SetBool, SetBool.Request(data=False)).message == 'guidance scale 0'
