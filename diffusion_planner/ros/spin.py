"""Run a node until a signal, and give it the chance to stop the arm before the middleware is gone."""
import os
import signal
import sys
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from diffusion_planner.config import ConfigError


def make_executor():
    """Return the executor that costs least; never the multi-threaded one, whose wait is a busy loop in rclpy 9.1."""
    try:
        from rclpy.experimental import EventsExecutor
        return EventsExecutor()
    except ImportError:
        return SingleThreadedExecutor()


class Signals:
    """SIGINT and SIGTERM as a flag; a second one exits at once.

    One Ctrl-C under ros2 launch arrives twice, from the terminal and from launch: what follows at once is the same one.
    """

    SAME_S = 1.5

    def __init__(self):
        self.received, self.first_s = None, 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number, _frame):
        if self.received is None:
            self.received, self.first_s = number, time.monotonic()
        elif time.monotonic() - self.first_s > self.SAME_S:
            os._exit(128 + number)


def end(status):
    """End the process now: taking Python and torch apart takes a second or more, in which a late signal would spoil the exit status."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run_node(make_node, arguments=None):
    """Run make_node() until a signal or until its `over` is true, then its stop(): -> exit status, see `end`.

    rclpy's own handlers would shut the middleware down first, and no brake could be published any more.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    signals, node, status = Signals(), None, 0
    try:
        node = make_node()
        executor = make_executor()
        executor.add_node(node)
        while signals.received is None and not node.over:
            executor.spin_once(timeout_sec=0.1)
    except (ConfigError, rclpy.exceptions.ParameterException) as error:
        print(f'{sys.argv[0].rsplit("/", 1)[-1]}: {" ".join(str(error).split())}', file=sys.stderr)
        status = 2
    finally:
        if node is not None:
            node.stop()
            node.destroy_node()
        rclpy.try_shutdown()
    return status
