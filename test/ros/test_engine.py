"""The engine in one thread's sight: wishes that change while it plans, and why it refuses, on a clock that the test moves."""
import time

import numpy as np
import planners
import pytest

from diffusion_planner import config
from diffusion_planner.config import ConfigError
from diffusion_planner.files import find
from diffusion_planner.planning.settings import NoSafeCandidate
from diffusion_planner.records import Frame, JointReading
from diffusion_planner.robot import Robot
from diffusion_planner.ros import parameters
from diffusion_planner.ros.diagnostics import State
from diffusion_planner.ros.engine import RECENT_S, Engine
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
        def plan(self, observation, goal, seed):
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
    assert read_objective('', ROBOT) is None and read_zones('', ROBOT) == ()
    assert read_objective('config/objectives/keep_out.yaml', ROBOT).name == 'keep_out'
    assert [zone.name for zone in read_zones('config/objectives/keep_out.yaml', ROBOT)] == ['fixture', 'cup']
    assert [zone.name for zone in read_zones(FAR, ROBOT)] == ['cellar']
    with pytest.raises(ConfigError, match='No such file'):
        read_zones('nowhere.yaml', ROBOT)
