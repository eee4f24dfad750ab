"""Whether an engine may plan on, and what there is to worry about."""
import time

from diffusion_planner import config
from diffusion_planner.ros.inputs import Inputs
from diffusion_planner.ros.wishes import Recent
from diffusion_planner.ros.worker import LAG_S, UNUSABLE
from diffusion_planner.safety import check_inputs

BRAKE = 3.0            # times camera_timeout_s, or sensor_timeout_s: without pictures or readings for so long the arm stops
RECENT_S = 3.0         # a miss or a refusal counts as DEGRADED for so long
LAG_PATIENCE_S = 0.15  # a clock that is behind the joint states for longer (steady clock) is wrong
LOST = 5               # chunks in a row that did not arrive
UNMOVED = 3            # chunks in a row that moved nothing: nobody executes them


class Health:
    """Looks at one engine; every answer is a text, empty where there is nothing to say."""

    def __init__(self, engine):
        self.engine, self.held, self.rivals, self.mistyped, self.listeners = engine, {}, [], [], None
        self._behind_since_s = None
        self._missed, self._refused, self._jumps = Recent(RECENT_S), Recent(RECENT_S), engine.history.jumps

    def begin_again(self):
        """Forget the faults of before."""
        self._jumps = self.engine.history.jumps

    def fault(self):
        """Say what only an operator can mend."""
        engine = self.engine
        if engine.worker.busy_s() > engine.values['hang_timeout_s'] and not engine.loading:
            return f'a plan takes longer than {engine.values["hang_timeout_s"]:g} s'
        if not engine.worker.is_alive():
            return 'the planning thread has ended, expected it to outlive every fault'
        if engine.history.jumps != self._jumps and not engine.simulated:
            return 'joint_states: the joints jumped as no arm can, expected continuous motion'
        if engine.cycle.following.unmoved >= UNMOVED:
            return f'{UNMOVED} trajectories in a row moved nothing: is the controller active, the brake released?'
        if engine.cycle.following.lost >= LOST:
            return f'{LOST} trajectories in a row moved nothing, as if they never reached the controller: is it active, is the topic right?'
        return ''

    def clock_behind(self):
        """Say that simulated time has been behind the joint states for too long to be a message's delay."""
        now_s, behind = time.monotonic(), self.engine.simulated and self.engine.inputs.clock_lag_s > LAG_S
        self._behind_since_s = (self._behind_since_s or now_s) if behind else None
        if not behind or now_s - self._behind_since_s < LAG_PATIENCE_S:
            return ''
        return f'/clock is {self.engine.inputs.clock_lag_s:.1f} s behind the joint states'

    def reason_to_brake(self):
        engine = self.engine
        if self.held:
            return '; '.join(self.held.values())
        stale = self._stale(BRAKE)
        if not engine.values['require_sensors']:
            stale = {name: text for name, text in stale.items() if name not in engine.history.sensors}
        seeing = [name for name in engine.history.cameras if name not in stale and engine.inputs.sources[name].age_s() < float('inf')]
        if not engine.values['require_all_cameras'] and seeing:
            stale = {name: text for name, text in stale.items() if name not in engine.history.cameras}
        return '; '.join(stale.values())

    def reason_to_worry(self):
        engine = self.engine
        if engine.worker.waiting_for:
            return '; '.join([engine.worker.waiting_for, *self._faults_of_inputs()])
        counters, now_s = engine.cycle.counters(), engine.hooks.now_s()
        refused = {reason: count for reason, count in counters['rejected'].items() if reason != 'superseded'}   # that was us
        missed, doubtful = self._missed(counters['deadline_misses'], now_s), self._refused(sum(refused.values()), now_s)
        return '; '.join([
            *self._stale().values(), *self._faults_of_inputs(),
            *[f'plan refused: {self._why()}'] * doubtful, *self.strange(), *[f'{counters["deadline_misses"]} deadline misses so far'] * missed,
            *[f'running on the CPU since the backend failed: {engine.fell_back}'] * bool(engine.fell_back), *self._company()])

    def unusable(self):
        """Say that what the planner makes cannot be used."""
        return f'{UNUSABLE} plans in a row were dropped: {self.engine.cycle.last_refusal}' if self.engine.cycle.unusable >= UNUSABLE else ''

    def _stale(self, patience=1.0):
        """Name the inputs that have come but are too old now; what never came, the planning thread waits for: -> name to text

        patience: times what cameras and sensors are allowed; joints are allowed no more.
        """
        inputs, now_s, values = self.engine.inputs, self.engine.hooks.now_s(), self.engine.values
        allowed_s = {Inputs.JOINTS: values['joint_timeout_s'], **dict.fromkeys(self.engine.history.sensors, patience * values['sensor_timeout_s'])}
        ages_s = {name: inputs.age_s(name, now_s, self.engine.simulated) for name in inputs.sources}
        limits_s = {name: allowed_s.get(name, patience * values['camera_timeout_s']) for name, age_s in ages_s.items() if age_s < float('inf')}
        return {text.split(':')[0]: text for text in check_inputs(ages_s, limits_s)}

    def _faults_of_inputs(self):
        """Say why messages are dropped or not heard, and which cameras and sensors that are not required have never shown anything: -> texts"""
        sources, values, history = self.engine.inputs.sources, self.engine.values, self.engine.history
        optional = [*(() if values['require_all_cameras'] else history.cameras), *(() if values['require_sensors'] else history.sensors)]
        never = [f'{name}: nothing received' for name in optional if sources[name].stamp_s is None and not sources[name].fault]
        return [f'{name} dropped: {source.fault}' for name, source in sources.items() if source.fault] + self.mistyped + never

    def _company(self):
        """Say who else, or nobody, is at the trajectory topic: -> texts"""
        alone = ['nobody subscribes to the trajectory'] if self.listeners == 0 and not self.engine.values['shadow'] else []
        return alone + [f'{name} publishes trajectories too, expected nobody else' for name in self.rivals]

    def strange(self):
        """Say what the newest plan was made in spite of: -> texts"""
        newest = self.engine.newest_plan
        said = {} if newest is None else newest[0].breakdown
        return [f'scene unlike the play data: {name.removeprefix("strange_")} {value:.2g} times what play shows'
                for name, value in said.items() if name.startswith('strange_') and value > 1.0]

    def _why(self):
        """Say why the last plan was refused; where the objective cannot be met from here at all, in its words."""
        told = self.engine.cycle.last_refusal
        try:
            if 'objective: ' in told:
                self.engine.wishes.check_start(self.engine.position_rad())
        except config.ConfigError as error:
            return str(error)
        return told
