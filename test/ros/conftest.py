"""Nodes in processes of their own, on a domain of their own, and an observer of what they say."""
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from diffusion_planner.ros.domains import CANDIDATES, lock_domain

ROOT = Path(__file__).resolve().parents[2]
PLANNERS = str(Path(__file__).with_name('planners.py'))
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)


class Observer(Node):
    """Hears both nodes, calls their services and stands in for a robot where a test has no simulator."""

    def __init__(self, context):
        # Two nodes of one name in a process share a publisher of /rosout, and the second to go is left with a freed one.
        super().__init__('observer', context=context, enable_rosout=False)
        self.reasons = []                    # in step with statuses: what was said with each state, the newest of each
        self.statuses, self.episode, self.diagnostics, self.plans = [], {}, None, []
        self.joints, self.trajectories = [], []
        self.create_subscription(String, 'planner/status', self._hear_status, LATCHED)
        self.create_subscription(String, 'planner/plan', lambda message: self.plans.append(json.loads(message.data)), 10)
        self.create_subscription(String, 'sim/episode', self._hear_episode, LATCHED)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._hear_diagnostics, 10)
        self.create_subscription(JointState, 'joint_states', self.joints.append, BEST_EFFORT)
        self.listener = self.create_subscription(JointTrajectory, 'joint_trajectory', self.trajectories.append, 10)
        self.joint_publisher = self.create_publisher(JointState, 'joint_states', BEST_EFFORT)
        self.executor_of_its_own = SingleThreadedExecutor(context=context)
        self.executor_of_its_own.add_node(self)

    def _hear_status(self, message):
        state, _, reason = message.data.partition(': ')
        if not self.statuses or self.statuses[-1] != state:
            self.statuses.append(state)
            self.reasons.append([])
        self.reasons[-1].append(reason)

    def _hear_episode(self, message):
        self.episode = json.loads(message.data)

    def _hear_diagnostics(self, message):
        self.diagnostics = message.status[0]

    def wait(self, condition, timeout_s=20.0, every=lambda: None):
        """Spin until the condition holds, calling `every` 50 times a second."""
        until, next_s = time.monotonic() + timeout_s, 0.0
        while not condition():
            assert time.monotonic() < until, f'waited {timeout_s} s; statuses {list(zip(self.statuses, self.reasons))}, episode {self.episode}'
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + 0.02
                every()
            self.executor_of_its_own.spin_once(timeout_sec=0.02)

    def spin(self, seconds, every=lambda: None):
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() >= until, seconds + 5, every)

    def wait_status(self, status, timeout_s=20.0, every=lambda: None):
        self.wait(lambda: self.statuses and self.statuses[-1] == status, timeout_s, every)

    def call(self, service, kind=Trigger, request=None, every=lambda: None):
        client = self.create_client(kind, service)
        self.wait(client.service_is_ready, every=every)
        future = client.call_async(request or kind.Request())
        self.wait(future.done, every=every)
        self.destroy_client(client)
        return future.result()

    def set_parameter(self, node, name, value):
        client = AsyncParameterClient(self, node)
        self.wait(client.services_are_ready)
        future = client.set_parameters([Parameter(name, value=value)])
        self.wait(future.done)
        return future.result().results[0]

    def get_parameter_of(self, node, name):
        client = AsyncParameterClient(self, node)
        self.wait(client.services_are_ready)
        future = client.get_parameters([name])
        self.wait(future.done)
        return parameter_value_to_python(future.result().values[0])

    def fact(self, key):
        """Return what the newest diagnostics say of a key, or None."""
        return next((pair.value for pair in self.diagnostics.values if pair.key == key), None) if self.diagnostics else None

    def next_episode(self, seed, timeout_s=20.0):
        """Go to a scene, in the order that leaves no old chunk in the new one."""
        self.call('planner/stop')
        self.set_parameter('sim', 'scene_seed', seed)
        self.call('sim/next_episode')
        self.call('planner/reset')
        self.call('planner/resume')
        self.wait(lambda: self.episode.get('seed') == seed, timeout_s)

    def speed_rad_s(self):
        return float(np.abs(self.joints[-1].velocity).max()) if self.joints else 0.0


class Bench:
    """Starts nodes as processes; whatever is left at the end of a test is killed."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.domain, self._lock = _free_domain()
        self.environment = {**os.environ, 'ROS_DOMAIN_ID': str(self.domain), 'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
                            'ROS_PYTHON_CHECK_FIELDS': '1', 'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.observer = Observer(self.context)

    def start(self, program, *parameters, namespace=''):
        """Start 'sim', 'planner' or one of planners.py with ROS parameters 'name:=value'."""
        module = {'sim': ['-m', 'diffusion_planner.ros.sim_node'], 'planner': ['-m', 'diffusion_planner.ros.planner_node']}
        command = [sys.executable, *module.get(program, [PLANNERS, program]), '--ros-args', *(['-r', f'__ns:=/{namespace}'] if namespace else [])]
        for parameter in parameters:
            command += ['-p', parameter]
        log = open(self.folder / f'{len(self.processes)}-{program}.log', 'w+')
        process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        process.log = Path(log.name)
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            print(f'--- {process.log.name}\n{process.log.read_text()}')   # pytest shows it when the test fails
        self.observer.destroy_node()
        rclpy.shutdown(context=self.context)
        self._lock.close()


def _free_domain():
    """Take a domain that no other run on this machine has: -> its number, a lock to close"""
    for domain in random.sample(CANDIDATES, len(CANDIDATES)):
        if not isinstance(lock := lock_domain(domain), str):
            return domain, lock
    raise RuntimeError('ROS domains are all in use, expected a free one')


def _lasting_bench(tmp_path_factory):
    """Make a bench whose nodes serve all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        made = Bench(tmp_path_factory.mktemp('nodes'))
        yield made
        made.close()


module_bench = pytest.fixture(scope='module')(_lasting_bench)
other_module_bench = pytest.fixture(scope='module')(_lasting_bench)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    made = Bench(tmp_path)
    yield made
    made.close()
