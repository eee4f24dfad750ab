"""The planner node's parameters that change while it runs, in this process: what is refused, why, and what stays."""
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import planners
import pytest
import rclpy
from rclpy.parameter import Parameter

from diffusion_planner.config import ConfigError
from diffusion_planner.records import JointReading
from diffusion_planner.ros.engine import load_shipped
from diffusion_planner.ros.planner_node import PlannerNode

FAR = 'keep_out:\n  - {name: cellar, centre_m: [0, 0, -9], radius_m: 1.0}'
EVERYWHERE = 'keep_out:\n  - {name: world, centre_m: [0, 0, 0], radius_m: 9.0}'


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    made = []

    def node(*given, load=lambda values, robot: planners.Hold(robot)):
        rclpy.init(args=['--ros-args', *[part for text in given for part in ('-p', text)]], domain_id=1 + os.getpid() % 100)
        made.append(PlannerNode(load))
        return made[0]
    yield node
    for each in made:
        each.stop()
        each.destroy_node()
    rclpy.try_shutdown()


def change(node, **values):
    """Set parameters at once, as the service SetParametersAtomically does: -> why not, '' where they were set"""
    result = node.set_parameters_atomically([Parameter(name, value=value) for name, value in values.items()])
    assert result.successful == (not result.reason) and len(result.reason.splitlines()) < 2
    return result.reason


def test_a_refused_objective_leaves_the_old_one(make):
    node = make()
    assert "unknown key 'keep_in'" in change(node, objective='keep_in: []\n')     # not configured yet: refused all the same
    node.trigger_configure()
    assert change(node, objective=FAR) == ''
    in_force = node.engine.wishes.objective
    for bad in ('nowhere.yaml', 'config/sim.yaml', 'keep_out: [}', 'formulas:\n  - {name: low, formula: "tip_z >"}'):
        assert change(node, objective=bad, guard=False)
        assert change(node, objective=bad)
    assert 'guidance_scale' in change(node, objective='', guidance_scale=1e9)      # all or nothing
    assert node.engine.wishes.objective is in_force and node.engine.wishes.guard
    assert (node.get_parameter('objective').value, node.get_parameter('guard').value) == (FAR, True)
    assert change(node, objective='') == '' and node.engine.wishes.objective is None


def test_an_objective_is_checked_where_the_arm_stands(make):
    node = make()
    node.trigger_configure()
    assert change(node, objective=EVERYWHERE) == ''        # nobody knows yet where the arm stands
    node.engine.history.append(JointReading(1.0, np.array(node.engine.robot.home_rad), np.zeros(7)))
    assert change(node, objective=FAR) == ''
    assert "'world' fails at the start state" in change(node, objective=EVERYWHERE)
    assert node.get_parameter('objective').value == FAR and node.engine.wishes.objective.name == 'objective'


def test_a_bad_objective_at_start_fails_configure_in_one_line(make):
    node = make('objective:=nowhere.yaml')
    node.trigger_configure()
    assert node.engine is None and 'nowhere.yaml' in node.cause and len(node.cause.splitlines()) == 1
    assert change(node, objective=FAR) == ''               # and a good one mends it
    node.trigger_configure()
    assert node.engine.wishes.objective.terms and not node.cause


def test_a_defect_while_an_objective_is_read_does_not_end_the_node(make, monkeypatch):
    from diffusion_planner.objectives import spec
    node = make()
    node.trigger_configure()
    monkeypatch.setattr(spec, 'load_objective', lambda *_: 1 / 0)
    assert change(node, objective=FAR) == 'objective: ZeroDivisionError: division by zero'
    assert node.get_parameter('objective').value == ''


def test_the_plan_that_goes_out_is_finite_and_says_under_what_it_was_made(make):
    node, sent = make('guidance_scale:=2.0'), []
    node.trigger_configure()
    node.plans._plan = SimpleNamespace(publish=lambda message: sent.append(
        json.loads(message.data, parse_constant=lambda word: pytest.fail(f'{word} is no JSON'))))
    node.engine._report(*planned(node), 7)
    assert sent[-1]['guidance'] == {'requested': 2.0, 'in_force': 0.5, 'held_back_by': 'typicality'} and 'objective' not in sent[-1]
    assert change(node, objective=FAR) == ''
    node.engine._report(*planned(node, {'doubt': float('nan'), 'steps': float('-inf'), 'ease': float('nan')}), 8)
    assert sent[-1]['steps'] == {'far': 4, 'fill': 4} and sent[-1]['level'] == [0.0] * 10
    assert sent[-1]['objective'] == {'name': 'objective', 'terms': {'cellar': {'robustness': 0.125, 'share': 1.0}}}
    assert sent[-1]['guidance']['held_back_by'] == 'curvature'
    assert (sent[-1]['breakdown']['doubt'], sent[-1]['breakdown']['steps'], sent[-1]['breakdown']['reward']) == (None, None, 0.5)


@pytest.mark.parametrize('given, said', [
    (('backend:=onnx', 'device:=tensorrt'), 'configure: device: got tensorrt, but this onnxruntime has no TensorrtExecutionProvider, only '),
    (('backend:=torch', 'device:=tensorrt'), "configure: device: got 'tensorrt' with backend torch, expected one of auto, cpu, cuda"),
    (('deadline_ms:=250.0',), 'configure: parameter deadline_ms: got 250, expected 0 for none, or at most lead_s - min_lead_s = 240 ms'),
])
def test_what_cannot_go_together_fails_configure_in_one_line(make, monkeypatch, given, said):
    monkeypatch.setitem(sys.modules, 'onnxruntime', SimpleNamespace(get_available_providers=lambda: ['CPUExecutionProvider']))
    node = make(*given, load=load_shipped)
    node.trigger_configure()
    assert node.engine is None and node.cause.startswith(said) and len(node.cause.splitlines()) == 1


def test_a_backend_that_nobody_knows_is_no_value_of_the_parameter(make):
    with pytest.raises(ConfigError, match="^parameter backend: got 'caffe', expected one of torch, onnx$"):
        make('backend:=caffe')


def test_the_deadline_changes_while_the_node_runs(make):
    node = make('deadline_ms:=20.0')
    node.trigger_configure()
    assert node.engine.wishes.deadline_ms == 20.0
    assert 'deadline_ms: got 300, expected 0 for none' in change(node, deadline_ms=300.0, guard=False)
    assert 'out of range' in change(node, deadline_ms=-1.0)
    assert node.engine.wishes.deadline_ms == 20.0 and node.engine.wishes.guard
    assert change(node, deadline_ms=0.0) == '' and node.engine.wishes.deadline_ms == 0.0


def planned(node, figures=None):
    """Plan once from home with some figures of the breakdown changed: -> plan, goal"""
    home_rad, planner, goal = np.array(node.engine.robot.home_rad), node.engine.planner, node.engine.goal()
    plan = planner.plan(SimpleNamespace(position_rad=home_rad[None], origin_s=1.0), goal, 0)
    plan.breakdown.update(figures or {})
    return plan, goal
