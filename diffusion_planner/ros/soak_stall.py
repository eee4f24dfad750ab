"""One end of `bench turnaround --stall`: python -m diffusion_planner.ros.soak_stall sender | planner KIND SECONDS.

The planner is the real node around a planner that does nothing but stall; it prints how long joint states took to their callback.
"""
import json
import os
import signal
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from diffusion_planner.planning.settings import PlannerSettings
from diffusion_planner.records import ImaginedPlan, JointReading
from diffusion_planner.ros import conversions
from diffusion_planner.ros.inputs import Inputs
from diffusion_planner.ros.outputs import best_effort
from diffusion_planner.ros.planner_node import main as run_planner
from diffusion_planner.ros.spin import Signals
from diffusion_planner.sim.scene import default_robot

STALL_S, WARM_UP = 2.0, 2           # plans of the warm-up at configure are quick
RATE_HZ, PICTURE_EVERY = 200.0, 20


class Stalling:
    """Stays where it is, and takes two seconds to say so, every other time. `stalls` are their (begin, end) on the steady clock."""

    context_offset_s, cameras, picture_shape = (-1.2, -0.4, 0.0), ('camera',), (96, 96, 3)
    offset_s = np.linspace(0.2, 2.0, 10)

    def __init__(self, robot, kind, stalls):
        self.robot, self.joint_names, self.settings, self.made = robot, robot.joint_names, PlannerSettings(), 0
        self._work, self.stalls = WORK[kind](), stalls

    def plan(self, observation, goal, seed, deadline_s=None):
        self.made += 1
        if self.made > WARM_UP and self.made % 2:
            begun_s = time.monotonic()
            while time.monotonic() < begun_s + STALL_S:
                self._work()
            self.stalls.append((begun_s, time.monotonic()))
        position_rad = np.tile(observation.position_rad[-1], (len(self.offset_s), 1))
        return ImaginedPlan(observation.origin_s, self.offset_s, position_rad, np.zeros_like(position_rad), np.zeros((len(self.offset_s), 2)),
                            {}, {}, {'total': 1.0})

    def measure(self, plan):
        return plan

    def reset(self):
        pass

    def imagined_picture(self, plan):
        return np.zeros(self.picture_shape, np.uint8)


def _counting():
    def work():
        total = 0
        for number in range(100_000):
            total += number
    return work


def _tensors(size, count):
    import torch
    torch.set_num_threads(1)
    left, right = torch.ones(size, size), torch.ones(size, size)

    def work():
        for _ in range(count):
            torch.add(torch.mm(left, right), right)
    return work


WORK = {'sleeping': lambda: lambda: time.sleep(STALL_S), 'busy': _counting, 'torch': lambda: _tensors(700, 10), 'small': lambda: _tensors(4, 1000)}


def planner(kind, seconds):
    """Run the node for so long from its first stall on, then print what it was like: -> exit status"""
    delays, stalls = [], []         # (callback, publication) on the steady clock, which is one for all processes
    take = Inputs.take_joints

    def timed(inputs, message):
        delays.append((time.monotonic(), float(message.header.frame_id)))
        take(inputs, message)
    Inputs.take_joints = timed

    def end_after():
        while not stalls:
            time.sleep(0.1)
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=end_after, daemon=True).start()
    status = run_planner(['--ros-args', '-p', 'autostart:=true', '-p', 'hang_timeout_s:=30.0'], lambda values, robot: Stalling(robot, kind, stalls))
    print(json.dumps(sorted_out(delays, stalls)), flush=True)
    return status


def sorted_out(delays, stalls):
    """Tell delays during stalls from those between them, from the first stall on: -> {'stalls', 'stalled_ms', 'idle_ms'}

    sorted_out([(callback_s, sent_s)], [(begin_s, end_s)]): a message counts as stalled that was sent during a stall.
    """
    found = {'stalls': len(stalls), 'stalled_ms': [], 'idle_ms': []}
    for callback_s, sent_s in delays:
        if stalls and stalls[0][0] <= sent_s < stalls[-1][1]:
            inside = any(begin_s <= sent_s < end_s for begin_s, end_s in stalls)
            found['stalled_ms' if inside else 'idle_ms'].append(1000 * (callback_s - sent_s))
    return found


def sender():
    """Publish joint states, each with the steady clock's time as its frame_id, and pictures, until a signal: -> exit status"""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    signals, node, robot = Signals(), Node('sender', start_parameter_services=False), default_robot()
    joints, pictures = node.create_publisher(JointState, 'joint_states', best_effort(10)), node.create_publisher(Image, 'camera/image', best_effort(1))
    pixels = np.tile(np.linspace(0, 200, 96), (3, 96, 1)).T.astype(np.uint8)
    begun_s, count = time.monotonic(), 0
    while signals.received is None:
        time.sleep(max(0.0, begun_s + count / RATE_HZ - time.monotonic()))
        reading = JointReading(time.time(), np.array(robot.home_rad), np.zeros(len(robot.joint_names)))
        if count % PICTURE_EVERY == 0:
            pictures.publish(conversions.to_image(pixels, reading.stamp_s, 'optical'))
        message = conversions.to_joint_state(reading, robot.joint_names)
        message.header.frame_id = repr(time.monotonic())
        joints.publish(message)
        count += 1
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


def main(arguments=None):
    role, *rest = sys.argv[1:] if arguments is None else arguments
    return sender() if role == 'sender' else planner(rest[0], float(rest[1]))


if __name__ == '__main__':
    sys.exit(main())
