"""The engine in one thread's sight: wishes that change while it plans, and why it refuses, on a clock that the test moves."""
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import planners
import pytest
import stepped

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.files import find
from diffusion_planner.planning.settings import NoSafeCandidate
from diffusion_planner.records import Frame, JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros import conversions, parameters
from diffusion_planner.ros.diagnostics import State
from diffusion_planner.ros.engine import Engine
from diffusion_planner.ros.health import RECENT_S
from diffusion_planner.ros.wishes import read_objective, read_zones
from diffusion_planner.ros.worker import Hooks

ROBOT = config.load(Robot, find('config/panda.yaml'))
FAR = 'keep_out:\n  - {name: cellar, centre_m: [0, 0, -9], radius_m: 1.0}'
HERE = f'keep_out:\n  - {{name: here, centre_m: {ROBOT.tip_m(np.array(ROBOT.home_rad)).tolist()}, radius_m: 0.1}}'


class Rig:
    """An engine around a fake planner; `turn` lets it see a standing arm and pictures of one brightness, a tenth of a second on."""

    def __init__(self, kind, **values):
        self.now_s, self.logged, self.reports, self.level = 100.0, [], [], 0
        hooks = Hooks(lambda: self.now_s, lambda chunk: None, lambda *report: self.reports.append(report), self.logged.append)
        given = {entry.name: entry.default for entry in parameters.PLANNER} | values
        self.engine = Engine(given, hooks, True, lambda values, robot: kind(robot))
        self.planner = self.engine.planner

    def turn(self):
        self.now_s += 0.1
        self.engine.history.append(JointReading(self.now_s, np.array(ROBOT.home_rad), np.zeros(7)))
        self.engine.history.append(Frame(self.now_s, 'camera', np.full((96, 96, 3), self.level, np.uint8)))
        time.sleep(0.03)
        return self.engine.watch()

    def until(self, condition, turns=100):
        """Turn until the condition holds for what watch says."""
        for _ in range(turns):
            if condition(*(said := self.turn())):
                return said
        raise AssertionError(f'{turns} turns, and the engine says {said}')


@pytest.fixture
def rig():
    made = []

    def make(kind=planners.Hold, **values):
        made.append(Rig(kind, **values))
        return made[-1]
    yield make
    for each in made:
        assert each.engine.end()


def test_plans_are_made_under_the_wishes_of_the_moment(rig):
    rig = rig()
    rig.engine.start()
    rig.until(lambda *_: rig.reports)
    rig.engine.wish({'objective': FAR, 'guidance_scale': 3.0, 'guard': False})
    count = len(rig.reports)
    rig.until(lambda *_: len(rig.reports) > count + 1)
    guard, goal = rig.planner.made[-1]
    assert (guard, goal.guidance_scale, goal.objective.name) == (False, 3.0, 'objective')
    rig.engine.wish({'objective': '', 'guard': True})
    count = len(rig.reports)
    rig.until(lambda *_: len(rig.reports) > count + 1)
    assert rig.planner.made[-1][0] and rig.planner.made[-1][1].objective is None


def test_plans_get_the_deadline_of_the_moment_and_say_what_became_of_it(rig):
    rig = rig(deadline_ms=40.0)
    rig.engine.start()
    rig.until(lambda *_: rig.reports)
    assert rig.planner.deadlines_s == [None, None, 0.04]       # the warm-up has none
    facts = rig.engine.facts()
    assert (facts['deadline ms'], facts['deadline kept'], facts['sampling steps'], facts['noise left']) == ('40', '1 of 1', 'far 4, fill 2', '0.50')
    assert facts['plan steps'] == '2.500'                      # the judgement of that name
    rig.engine.wish({'deadline_ms': 0.5})                      # less than the millisecond that its plans say they took
    count = len(rig.reports)
    rig.until(lambda *_: len(rig.reports) > count + 1)
    assert rig.planner.deadlines_s[-1] == 0.0005 and not rig.engine.facts()['deadline kept'].startswith(str(len(rig.reports)))
    rig.engine.wish({'deadline_ms': 0.0})
    count = len(rig.reports)
    rig.until(lambda *_: len(rig.reports) > count + 1)
    assert rig.planner.deadlines_s[-1] is None
    assert rig.engine.facts()['deadline ms'] == 'none' and rig.engine.facts()['noise left'] == '0.00'


