"""Objectives from files: what they weigh, by hand, and every file that is refused, in one line."""
from pathlib import Path

import pytest
import torch
import yaml
from torch.autograd import gradcheck

from diffusion_planner.config import ConfigError, load
from diffusion_planner.objectives.motion import Kinematics, Motion, dense, standing
from diffusion_planner.objectives.spec import load_objective
from diffusion_planner.robot import JointFrame, Robot

CONFIG = Path(__file__).resolve().parents[2] / 'config'
PANDA = load(Robot, CONFIG / 'panda.yaml')
FRAME = JointFrame((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
# One joint about z that turns a tip at 1 m from (1, 0, 0) towards (0, 1, 0).
LEVER = Robot('lever', ('hinge',), (-3.0,), (3.0,), (9.0,), (9.0,), (9.0,), 0.01, (FRAME,), JointFrame((1.0, 0.0, 0.0), (0.0, 0.0, 0.0)), (0.0,))
EVERYTHING = '''
weights: {reward: 2, judge: 0.0, earliness: 0.1, smoothness: 0.5, consistency: 4.0, typicality: 1.0, warm: 0.3}
goal_pose: {tip_m: [0.5, 0.3, 0.2], tolerance_m: 0.02, weight: 0.5}
keep_out:
  - {name: fixture, centre_m: [0.5, 0.0, 0.35], half_m: [0.1, 0.05, 0.1], margin_m: 0.02}
  - {name: cup, centre_m: [0.4, 0.2, 0.1], radius_m: 0.08}
joint_margins: {panda_joint4: 0.2}
people: [{name: operator, centre_m: [0.9, 0.4, 0.3], radius_m: 0.4, speed_m_s: 0.15}]
formulas:
  - {name: stay_high, formula: 'always[0, 1.0] (tip_z > 0.05)', weight: 1.0, hard: true}
  - {name: look, formula: 'eventually[0, 2] (tip_z > 0.6)', weight: 0.5}
'''


def turning(hinge, robot=LEVER):
    """A plan of a single joint at rest at each of its points, a second apart, already dense."""
    position = torch.tensor(hinge, dtype=torch.float64)[None, :, None]
    return Motion(position, torch.zeros_like(position), torch.arange(len(hinge)).double()[None], Kinematics(robot), per_stretch=8)


def random_motion(plans=3, points=5, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    home = torch.tensor(PANDA.home_rad, dtype=dtype)
    position = home + 0.4 * torch.randn(plans, points, 7, generator=random, dtype=dtype)
    velocity = 0.3 * torch.randn(plans, points, 7, generator=random, dtype=dtype)
    return Motion(position, velocity, torch.linspace(0, 2, points, dtype=dtype)[None].repeat(plans, 1), Kinematics(PANDA))


def test_reads_everything():
    objective = load_objective(EVERYTHING, PANDA)
    assert objective.weights == {'reward': 2.0, 'judge': 0.0, 'earliness': 0.1, 'smoothness': 0.5, 'consistency': 4.0,
                                 'typicality': 1.0, 'warm': 0.3}
    assert objective.name == 'objective'
    assert [(term.name, term.weight, term.hard) for term in objective.terms] == [
        ('goal_pose', 0.5, False), ('fixture', 1.0, True), ('cup', 1.0, True), ('joint_margins', 1.0, True), ('operator', 1.0, True),
        ('stay_high', 1.0, True), ('look', 0.5, False)]
    assert objective.goal_pose.tip_m == (0.5, 0.3, 0.2) and objective.people[0].name == 'operator'


@pytest.mark.parametrize('path', sorted((CONFIG / 'objectives').glob('*.yaml')), ids=lambda path: path.stem)
def test_examples_are_usable_from_home(path):
    objective = load_objective(path, PANDA)
    assert objective.name == path.stem and objective.terms
    objective.check_start(PANDA.home_rad)
    still = standing(PANDA.home_rad, objective.kinematics)
    assert not objective.violated(still).any()


def test_a_file_and_its_text_are_the_same(tmp_path):
    (tmp_path / 'mine.yaml').write_text(EVERYTHING)
    named, inline = load_objective(tmp_path / 'mine.yaml', PANDA), load_objective(EVERYTHING, PANDA)
    assert named.name == 'mine' and load_objective(str(tmp_path / 'mine.yaml'), PANDA).name == 'mine'
    motion = random_motion()
    assert all(torch.equal(value, inline.robustness(motion)[name]) for name, value in named.robustness(motion).items())
    assert load_objective('joint_margins: {panda_joint4: 0.2}', PANDA).terms       # one line


def test_robustness_violated_guidance_and_share_by_hand():
    # The tip goes from (1, 0, 0) to (0, 1, 0). The ball around (0, 1, 0) is 0.2 m wide: the last point is 0.2 m inside, ten
    # times the 0.02 m that count as one. The goal is where the tip ends, but for 0.06 m: three tolerances.
    objective = load_objective('''
        keep_out: [{name: ball, centre_m: [0, 1, 0], radius_m: 0.2}]
        goal_pose: {tip_m: [0, 1.06, 0], tolerance_m: 0.02, weight: 2}
        formulas: [{name: soft, formula: 'always hinge < 2'}]''', LEVER)
    motion = turning([0.0, torch.pi / 2])
    values = {name: value.item() for name, value in objective.robustness(motion).items()}
    assert values == pytest.approx({'goal_pose': 0.02 - 0.06, 'ball': -0.2, 'soft': 2 - torch.pi / 2}, abs=2e-6)
    assert objective.violated(motion).tolist() == [True]
    assert objective.guidance(motion).item() == pytest.approx(-(10 ** 2 + 2 * 3 ** 2), rel=1e-4)
    share = {name: value.item() for name, value in objective.share(motion).items()}
    assert share == pytest.approx({'goal_pose': 18 / 118, 'ball': 100 / 118, 'soft': 0.0}, rel=1e-4)


def test_only_hard_terms_refuse():
    text = "formulas: [{name: low, formula: 'always hinge < 1', hard: %s}]"
    assert load_objective(text % 'true', LEVER).violated(turning([0.0, 2.0])).tolist() == [True]
    assert load_objective(text % 'false', LEVER).violated(turning([0.0, 2.0])).tolist() == [False]


def test_what_is_no_number_is_refused():
    objective = load_objective(EVERYTHING, PANDA)
    motion = random_motion()
    motion.position_rad[1, 2, 3] = torch.nan
    assert objective.violated(motion)[1]
    with pytest.raises(ConfigError, match='at the start state'):
        objective.check_start([float('nan')] * 7)


def test_guides_after_a_look_in_inference_mode():
    objective, motion = load_objective(EVERYTHING, PANDA), random_motion()
    with torch.inference_mode():
        looked = random_motion()
        objective.robustness(Motion(looked.position_rad, looked.velocity_rad_s, looked.offset_s, objective.kinematics))
    position = motion.position_rad.requires_grad_()
    objective.guidance(Motion(position, motion.velocity_rad_s, motion.offset_s, objective.kinematics), 0.01).sum().backward()
    assert torch.isfinite(position.grad).all()


def test_a_posture_may_be_the_goal():
    objective = load_objective('goal_pose: {position_rad: [0.5], tolerance_rad: 0.1}', LEVER)
    # Only the last point counts: 0.3 rad short, three tolerances.
    assert objective.guidance(turning([0.5, 0.2])).item() == pytest.approx(-9.0)
    assert objective.robustness(turning([0.0, 0.45]))['goal_pose'].item() == pytest.approx(0.05)


def test_where_all_is_well_there_is_nothing_to_share():
    objective = load_objective('keep_out: [{name: far, centre_m: [9, 9, 9], radius_m: 0.2}]', LEVER)
    motion = turning([0.0, 1.0])
    assert objective.guidance(motion, 0.01).tolist() == [0.0] and objective.share(motion)['far'].tolist() == [0.0]


def test_a_zone_between_two_tokens_is_seen():
    # At rest at both ends of a quarter turn, with the ball half way: neither token is inside.
    objective = load_objective('keep_out: [{name: ball, centre_m: [0.7071, 0.7071, 0], radius_m: 0.1}]', LEVER)
    assert objective.violated(turning([0.0, torch.pi / 2])).tolist() == [False]      # taken as it is: already dense
    sparse = turning([0.0, torch.pi / 2])
    sparse = Motion(sparse.position_rad, sparse.velocity_rad_s, sparse.offset_s, sparse.kinematics)
    assert objective.violated(sparse).tolist() == objective.violated(dense(sparse, 8)).tolist() == [True]


# With a temperature only what is never softly better than exactly: there the value is the soft one, which the gradient is of.
@pytest.mark.parametrize('text, temperature', [(EVERYTHING, None), (EVERYTHING[:EVERYTHING.index('  - {name: look')], 0.02)])
def test_guidance_gradient_is_that_of_finite_differences(text, temperature):
    objective, motion = load_objective(text, PANDA), random_motion(plans=2, points=3)
    inputs = motion.position_rad.requires_grad_(), motion.velocity_rad_s.requires_grad_()
    assert (objective.guidance(motion, temperature) < 0).all()
    assert gradcheck(lambda position, velocity: objective.guidance(
        Motion(position, velocity, motion.offset_s, motion.kinematics), temperature), inputs, atol=1e-4)


@pytest.mark.parametrize('text, hinge', [
    ('keep_out: [{name: a, centre_m: [0, 1, 0], radius_m: 0.5}]', 1.6),
    ('keep_out: [{name: a, centre_m: [0, 1, 0], half_m: [0.3, 0.1, 0.2]}]', 1.6),
    ('joint_margins: {hinge: 0.5}', 2.9),
    ('people: [{name: a, centre_m: [0, 1, 0], radius_m: 2, speed_m_s: 0.1}]', 1.6),
    ("formulas: [{name: a, formula: 'eventually hinge < -0.001'}]", 1.6),      # soft `eventually` thinks that it holds
    ("formulas: [{name: a, formula: 'always (hinge < 1 or tip_y < 0.2)', hard: true}]", 1.6)])
def test_what_is_violated_has_a_gradient_that_mends_it(text, hinge):
    objective, begin = load_objective(text, LEVER), 0.0
    position = torch.tensor([[[begin], [0.4 * hinge], [hinge]]], dtype=torch.float64, requires_grad=True)
    velocity = torch.full_like(position, 0.5)
    offset_s = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)

    def guided(position):
        return objective.guidance(Motion(position, velocity, offset_s, objective.kinematics), 0.05)

    before = guided(position)
    assert before.item() < 0
    gradient, = torch.autograd.grad(before.sum(), position)
    assert torch.isfinite(gradient).all() and gradient.norm() > 0
    assert guided((position + 1e-5 * gradient / gradient.norm()).detach()) > before


def test_guides_in_float32_and_leaves_the_networks_dtype_alone():
    motion = random_motion(dtype=torch.float32)
    position = motion.position_rad.requires_grad_()
    value = load_objective(EVERYTHING, PANDA).guidance(motion, 0.01)
    gradient, = torch.autograd.grad(value.sum(), position)
    assert value.dtype == torch.float32 and torch.isfinite(gradient).all()


def test_check_start_names_what_excludes_what():
    tip_z = PANDA.tip_m(PANDA.home_rad)[2]
    objective = load_objective('''
        formulas:
          - {name: low, formula: 'always (tip_z < 0.2)', hard: true}
          - {name: high, formula: 'always[0, 2] (tip_z > 0.3)', hard: true}''', PANDA)
    with pytest.raises(ConfigError) as refused:
        objective.check_start(PANDA.home_rad)
    assert str(refused.value) == ("objective: 'low' (tip_z < 0.2) and 'high' (tip_z > 0.3) exclude each other at the start state "
                                  f'(tip_z {tip_z:.3f} m)')


def test_what_no_start_could_satisfy_is_refused_wherever_the_arm_is():
    bounds = "formulas: [{{name: low, formula: 'always (tip_z < {})', hard: true}}, {{name: high, formula: 'always (tip_z > {})', hard: {}}}]"
    load_objective(bounds.format(0.5, 0.2, 'true'), PANDA).check_together()
    load_objective(bounds.format(0.2, 0.5, 'false'), PANDA).check_together()      # one may give way
    with pytest.raises(ConfigError) as refused:
        load_objective(bounds.format(0.2, 0.5, 'true'), PANDA).check_together()
    assert str(refused.value) == "objective: 'low' (tip_z < 0.2) and 'high' (tip_z > 0.5) exclude each other, no state keeps to both"


@pytest.mark.parametrize('text, said', [
    ("formulas: [{name: low, formula: 'always (hinge < 0.2)', hard: true}]",
     "objective: 'low' (hinge < 0.2) fails at the start state (hinge 0.500 rad)"),
    ("formulas: [{name: a, formula: 'always (hinge < 0.2)', hard: true}, {name: b, formula: 'always tip_x > 0.9', hard: true}]",
     "objective: 'a' (hinge < 0.2) and 'b' (tip_x > 0.9) fail together at the start state (hinge 0.500 rad, tip_x 0.878 m)"),
    ('keep_out: [{name: ball, centre_m: [1, 0, 0], radius_m: 0.6}]',      # 2 sin(0.25) = 0.495 m from the centre
     "objective: 'ball' fails at the start state (ball -0.105 m)"),
    ('joint_margins: {hinge: 2.6}',                                       # 2.5 rad from the limit
     "objective: 'joint_margins' fails at the start state (joint_margins -0.100 rad)")])
def test_check_start_by_hand(text, said):
    with pytest.raises(ConfigError) as refused:
        load_objective(text, LEVER).check_start([0.5])
    assert str(refused.value) == said


@pytest.mark.parametrize('text', [
    "formulas: [{name: low, formula: 'always (hinge < 0.2)'}]",                        # soft
    "formulas: [{name: low, formula: 'always[0.5, 2] (hinge < 0.2)', hard: true}]",    # not yet
    "formulas: [{name: low, formula: 'eventually hinge < 0.2', hard: true}]",
    'people: [{name: a, centre_m: [1, 0, 0], radius_m: 2, speed_m_s: 0.1}]'])          # at rest
def test_check_start_asks_only_for_what_must_hold_now(text):
    load_objective(text, LEVER).check_start(torch.tensor([0.5]))


ZONE = 'keep_out: [{name: a, centre_m: [0, 0, 0], %s}]'
FORMULA = "formulas: [{name: a, formula: 'tip_z > 0'%s}]"


@pytest.mark.parametrize('text, said', [
    ('# nothing\n', 'expected at least one term'), ('weights: {reward: 1.0}', 'expected at least one term'),
    ('- a\n- b\n', 'expected a mapping'), ('a: [', 'not valid YAML'), ('a: 2020-13-45', 'not valid YAML'),
    ('keepout: []', "unknown key 'keepout'; expected one of formulas, goal_pose"),
    (ZONE % 'radius: 1', "unknown key 'radius'"), (FORMULA % ', strong: true', "unknown key 'strong'"),
    ('weights: {speed: 1.0}', "unknown key 'speed'"),
    ('weights: {reward: .nan}\n' + FORMULA % '', 'reward: got nan, expected a finite number'),
    ('weights: {reward: .inf}\n' + FORMULA % '', 'reward: got inf'), ('weights: {reward: -1}\n' + FORMULA % '', 'reward: got -1.0'),
    ('weights: {reward: many}\n' + FORMULA % '', "reward: got 'many'"), (f'weights: {{reward: 1{"0" * 400}}}', 'too large'),
    (FORMULA % ', weight: .inf', 'weight: got inf'), (FORMULA % ', weight: -1', 'weight: got -1.0, expected a number of at least 0'),
    (FORMULA % ', hard: maybe', "hard: got 'maybe'"),
    (ZONE % 'radius_m: -0.1', 'keep_out[0]: radius_m: got -0.1, expected a number above 0'), (ZONE % 'radius_m: .nan', 'got nan'),
    (ZONE % 'half_m: [1, -1, 1]', 'half_m: got -1.0'), (ZONE % 'half_m: [1, 1]', 'got 2 values, expected 3'),
    (ZONE % 'margin_m: 0.1', 'got neither of half_m and radius_m'), (ZONE % 'radius_m: 1, half_m: [1, 1, 1]', 'got both of'),
    (ZONE % 'radius_m: 1, margin_m: -1', 'margin_m: got -1.0'),
    ('people: [{name: a, centre_m: [0, 0, 0], radius_m: 1}]', "'speed_m_s' is missing"),
    ('people: [{name: a, centre_m: [0, 0, 0], radius_m: 1, speed_m_s: -1}]', 'speed_m_s: got -1.0'),
    ('joint_margins: {panda_joint9: 0.1}', "unknown joint 'panda_joint9'; expected one of panda_joint1"),
    ('joint_margins: {panda_joint4: -0.1}', 'got -0.1, expected 0 to 1.501 rad'), ('joint_margins: {panda_joint4: .nan}', 'got nan'),
    ('joint_margins: {panda_joint4: 2}', 'got 2.0, expected 0 to 1.501 rad, half of its range'),
    ('goal_pose: {tip_m: [0, 0, 0]}', 'expected tolerance_m with tip_m'), ('goal_pose: {tolerance_m: 0.1}', 'neither of tip_m'),
    ('goal_pose: {tip_m: [0, 0, 0], tolerance_m: 0}', 'tolerance_m: got 0.0, expected a number above 0'),
    ('goal_pose: {tip_m: [0, .inf, 0], tolerance_m: 0.1}', 'tip_m: got inf'),
    ('goal_pose: {tip_m: [0, 0, 0], tolerance_m: 0.1, weight: -1}', 'weight: got -1.0'),
    ('goal_pose: {tip_m: [0, 0, 0], position_rad: [0], tolerance_m: 0.1}', 'both of tip_m and position_rad'),
    ('goal_pose: {position_rad: [0, 0], tolerance_rad: 0.1}', 'position_rad: got 2 values, expected 7'),
    ('goal_pose: {position_rad: [0, 0], tolerance_m: 0.1}', 'expected tolerance_rad with position_rad'),
    ("formulas: [{name: high, formula: 'always (tip_q > 1)'}]",
     "formulas[0]: 'high': at column 9: 'always (^tip_q > 1)': unknown quantity 'tip_q'; expected one of tip_x"),
    ("formulas: [{name: high, formula: 'always[2, 1] (tip_z > 1)'}]", "'high': at column 7"),
    (FORMULA % '' + '\nkeep_out: [{name: a, centre_m: [0, 0, 0], radius_m: 1}]', "2 terms are named 'a'"),
    ('keep_out: [{name: "", centre_m: [0, 0, 0], radius_m: 1}]', "got the name ''"),
    ('keep_out: [{name: "a\\nb", centre_m: [0, 0, 0], radius_m: 1}]', 'expected one that can be read'),
    (ZONE % 'radius_m: 1' + '\n' + ZONE % 'radius_m: 2', "key 'keep_out' is given twice"),
    (ZONE % 'radius_m: 1, radius_m: 2', "key 'radius_m' is given twice")])
def test_refuses_in_one_line(tmp_path, text, said):
    (tmp_path / 'mine.yaml').write_text(text)
    for source, where in ((tmp_path / 'mine.yaml', f'{tmp_path / "mine.yaml"}: '), (text, 'objective: ')):
        if where == 'objective: ' and ': ' not in text and '\n' not in text:
            continue
        with pytest.raises(ConfigError) as refused:
            load_objective(source, PANDA)
        message = str(refused.value)
        assert said in message and '\n' not in message and message.startswith(where)


@pytest.mark.parametrize('source', ['', 'missing.yaml', '/', 'no\0path'])
def test_refuses_what_is_no_file(source):
    with pytest.raises(ConfigError, match='cannot be read'):
        load_objective(source, PANDA)


def test_refuses_a_file_that_is_no_text(tmp_path):
    (tmp_path / 'picture.yaml').write_bytes(b'\xff\xfe\x00\x80')
    with pytest.raises(ConfigError, match='cannot be read'):
        load_objective(tmp_path / 'picture.yaml', PANDA)


def test_the_example_in_the_file_format_is_yaml_that_anyone_reads():
    assert set(yaml.safe_load(EVERYTHING)) == {'weights', 'goal_pose', 'keep_out', 'joint_margins', 'people', 'formulas'}
