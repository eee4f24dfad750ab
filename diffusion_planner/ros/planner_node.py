"""The planner as a lifecycle node: it converts, stores, calls and publishes; everything else is in engine.py."""
import functools
import sys
import traceback

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, Float64
from std_srvs.srv import SetBool, Trigger

from diffusion_planner import config
from diffusion_planner.robot import Robot
from diffusion_planner.ros import parameters
from diffusion_planner.ros.diagnostics import State
from diffusion_planner.ros.engine import Engine, load_shipped
from diffusion_planner.ros.outputs import RELIABLE, Plans, Standing, best_effort
from diffusion_planner.ros.sensing import message_class, mistyped
from diffusion_planner.ros.spin import end, run_node
from diffusion_planner.ros.timebase import SimulatedTime, WallTime
from diffusion_planner.ros.wishes import locate, read_objective
from diffusion_planner.ros.worker import Hooks

JUMP_S = 1.0      # by which /clock may go ahead at once, as it does where messages get lost
STILL = 0.001     # a speed scaling up to here is a stop


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


def controller_state():
    """Return the message type of a controller's state, which not every ROS 2 installation has. Raises ConfigError."""
    try:
        from control_msgs.msg import JointTrajectoryControllerState
    except ImportError:
        raise config.ConfigError('parameter controller_state: needs the package control_msgs, which is not installed; '
                                 'expected it, or an empty text') from None
    return JointTrajectoryControllerState


class PlannerNode(LifecycleNode):
    """Subscribes to camera and joints, publishes joint trajectories. `load(values, robot) -> planner` is replaced in tests."""

    def __init__(self, load=load_shipped):
        super().__init__('planner')
        self.over, self.cause, self.engine, self.plans, self._load = False, '', None, None, load
        parameters.declare(self, parameters.PLANNER, self._change)
        self._entities, self._standing = [], Standing(self)
        for name in ('stop', 'resume', 'reset', 'plan_once'):
            self.create_service(Trigger, f'~/{name}', self._guarded(functools.partial(self._serve, name)))
        self.create_service(SetBool, '~/set_guidance', self._guarded(self._set_guidance))
        # Not on ROS time: such a timer stands still without /clock and when that steps back.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._watchdog = self.create_timer(0.05, self._guarded(self._tell), clock=steady)
        self._beat = self.create_timer(1.0, self._guarded(self._diagnose), clock=steady)
        threshold = JumpThreshold(min_forward=Duration(seconds=JUMP_S), min_backward=Duration(nanoseconds=-1), on_clock_change=True)
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
        values, simulated = parameters.values(self, parameters.PLANNER), self.get_parameter('use_sim_time').value
        timebase = SimulatedTime(self.get_clock()) if simulated else WallTime()
        hooks = Hooks(timebase.now_s, self._send, self._report, self.get_logger().warning, warn=self._warn)
        self.engine = Engine(values, hooks, simulated, self._load, timebase)
        self.plans = Plans(self, self.engine, values['base_frame'], values['shadow'])
        self._entities = list(self.plans.entities)
        self._subscribe(JointState, 'joint_states', best_effort(10), self.engine.inputs.take_joints)
        kind, ending = (CompressedImage, 'image/compressed') if values['compressed'] else (Image, 'image')
        for camera in self.engine.history.cameras:
            self._subscribe(kind, f'{camera}/{ending}', best_effort(1), functools.partial(self.engine.inputs.take_image, camera))
        for sensor, source in self.engine.inputs.sensors.items():
            self._subscribe(message_class(source.type), source.topic, best_effort(10), functools.partial(self.engine.inputs.take_sensor, sensor))
        self._subscribe(Bool, '~/hold', RELIABLE, lambda message: self._hold('hold', 'held by ~/hold' if message.data else ''))
        self._subscribe(Float64, 'speed_scaling', best_effort(1), self._take_scaling)
        if values['controller_state']:
            self._subscribe(controller_state(), values['controller_state'], best_effort(1),
                            functools.partial(self.engine.inputs.take_controller, self.engine.cycle.following))

    @transition
    def on_activate(self):
        if not self.plans.listeners():
            self.get_logger().warning(f'nobody subscribes to {self.plans.trajectory.topic_name} yet')
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
            self.plans.flush()
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

    def _take_scaling(self, message):
        """Hold while the controller's speed is scaled to nothing: an emergency stop, or somebody at the pendant."""
        self._hold('speed_scaling', 'the speed scaling of the controller is 0' if not message.data > STILL else '')

    def _hold(self, name, reason):
        if self.engine.health.held.get(name, '') != reason:      # the scaling comes as often as joint states
            self.engine.hold(name, reason)
            self._tell()

    def _serve(self, name, _request, response):
        if self.engine is None or self.engine.worker is None:
            response.success, response.message = False, 'the planner is not active'
        else:
            refusal = getattr(self.engine, name)()
            response.success, response.message = not refusal, refusal or name
            self._tell()
        return response

    def _change(self, changes):
        """Take parameters that changed. Raises ConfigError, and nothing changes, for an objective that is no use."""
        if self.engine is not None:
            self.engine.wish(changes)
        elif 'objective' in changes:
            robot, *source = (self.get_parameter(name).value for name in ('robot', 'backend', 'model'))
            read_objective(changes['objective'], config.load(Robot, locate(robot)), *source)

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
        self.plans.send(chunk)

    def _report(self, plan, goal, seed):
        self.plans.report(plan, goal, seed)

    def _warn(self, reason):
        """Say from the planning thread what the plan that goes out next was made in spite of."""
        self._standing.warn(reason)

    def _tell(self):
        """Look after the engine; publish the state when it changed, diagnostics along with it."""
        asked = self._standing.warnings
        state, reason = self.engine.watch() if self.engine is not None else (State.INACTIVE, '')
        if self.cause:
            state, reason = State.FAULT, self.cause
        if self._standing.tell(state, reason, asked):
            self._diagnose()

    def _diagnose(self):
        facts, rivals = {'backend': self.get_parameter('backend').value}, []
        if self.engine is not None:
            health = self.engine.health
            health.listeners, health.rivals = self.plans.listeners(), (rivals := self.plans.rivals())
            health.mistyped = mistyped(self, self.engine.inputs.sensors)
            facts |= self.engine.facts() | {'trajectory subscribers': health.listeners, 'other trajectory publishers': ', '.join(rivals) or 'none'}
        self._standing.diagnose(self.get_parameter('model').value, facts, alarm=bool(rivals))

    def _guarded(self, callback):
        """Let a defect in a callback stop the arm, not the node; a service's answer, the second argument, says so."""
        @functools.wraps(callback)
        def wrapped(*arguments):
            try:
                return callback(*arguments)
            except Exception as error:
                self.get_logger().error(traceback.format_exc(), throttle_duration_sec=1.0)
                reason = f'{type(error).__name__} in a callback: {error}'
                if self.engine is not None:
                    self.engine.fail(reason)
                if len(arguments) > 1:
                    arguments[1].success, arguments[1].message = False, reason
                    return arguments[1]
        return wrapped

    def _subscribe(self, kind, topic, qos, callback):
        callback = self._guarded(callback)
        self._entities.append(self.create_subscription(
            kind, topic, callback, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()))


def main(arguments=None, load=load_shipped):
    # The planning thread is to hand the interpreter over within a millisecond, so that no callback waits for it.
    sys.setswitchinterval(0.001)
    return run_node(lambda: PlannerNode(load), arguments)


def program():
    end(main())


if __name__ == '__main__':
    program()
