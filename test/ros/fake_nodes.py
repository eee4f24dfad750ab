"""Small nodes that speak the topics of the simulator and the planner: python fake_nodes.py sim|planner [how it misbehaves]."""
import array
import json
import signal
import sys

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NAMES = [f'panda_joint{index}' for index in range(1, 8)]


def picture(level):
    return Image(height=96, width=96, encoding='rgb8', step=288, data=array.array('B', [level]) * (96 * 288))


class FakeSim(Node):
    """Every episode takes half a second; scenes with an odd seed fail."""

    def __init__(self, how):
        super().__init__('sim')
        self.how, self.ticks, self.begun, self.seed = how, 0, 0, -1
        self.declare_parameter('scene_seed', 0)
        self.reports = self.create_publisher(String, '~/episode', LATCHED)
        self.pictures = self.create_publisher(Image, 'camera/image', qos_profile_sensor_data)
        self.joints = self.create_publisher(JointState, 'joint_states', qos_profile_sensor_data)
        self.create_service(Trigger, '~/next_episode', self.next_episode)
        self.create_timer(0.02, self.tick)

    def next_episode(self, _request, answer):
        self.seed, self.begun = self.get_parameter('scene_seed').value, self.ticks
        if self.how == f'dies in {self.seed}':
            print('out of cheese', flush=True)
            sys.exit(3)
        answer.success = True
        return answer

    def tick(self):
        self.ticks += 1
        elapsed_s = 0.02 * (self.ticks - self.begun)
        message = JointState(name=NAMES[::-1], position=[0.1 * index for index in range(7)])
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(20_000_000 * self.ticks, 10**9)
        self.joints.publish(message)
        if self.ticks % 10 == 0:
            self.pictures.publish(picture(100))
        if self.ticks % 5 == 0 and self.seed >= 0:
            done, good = elapsed_s > 0.5 and self.how != 'never ends', self.seed % 2 == 0
            self.reports.publish(String(data=json.dumps({
                'seed': self.seed, 'success': done and good, 'time_to_target_s': 0.4 if done and good else None, 'contacts': 2 * (not good),
                'reward': 0.0, 'elapsed_s': elapsed_s, 'done': done, 'limit_violations': 0, 'zone_entries': 2 * (not good),
                'now_s': 0.02 * self.ticks, 'rejected': {'no points': 1}})))


class FakePlanner(Node):
    """Plans ten times a second unless stopped."""

    def __init__(self, how):
        super().__init__('planner')
        self.running, self.misses, self.how = False, 0, how
        self.status = self.create_publisher(String, '~/status', LATCHED)
        self.plans = self.create_publisher(String, '~/plan', 10)
        self.imagined = self.create_publisher(Image, '~/imagined/image', qos_profile_sensor_data)
        for name, running in (('stop', False), ('reset', False), ('resume', True)):
            self.create_service(Trigger, f'~/{name}', lambda _request, answer, running=running: self.switch(running, answer))
        self.status.publish(String(data='FAULT' if how == 'faulty' else 'NOMINAL'))
        self.diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(0.1, self.plan)
        self.create_timer(1.0, self.diagnose)

    def switch(self, running, answer):
        self.running, answer.success = running, True
        self.diagnose()
        return answer

    def diagnose(self):
        self.diagnostics.publish(DiagnosticArray(status=[DiagnosticStatus(
            name='/planner: planning', message='FAULT: no model' if self.how == 'faulty' else 'NOMINAL',
            values=[KeyValue(key='deadline_misses', value=str(self.misses))])]))

    def plan(self):
        if self.running:
            self.misses += 1
            self.plans.publish(String(data=json.dumps({
                'seed': 1, 'timing_ms': {'total': 80.0}, 'breakdown': {'reward': 0.9}, 'rejected': {}, 'arrival_s': 1.5,
                'points_m': [[0.4, 0.0, 0.5], [0.5, 0.1, 0.3], [0.5, 0.2, 0.05]]})))
            self.plans.publish(String(data='not JSON'))
            self.imagined.publish(picture(200))


def main():
    role, how = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ''
    if how == 'deaf':
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    if how == 'deaf':
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        rclpy.spin({'sim': FakeSim, 'planner': FakePlanner}[role](how))
    except KeyboardInterrupt:
        pass


if __name__ == '__main__':
    main()