def test_a_deadline_that_leaves_no_time_to_hand_over_is_refused(rig):
    with pytest.raises(ConfigError, match='deadline_ms: got 241, expected 0 for none, or at most lead_s - min_lead_s = 240 ms'):
        rig(deadline_ms=241.0)
    rig = rig(deadline_ms=240.0)
    before = rig.engine.wishes
    with pytest.raises(ConfigError, match='deadline_ms: got 500'):
        rig.engine.wish({'deadline_ms': 500.0, 'guard': False})
    assert rig.engine.wishes is before


@pytest.mark.parametrize('objective, said', [
    ('nowhere.yaml', 'nowhere.yaml'), ('keep_in: []\n', "unknown key 'keep_in'"), (HERE, "'here' fails at the start state"),
])
def test_a_bad_objective_changes_nothing(rig, objective, said):
    rig = rig(objective=FAR)
    rig.turn()
    before = rig.engine.wishes
    with pytest.raises(ConfigError, match=said) as refused:
        rig.engine.wish({'objective': objective, 'guard': False})
    assert rig.engine.wishes is before
    assert len(str(refused.value).splitlines()) == 1


def test_an_objective_that_is_broken_where_the_arm_stands_is_not_started_with(rig):
    rig = rig(objective=HERE)      # nobody knows yet where the arm stands
    rig.turn()
    with pytest.raises(ConfigError, match="'here' fails at the start state"):
        rig.engine.start()
    assert rig.engine.worker is None


def test_what_cannot_be_met_from_here_is_told_where_plans_are_refused(rig):
    class Refusing(planners.Hold):
        def plan(self, observation, goal, seed, deadline_s=None):
            raise NoSafeCandidate({'objective: here': 3})
    rig = rig(Refusing, objective=HERE)
    rig.engine.start()             # before any joint state, as with autostart
    state, reason = rig.until(lambda state, reason: 'refused' in reason)
    assert state is State.DEGRADED and reason.startswith("plan refused: objective: 'here' fails at the start state")


def test_switching_the_guard_off_is_logged_once(rig):
    rig = rig()
    assert rig.logged == []
    rig.engine.wish({'guard': False})
    rig.engine.wish({'guidance_scale': 1.0})
    assert len(rig.logged) == 1 and 'guard is off' in rig.logged[0]


def test_the_warm_up_takes_black_pictures_for_what_they_are(rig):
    class Stranger(planners.Strange):
        bright = -1                # to which everything is strange
    planner = rig(Stranger).planner
    assert [guard for guard, _ in planner.made] == [False, True]
    assert planner.settings.strange_limit == 1.25 and planner.settings.guard


def test_a_strange_scene_is_named_and_forgotten(rig):
    rig = rig(planners.Strange)
    rig.engine.start()
    rig.until(lambda state, _: state is State.NOMINAL and rig.reports)
    rig.level, plans = 255, len(rig.planner.made)
    told = 'plan refused: scene unlike the play data: picture 3.1 times what play shows'
    assert rig.until(lambda state, _: state is State.DEGRADED) == (State.DEGRADED, told)
    began_s, refused = rig.now_s, rig.engine.cycle.rejected['no safe candidate']
    assert rig.until(lambda state, _: state is not State.DEGRADED or rig.now_s > began_s + RECENT_S + 2)[1] == told   # as long as it lasts
    again = rig.engine.cycle.rejected['no safe candidate'] - refused
    assert 5 <= again <= 12                                    # once a period: another seed would see the same
    assert len(rig.planner.made) == plans
    rig.level, cleared_s = 0, rig.now_s
    rig.until(lambda state, _: state is State.NOMINAL)
    assert len(rig.planner.made) > plans and RECENT_S - 0.5 < rig.now_s - cleared_s < RECENT_S + 1.5


