"""The planner as a lifecycle node: it converts, stores, calls and publishes; everything else is in engine.py."""
import functools
import sys
import traceback

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from diffusion_planner import config
from diffusion_planner.planning.playback import sample
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions, parameters
from diffusion_planner.ros.diagnostics import State, asked, guidance, to_diagnostics
from diffusion_planner.ros.engine import Engine, load_shipped
from diffusion_planner.ros.spin import run_node
from diffusion_planner.ros.wishes import locate, read_objective
from diffusion_planner.ros.worker import Hooks

RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def best_effort(depth):
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def transition(change):
    """Log what a lifecycle transition raises, which rclpy would swallow, and keep it as the reason of a FAULT."""
    @functools.wraps(change)
    def wrapped(self, state):
        try:
            change(self)
            self.cause = ''
            return TransitionCallbackReturn.SUCCESS
        except Exception as error:
            self.cause = ' '.join(f'{change.__name__[3:]}: {error}'.split())
            expected = isinstance(error, (ValueError, OSError))   # bad files and values; anything else is a defect
            self.get_logger().error(self.cause if expected else traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        finally:
            self._tell()
    return wrapped


class PlannerNode(LifecycleNode):
    """Subscribes to camera and joints, publishes joint trajectories. `load(values, robot) -> planner` is replaced in tests."""

    def __init__(self, load=load_shipped):
        super().__init__('planner')
        self.over, self.cause, self.engine, self._load = False, '', None, load
        parameters.declare(self, parameters.PLANNER, self._change)
        self._said, self._entities = None, []
        self._status = self._publisher(String, '~/status', LATCHED)
        self._diagnostics = self._publisher(DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        for name in ('stop', 'resume', 'reset', 'plan_once'):
            self.create_service(Trigger, f'~/{name}', functools.partial(self._serve, name))
        self.create_service(SetBool, '~/set_guidance', self._set_guidance)
        # Not on ROS time: such a timer stands still without /clock and when that steps back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._watchdog = self.create_timer(0.05, self._tell, clock=steady)
        self._beat = self.create_timer(1.0, self._diagnose, clock=steady)
        threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True)
        self._jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_jump)
        if self.get_parameter('autostart').value:
            self._starter = self.create_timer(0.0, self._autostart, clock=steady)

    # -- lifecycle

    def _autostart(self):
        self._starter.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    @transition
    def on_configure(self):
        values, log = parameters.values(self, parameters.PLANNER), self.get_logger().warning
        self.engine = Engine(values, Hooks(self.now_s, self._send, self._report, log), self.get_parameter('use_sim_time').value, self._load)
        inputs = self.engine.inputs
        self._trajectory = self._publisher(JointTrajectory, 'joint_trajectory', RELIABLE)
        self._plan = self._publisher(String, '~/plan', RELIABLE)
        self._picture = self._publisher(Image, '~/imagined/image', best_effort(1))
        self._path = self._publisher(MarkerArray, '~/imagined/path', best_effort(1))
        self._entities = [self._trajectory, self._plan, self._picture, self._path]
        self._subscribe(JointState, 'joint_states', best_effort(10), lambda message: inputs.take_joints(message, self.now_s()))
        for camera in self.engine.history.cameras:
            self._subscribe(Image, f'{camera}/image', best_effort(1),
                            lambda message, camera=camera: inputs.take_image(message, camera, self.now_s()))

    @transition
    def on_activate(self):
        if not self._trajectory.get_subscription_count():
            self.get_logger().warning(f'nobody subscribes to {self._trajectory.topic_name} yet')
        self.engine.start()

    @transition
    def on_deactivate(self):
        self._end_planning()

    @transition
    def on_cleanup(self):
        self._release()

    @transition
    def on_shutdown(self):
        self._release()
        self.over = True

    def on_error(self, state):
        self._end_planning()
        return TransitionCallbackReturn.SUCCESS

    def stop(self):
        """Brake and let the message get out, before the middleware goes."""
        if self.engine is not None and self.engine.worker is not None:
            self._end_planning()
            self._trajectory.wait_for_all_acked(Duration(seconds=0.5))
        self.engine = None

    def _end_planning(self):
        if self.engine is not None and not self.engine.end():
            self.get_logger().error('the planning thread hangs; it is left behind')

    def _release(self):
        self._end_planning()
        for entity in self._entities:
            destroy = self.destroy_publisher if isinstance(entity, Publisher) else self.destroy_subscription
            destroy(entity)
        self._entities, self.engine = [], None

    # -- what comes in

    def now_s(self):
        return self.get_clock().now().nanoseconds * 1e-9

    def _serve(self, name, _request, response):
        if self.engine is None or self.engine.worker is None:
            response.success, response.message = False, 'the planner is not active'
        else:
            (self.engine.worker.plan_once if name == 'plan_once' else getattr(self.engine, name))()
            response.success, response.message = True, name
            self._tell()
        return response

    def _change(self, changes):
        """Take parameters that changed. Raises ConfigError, and nothing changes, for an objective that is no use."""
        if self.engine is not None:
            self.engine.wish(changes)
        elif 'objective' in changes:
            read_objective(changes['objective'], config.load(Robot, locate(self.get_parameter('robot').value)))

    def _set_guidance(self, request, response):
        if self.engine is not None:
            self.engine.guided = request.data
        response.success = self.engine is not None
        response.message = f'guidance scale {self.engine.goal().guidance_scale:g}' if response.success else 'the planner is not configured'
        return response

    def _on_jump(self, _jump):
        """Time went back or changed its source: nothing seen before means anything now."""
        if self.engine is not None:
            self.engine.reset(stop_first=False)   # a stop needs a clock

    # -- what goes out

    def _send(self, chunk):
        """Publish a chunk. Raises ValueError when it is too late for its first point."""
        self._trajectory.publish(conversions.to_joint_trajectory(chunk, self.engine.robot.joint_names, self.now_s()))

    def _report(self, plan, goal, seed):
        """Show people what was imagined; called from the planning thread, after the chunk is out."""
        robot, frame = self.engine.robot, self.get_parameter('base_frame').value
        chunk = self.engine.cycle.running
        start = plan.position_rad[:1] if chunk is None else sample(chunk, plan.origin_s).position_rad[None]
        points_m = robot.tip_m(np.concatenate([start, plan.position_rad]))
        self._plan.publish(conversions.to_json({
            'seed': seed, 'origin_s': plan.origin_s, 'timing_ms': plan.timing_ms, 'breakdown': plan.breakdown,
            'rejected': plan.rejected, 'points_m': points_m, 'arrival_s': float(plan.offset_s[-1]),
            'guidance': guidance(plan, goal), **({'objective': asked(plan, goal)} if goal.objective is not None else {})}))
        if self._path.get_subscription_count():
            self._path.publish(conversions.to_path_markers(points_m, plan.origin_s, frame))
        if self._picture.get_subscription_count():
            self._picture.publish(conversions.to_image(self.engine.planner.imagined_picture(plan), plan.origin_s, 'imagined'))

    def _tell(self):
        """Look after the engine; publish the state when it changed, diagnostics along with it."""
        state, reason = self.engine.watch() if self.engine is not None else (State.INACTIVE, '')
        if self.cause:
            state, reason = State.FAULT, self.cause
        before, self._said = self._said, (state, reason)
        if before is None or before[0] != state:
            self._status.publish(String(data=state.value))
            self.get_logger().info(f'{state.value}: {reason}' if reason else state.value)
            self._diagnose()

    def _diagnose(self):
        if self._said is None:
            return
        facts = {'backend': self.get_parameter('backend').value}
        if self.engine is not None:
            facts |= self.engine.facts() | {'trajectory subscribers': self._trajectory.get_subscription_count(),
                                            'trajectory publishers': self.count_publishers(self._trajectory.topic_name)}
        self._diagnostics.publish(to_diagnostics(self.get_fully_qualified_name(), self.get_parameter('model').value, *self._said,
                                                 facts, self.now_s()))

    def _publisher(self, kind, topic, qos):
        return self.create_publisher(kind, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def _subscribe(self, kind, topic, qos, callback):
        self._entities.append(self.create_subscription(
            kind, topic, callback, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()))


def main(arguments=None, load=load_shipped):
    # The planning thread is to hand the interpreter over within a millisecond, so that no callback waits for it.
    sys.setswitchinterval(0.001)
    return run_node(lambda: PlannerNode(load), arguments)


if __name__ == '__main__':
    sys.exit(main())
