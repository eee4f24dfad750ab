"""Hears a planner in shadow mode: its plans, its chunks, what it says of itself."""
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from diffusion_planner.ros.monitor import mapping

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FIGURES = 'plans', 'chunks', 'deadline_misses', 'rejected', 'joint_states dropped'


class Listener:
    """What was heard so far, through a node's subscriptions. heard_s: when the newest plan came (steady clock)."""

    def __init__(self, node, planner='planner'):
        self.plans, self.chunks, self.said, self.facts, self.diagnoses, self.heard_s = [], [], [], {}, 0, 0.0
        self._planner = planner
        node.create_subscription(String, f'{planner}/plan', self._hear_plan, 100)
        node.create_subscription(JointTrajectory, f'{planner}/shadow/joint_trajectory', self._hear_chunk, 100)
        node.create_subscription(String, f'{planner}/status', self._hear_status, LATCHED)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._hear_diagnosis, 100)

    @property
    def status(self):
        return self.said[-1] if self.said else ''

    @property
    def state(self):
        return self.status.split(':')[0]

    def _hear_plan(self, message):
        self.plans.append(mapping(message.data))
        self.heard_s = time.monotonic()

    def _hear_chunk(self, message):
        self.chunks.append([list(point.positions) for point in message.points])

    def _hear_status(self, message):
        self.said.append(message.data)

    def _hear_diagnosis(self, message):
        for status in message.status:
            if status.name.startswith(f'/{self._planner}'):
                self.facts, self.diagnoses = {pair.key: pair.value for pair in status.values}, self.diagnoses + 1

    def summary(self):
        """Say in a few lines what the planner made of what it heard: -> list of str"""
        facts = self.facts
        dropped = [f'{name.removesuffix(" dropped")}: {count}' for name, count in facts.items() if name.endswith(' dropped') and count != '0']
        return [f'{facts.get("plans", "0")} plans begun, {len(self.plans)} finished, {len(self.chunks)} chunks in shadow, '
                f'{facts.get("deadline_misses", "0")} deadline misses',
                f'refused: {facts.get("rejected", "0")}', *last_refusal(self.said), *([f'inputs dropped: {"; ".join(dropped)}'] if dropped else [])]

    def record(self):
        """-> {'plans', 'chunks', 'said', 'diagnostics'} for a file"""
        return {'plans': self.plans, 'chunks': self.chunks, 'said': self.said, 'diagnostics': self.facts}


def last_refusal(said):
    """Find the newest reason for a refusal in what a planner said of itself: -> list of one str, or of none"""
    found = [text.partition('plan refused: ')[2] for text in said if 'plan refused: ' in text]
    return [f'last refusal: {found[-1]}'] if found else []