def test_facts_say_what_was_asked_and_what_held_it_back(rig):
    rig = rig(objective=FAR, guidance_scale=2.0)
    facts = rig.engine.facts()
    assert (facts['guidance requested'], facts['objective']) == ('2', 'objective') and 'guidance in force' not in facts
    rig.engine.start()
    rig.until(lambda *_: rig.reports)
    facts = rig.engine.facts()
    assert (facts['guidance in force'], facts['held back by']) == ('0.5', 'typicality, factor 0.50')
    assert (facts['objective cellar robustness'], facts['objective cellar share']) == ('0.125', '1.000')
    assert (facts['predicted success'], facts['plan reward']) == ('0.750', '0.500')
    rig.engine.wish({'objective': ''})
    facts = rig.engine.facts()                                 # the newest plan was made under another objective
    assert facts['objective'] == 'none' and 'objective cellar robustness' not in facts


def test_objectives_are_found_like_models(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read_objective('', ROBOT) is None and read_zones('') == ()
    assert read_objective('config/objectives/keep_out.yaml', ROBOT).name == 'keep_out'
    assert [zone.name for zone in read_zones('config/objectives/keep_out.yaml')] == ['fixture', 'cup']
    assert [zone.name for zone in read_zones(FAR)] == ['cellar']
    with pytest.raises(ConfigError, match='No such file'):
        read_zones('nowhere.yaml')


@pytest.fixture
def steps(monkeypatch):
    return lambda kind=planners.Swing, **values: stepped.Rig(monkeypatch, kind, **values)


class Failing(planners.Swing):
    """Raises in every plan but those of the warm-up."""

    def plan(self, observation, goal, seed, deadline_s=None):
        if self.count >= 2:
            raise RuntimeError('out of memory')
        return super().plan(observation, goal, seed, deadline_s)


def loader(*kinds):
    """Load these planners one after the other: -> load(values, robot), the devices that were asked for"""
    devices, left = [], list(kinds)

    def load(values, robot):
        devices.append(values['device'])
        return left.pop(0)(robot)
    return load, devices


def test_a_backend_that_fails_twice_goes_on_with_the_cpu_once(steps):
    load, devices = loader(Failing, planners.Swing)
    rig = steps(load=load, device='cuda').start()
    assert 'running on the CPU since the backend failed: RuntimeError: out of memory' in rig.until(State.DEGRADED)
    assert devices == ['cuda', 'cpu'] and rig.engine.planner is rig.engine.cycle.planner is rig.engine.worker.planner
    rig.turn(2.0)
    assert len(rig.sent) >= 4
    rig.engine.planner.plan = lambda *_: 1 / 0
    assert rig.until(State.FAULT) == 'ZeroDivisionError: division by zero' and devices == ['cuda', 'cpu']
    assert not rig.sent[-1].velocity_rad_s[-1].any() and rig.turn(1.0)[0] is State.FAULT and not rig.speed_rad_s()


@pytest.mark.parametrize('values', [{'device': 'cuda', 'cpu_fallback': False}, {'device': 'cpu'}])
def test_without_a_way_out_a_backend_that_fails_twice_is_a_fault(steps, values):
    load, devices = loader(Failing)
    assert steps(load=load, **values).start().until(State.FAULT) == 'RuntimeError: out of memory'
    assert devices == [values['device']]


def test_a_way_out_that_fails_too_is_told_with_the_cause(steps):
    def load(values, robot):
        if values['device'] == 'cpu':
            raise ConfigError('model: gone')
        return Failing(robot)
    rig = steps(load=load).start()
    assert rig.until(State.FAULT) == 'RuntimeError: out of memory; and on the CPU: model: gone' and not rig.engine.loading


def test_a_stop_lasts_until_it_is_taken_back(steps):
    rig = steps().start()
    rig.turn(1.0)
    rig.engine.stop()
    assert rig.turn() == (State.BRAKING, 'stopped by the operator')
    rig.turn(1.0)
    for answer in (lambda: None, rig.engine.reset):
        answer()
        sent = len(rig.sent)
        assert rig.turn(2.0) == (State.BRAKING, 'stopped by the operator') and len(rig.sent) == sent
    rig.engine.resume()
    rig.until(State.NOMINAL, 2.0)


def test_one_plan_may_be_asked_for_while_stopped_and_stopped_in_its_turn(steps):
    rig = steps().start()
    rig.turn(1.0)
    rig.engine.stop()
    rig.turn(1.0)
    rig.follows, rig.position_rad = False, rig.position_rad + 0.05         # by hand
    rig.turn(0.1)
    assert rig.engine.plan_once() == ''
    sent = len(rig.sent)
    rig.follows = True
    assert rig.turn(1.0) == (State.BRAKING, 'stopped by the operator') and len(rig.sent) == sent + 1 and rig.speed_rad_s() > 0.1
    assert rig.sent[-1].position_rad[0, 0] == pytest.approx(stepped.ROBOT.home_rad[0] + 0.05)      # from the measured joints
    rig.engine.stop()
    rig.turn(0.6)
    assert len(rig.sent) == sent + 2 and not rig.speed_rad_s()
    rig.engine.reset()
    assert rig.turn(1.0)[0] is State.BRAKING and len(rig.sent) == sent + 2
    rig.engine.resume()
    rig.until(State.NOMINAL, 2.0)


def test_after_a_single_plan_a_reset_keeps_still_and_a_resume_goes_on(steps):
    rig = steps().start()
    rig.turn(1.0)
    rig.engine.stop()
    rig.turn(1.0)
    rig.engine.plan_once()
    rig.turn(0.5)
    sent = len(rig.sent)
    rig.engine.reset()
    assert rig.turn(2.0)[0] is State.BRAKING and len(rig.sent) == sent + 1 and not rig.speed_rad_s()     # the brake
    rig.engine.plan_once()
    rig.turn(0.1)
    rig.engine.resume()
    rig.turn(3.0)
    assert len(rig.sent) > sent + 4


def test_a_single_plan_is_braked_by_whatever_else_comes_up(steps):
    rig = steps().start()
    rig.turn(1.0)
    rig.engine.stop()
    rig.turn(1.0)
    rig.engine.plan_once()
    rig.turn(0.8)
    assert rig.speed_rad_s() > 0.1
    rig.engine.hold('hold', 'held by ~/hold')
    rig.turn(0.6)
    assert not rig.speed_rad_s()


@pytest.mark.parametrize('trouble, said', [(lambda engine: engine.fail('broken'), 'broken'), (lambda engine: engine.hold('hold', 'held'), 'held')])
def test_no_plan_is_made_once_where_nothing_may_move(steps, trouble, said):
    rig = steps().start()
    rig.turn(0.5)
    trouble(rig.engine)
    rig.turn(1.0)
    sent = len(rig.sent)
    assert rig.engine.plan_once() == said
    rig.turn(1.0)
    assert len(rig.sent) == sent


def test_a_brake_that_comes_too_late_is_made_anew(steps):
    rig = steps().start()
    rig.turn(1.0)
    send, slow = rig.engine.hooks.send, [1]

    def late(chunk):
        rig.now_s += 0.3 * bool(slow and slow.pop())
        send(chunk)
    rig.engine.hooks = replace(rig.engine.hooks, send=late)
    rig.engine.stop()
    assert rig.engine.cycle.running is rig.sent[-1] and rig.engine.cycle.rejected == {'brake too late': 1}
    assert rig.engine.worker.not_before_s == rig.sent[-1].end_s
    rig.turn(1.0)
    assert not rig.speed_rad_s()


def test_the_stricter_limits_of_a_robot_description_hold(steps):
    joint = '<joint name="{}" type="revolute"><parent link="{}"/><child link="{}"/><limit lower="{}" upper="9" velocity="{}" effort="1"/></joint>'
    names, velocities = ROBOT.joint_names, [0.5, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    joints = [joint.format(name, name, names[index + 1] if index < 6 else 'hand', -0.4 if index == 1 else -9, speed)
              for index, (name, speed) in enumerate(zip(names, velocities))]
    links = ''.join(f'<link name="{link}"/>' for link in (*names, 'hand'))
    robot = steps(robot_description=f'<robot name="arm">{links}{"".join(joints)}</robot>').engine.robot
    assert robot.velocity_max_rad_s == (0.5, *ROBOT.velocity_max_rad_s[1:])
    assert robot.position_min_rad[1] == -0.4 and robot.position_max_rad == ROBOT.position_max_rad
    with pytest.raises(ConfigError, match='panda_joint7') as refused:
        steps(robot_description=f'<robot name="arm">{links}{"".join(joints[:6])}</robot>')
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize('size', ['640', '640x', '0x480', '-640x480', '640x480x3', 'wide', '6.4x4.8'])
def test_a_camera_size_that_is_none_is_refused_in_one_line(steps, size):
    with pytest.raises(ConfigError, match='^parameter camera_size: got .*, expected two whole numbers like 640x480$') as refused:
        steps(camera_size=size)
    assert repr(size) in str(refused.value)


def test_a_camera_size_is_columns_by_rows(steps):
    assert steps(camera_size='640x480').engine.inputs.size == (480, 640) and steps().engine.inputs.size == (96, 96)


def test_facts_have_what_an_operator_asks_for(steps):
    rig = steps(speed_scale=0.5).start()
    rig.engine.planner.backend = SimpleNamespace(identity='format 1, sha256 abc', device='cpu')
    rig.turn(1.2)
    rig.engine.inputs.take_image('camera', conversions.to_image(stepped.SCENE[:50], rig.now_s, ''))
    rig.engine.cycle.refuse(NoSafeCandidate({'joint limits': 6}))
    facts = rig.engine.facts()
    assert (facts['model version'], facts['device'], facts['speed scale'], facts['shadow']) == ('format 1, sha256 abc', 'cpu', '0.5', False)
    assert (facts['plans'], facts['chunks'], facts['deadline_misses'], facts['strays']) == (4, 3, 0, 0)
    assert (facts['rejected'], facts['changed']) == ('1 no safe candidate', '0')
    assert (facts['camera age s'], facts['camera rate Hz'], facts['camera dropped'], facts['camera lost']) == ('0.000', '50.0', '1 size', '0%')
    assert (facts['joint_states age s'], facts['joint_states dropped'], facts['joint_states lost']) == ('0.000', '0', '0%')
    assert (facts['plan typicality'], facts['plan reward'], facts['predicted success']) == ('0.100', '0.500', '0.750')
    assert (facts['guidance requested'], facts['guidance in force']) == ('1', '0.25') and 'hint' not in facts
    assert len(facts['warm-up ms'].split('/')) == 2
    for stage in ('transport', 'read', 'wait', 'observe', 'total', 'shape', 'publish', 'outside', 'turnaround'):
        assert len(facts[f'{stage} ms (last/p50/p95/p99)'].split('/')) == 4
    rig.engine.inputs.hints = lambda: ['left: lossy', 'right: lossy']
    assert rig.engine.facts()['hint'] == 'left: lossy; right: lossy'


def test_the_speed_scale_holds_from_the_next_plan_on(steps):
    rig = steps().start()
    rig.turn(0.5)
    rig.engine.wish({'speed_scale': 0.2})
    rig.turn(1.0)
    ends_rad = [np.abs(chunk.position_rad[-1] - chunk.position_rad[0]).max() for chunk in rig.sent]
    assert rig.engine.cycle.speed_scale == 0.2 and ends_rad[-1] < 0.4 * ends_rad[0]


def test_in_shadow_chunks_go_out_and_nothing_counts_as_running(steps):
    rig = steps(shadow=True).start()
    rig.follows = False
    rig.turn(2.0)
    assert len(rig.sent) == 4 and rig.engine.cycle.running is None
    for chunk in rig.sent:
        np.testing.assert_array_equal(chunk.position_rad[0], rig.position_rad)
    assert rig.engine.watch()[0] is State.NOMINAL
