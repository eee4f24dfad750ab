"""What becomes of messages on arrival, on a clock that the test moves; what messages.py refuses by itself is in test_messages.py."""
from types import SimpleNamespace as Message

import numpy as np
import pytest

from diffusion_planner import config
from diffusion_planner.files import find
from diffusion_planner.planning.history import History
from diffusion_planner.robot import Robot
from diffusion_planner.ros.inputs import AHEAD_S, FROZEN_RAD, LOST_SHARE, Inputs, Source
from diffusion_planner.ros.timebase import WallTime

ROBOT = config.load(Robot, find('config/panda.yaml'))
HOME = np.array(ROBOT.home_rad)
SCENE = np.random.default_rng(0).integers(20, 230, (96, 96, 3), np.uint8)


def stamped(stamp_s):
    nanoseconds = round(stamp_s * 1e9)
    return Message(stamp=Message(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9), frame_id='')


class Bench:
    """Inputs of one arm at 1000 s on every clock."""

    def __init__(self, size=None, cameras=('camera',)):
        self.now_s, self.warned = 1000.0, []
        self.history = History(7, cameras)
        self.inputs = Inputs(self.history, ROBOT, (96, 96, 3), 1.0, self.warned.append, WallTime(self.clock, self.clock), size, self.clock)
        self.joints, self.camera = self.inputs.sources[Inputs.JOINTS], self.inputs.sources[cameras[0]]

    def clock(self):
        return self.now_s

    def feel(self, position_rad=HOME, ahead_s=0.0, **changes):
        self.inputs.take_joints(Message(**{'header': stamped(self.now_s + ahead_s), 'name': ROBOT.joint_names, 'position': list(position_rad),
                                           'velocity': [0.0] * 7, 'effort': [], **changes}))

    def look(self, pixels=SCENE, ahead_s=0.0, **changes):
        height, width = pixels.shape[:2]
        self.inputs.take_image('camera', Message(**{'header': stamped(self.now_s + ahead_s), 'height': height, 'width': width, 'encoding': 'rgb8',
                                                    'is_bigendian': 0, 'step': 3 * width, 'data': pixels.tobytes(), **changes}))

    def pictures(self):
        return list(self.history._frames['camera'])


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize('changes, field, said', [
    ({'position': [np.nan, *HOME[1:]]}, 'position', 'position: got [nan, '),
    ({'position': HOME[:6]}, 'position', 'position: got 6 values, expected 7, one per name'),
    ({'velocity': [0.0, np.inf] + [0.0] * 5}, 'velocity', 'velocity: got [0.0, inf, '),
    ({'name': ['elbow', *ROBOT.joint_names[1:]]}, 'name', "name: 'panda_joint1' is missing, expected once"),
    ({'name': [ROBOT.joint_names[1], *ROBOT.joint_names[1:]]}, 'name', "name: 'panda_joint1' is missing, expected once"),
    ({'position': HOME + 3.2 * np.eye(7)[3]}, 'position', 'position: panda_joint4 is at 1.00 rad, expected within 1 rad of its range'),
    ({'header': stamped(1001.5)}, 'header.stamp', 'header.stamp: +1.5 s from now, expected within 1 s'),
    ({'header': stamped(998.0)}, 'header.stamp', 'header.stamp: -2.0 s from now, expected within 1 s'),
])
def test_bad_joint_states_are_dropped_with_the_reason(bench, changes, field, said):
    for _ in range(2):
        bench.feel(**changes)
    assert bench.joints.rejected == {field: 2} and said in bench.joints.fault
    assert len(bench.warned) == 1 and bench.warned[0].startswith(f'joint_states dropped: {said}')
    assert bench.history.newest_reading() is None and bench.joints.age_s() == float('inf')
    bench.feel()
    assert bench.joints.fault is None and bench.history.newest_reading().stamp_s == 1000.0


@pytest.mark.parametrize('changes, field, said', [
    ({'encoding': 'rgb24'}, 'encoding', "encoding: got 'rgb24', expected one of "),
    ({'step': 100}, 'step', 'step: got 100, expected at least 288 for 96 pixels of rgb8'),
    ({'data': SCENE.tobytes()[:-1]}, 'data', 'data: got 27647 bytes, expected 27648'),
    ({'pixels': SCENE[:64, :48]}, 'size', 'size: got 48x64, expected 96x96 as the model was trained; see camera_size'),
    ({'pixels': np.zeros_like(SCENE)}, 'data', 'data: the picture is black, expected one that shows something'),
    ({'pixels': np.full_like(SCENE, 255)}, 'data', 'data: the picture is saturated'),
    ({'pixels': np.full_like(SCENE, 90)}, 'data', 'data: the picture is uniform'),
    ({'header': stamped(990.0)}, 'header.stamp', 'header.stamp: -10.0 s from now'),
])
def test_bad_pictures_are_dropped_with_the_reason(bench, changes, field, said):
    for _ in range(2):
        bench.look(**changes)
    assert bench.camera.rejected == {field: 2} and bench.camera.fault.startswith(said)
    assert len(bench.warned) == 1 and bench.warned[0].startswith(f'camera dropped: {said}')
    assert bench.pictures() == []
    bench.look()
    assert bench.camera.fault is None and len(bench.pictures()) == 1


def test_each_reason_is_named_once_each_and_each_source_by_itself(bench):
    bench.look(ahead_s=5.0)
    bench.look(encoding='rgb24')
    bench.feel(ahead_s=5.0)
    bench.look(ahead_s=6.0)
    assert [text.split(':')[:2] for text in bench.warned] == [['camera dropped', ' header.stamp'], ['camera dropped', ' encoding'],
                                                              ['joint_states dropped', ' header.stamp']]


def test_messages_without_a_stamp_are_dated_on_receipt(bench):
    for _ in range(3):
        bench.feel(header=stamped(0.0))
        bench.look(header=stamped(0.0))
        bench.now_s += 0.1
    assert bench.history.newest_reading().stamp_s == pytest.approx(1000.2)
    assert [frame.stamp_s for frame in bench.pictures()] == pytest.approx([1000.0, 1000.1, 1000.2])
    assert bench.warned == [f'{name}: header.stamp is zero; messages are dated on receipt' for name in ('joint_states', 'camera')]
    assert not bench.joints.rejected and not bench.camera.rejected


def test_at_the_beginning_of_simulated_time_zero_is_a_stamp(bench):
    bench.now_s = 0.5
    bench.inputs.timebase = WallTime(bench.clock, bench.clock)
    bench.feel(header=stamped(0.0))
    assert bench.history.newest_reading().stamp_s == 0.0 and bench.warned == []


@pytest.mark.parametrize('ahead_s, dated_s, warnings', [(0.3, 1000.0, 1), (-0.3, 999.7, 0), (0.9 * AHEAD_S, 1000.0 + 0.9 * AHEAD_S, 0)])
def test_stamps_from_the_future_are_dated_on_receipt(bench, ahead_s, dated_s, warnings):
    bench.feel(ahead_s=ahead_s)
    assert bench.history.newest_reading().stamp_s == pytest.approx(dated_s)
    bench.now_s += 0.1
    bench.feel(ahead_s=ahead_s)
    assert len(bench.warned) == warnings and bench.history.newest_reading().stamp_s == pytest.approx(dated_s + 0.1)
    assert all('header.stamp is 0.30 s ahead of now' in text for text in bench.warned)


def test_joints_a_little_beyond_their_range_are_measured(bench):
    bench.feel(HOME + 3.0 * np.eye(7)[3])           # 0.87 rad beyond
    assert bench.history.newest_reading() is not None and not bench.joints.rejected


def test_joints_are_mapped_by_name_and_others_left_out(bench):
    names = [*ROBOT.joint_names[::-1], 'gripper']
    bench.feel([*HOME[::-1], np.nan], name=names, velocity=[*np.arange(7.0), np.nan])
    np.testing.assert_array_equal(bench.history.newest_reading().position_rad, HOME)
    np.testing.assert_array_equal(bench.history.newest_reading().velocity_rad_s, np.arange(7.0)[::-1])


def test_velocities_that_a_driver_leaves_empty_are_worked_out(bench):
    bench.feel(velocity=[])
    np.testing.assert_array_equal(bench.history.newest_reading().velocity_rad_s, np.zeros(7))
    bench.now_s += 0.02
    bench.feel(HOME + 0.01 * np.arange(7), velocity=[])
    np.testing.assert_allclose(bench.history.newest_reading().velocity_rad_s, 0.5 * np.arange(7), atol=1e-9)


def test_a_repeated_stamp_is_no_news(bench):
    bench.feel()
    bench.look()
    for _ in range(3):
        bench.now_s += 0.2
        bench.feel(header=stamped(1000.0))
        bench.look(header=stamped(1000.0))
    assert bench.joints.age_s() == bench.camera.age_s() == pytest.approx(0.6)


def test_a_frozen_picture_is_refused_once_the_arm_has_moved(bench):
    changed = SCENE.copy()
    changed[50, 50] ^= 1
    for moved_rad, pixels, kept in ((0.0, SCENE, 1), (0.9 * FROZEN_RAD, SCENE, 2), (1.1 * FROZEN_RAD, SCENE, 2), (1.1 * FROZEN_RAD, SCENE, 2),
                                    (1.2 * FROZEN_RAD, changed, 3), (1.3 * FROZEN_RAD, changed, 4), (2.5 * FROZEN_RAD, changed, 4)):
        bench.now_s += 0.05
        bench.feel(HOME + moved_rad * np.eye(7)[6])
        bench.look(pixels)
        assert len(bench.pictures()) == kept
    assert bench.camera.rejected == {'data': 3}
    assert bench.camera.fault == 'data: the same picture again although the arm has moved, expected a new one'
    bench.inputs.restart()                          # another episode may look the same
    bench.look(changed)
    assert len(bench.pictures()) == 5


def test_a_picture_from_before_any_joint_state_is_not_held_against_the_camera(bench):
    bench.look()
    for index in range(2):
        bench.now_s += 0.05
        bench.feel(HOME + 2 * index * FROZEN_RAD * np.eye(7)[6])
        bench.now_s += 0.05
        bench.look(SCENE if index == 0 else 255 - SCENE)
    assert len(bench.pictures()) == 3


def test_pictures_of_another_size_are_cropped_and_resampled_where_that_is_told():
    bench = Bench(size=(480, 640))
    wide = np.full((480, 640, 3), (250, 0, 0), np.uint8)
    wide[:, 80:560] = SCENE.repeat(5, 0).repeat(5, 1)
    bench.look(wide)
    np.testing.assert_array_equal(bench.pictures()[0].pixels, SCENE)
    bench.look(SCENE, ahead_s=0.01)
    assert bench.camera.fault == 'size: got 96x96, expected 640x480 see camera_size'


def lost_share(stamps_s):
    source = Source(lambda: 0.0)
    for stamp_s in stamps_s:
        source.note(stamp_s)
    return source.lost_share()


@pytest.mark.parametrize('jitter', [0.0, 0.02, 0.1])
@pytest.mark.parametrize('seed', range(5))
def test_how_many_messages_get_lost_shows_in_the_gaps(jitter, seed):
    random = np.random.default_rng(seed)
    stamps_s = 1e9 + np.arange(400) / 30 + random.normal(0, jitter / 30, 400).clip(-0.4 / 30, 0.4 / 30)
    assert lost_share(stamps_s) == pytest.approx(0.0, abs=0.03)
    kept = stamps_s[random.random(400) < 0.5]                      # every second one, by chance
    shares = [lost_share(kept[from_:from_ + 40]) for from_ in range(0, len(kept) - 40, 40)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.1)
    assert lost_share(stamps_s[:10]) == 0.0                        # too few to tell


def test_lossy_inputs_get_a_hint(bench):
    random = np.random.default_rng(0)
    assert bench.inputs.hints() == []
    for _ in range(100):
        bench.now_s += 0.033
        bench.feel()
        if random.random() < 0.4:
            bench.look()
    share = bench.camera.lost_share()
    assert share > LOST_SHARE
    assert bench.inputs.hints() == [f'camera: {share:.0%} of the messages get lost on their way: is the Fast DDS profile in use '
                                    '(config/fastdds.xml), the network fast enough?']


def test_a_clock_that_jumps_back_leaves_no_gaps_behind(bench):
    for now_s in (1000.0, 400.0):                                  # a bag begins again
        bench.now_s = now_s
        bench.inputs.timebase = WallTime(bench.clock, bench.clock)
        bench.inputs.restart()
        bench.history.clear()
        for _ in range(12):
            bench.now_s += 0.1
            bench.feel()
            bench.look()
        assert bench.inputs.hints() == [] and bench.joints.lost_share() == pytest.approx(0.0, abs=1e-6)
    bench.inputs.restart()
    assert bench.camera.stamp_s is None and bench.inputs.newest() == {}


def test_ages_are_by_receipt_and_in_simulated_time_no_older_than_its_clock_says(bench):
    bench.feel(ahead_s=-0.3)
    bench.now_s += 2.0
    age_s = bench.inputs.age_s
    assert age_s(Inputs.JOINTS, 1000.1, False) == pytest.approx(2.0)
    assert age_s(Inputs.JOINTS, 1000.1, True) == pytest.approx(0.4)         # that clock stands still
    assert age_s(Inputs.JOINTS, 1050.0, True) == pytest.approx(2.0)         # and that one runs fast
    assert age_s(Inputs.JOINTS, 900.0, True) == 0.0
    assert age_s('camera', 1000.1, True) == float('inf')
    assert bench.joints.rate_hz() == 0.0
    for _ in range(4):
        bench.feel()
        bench.now_s += 0.25
    assert bench.joints.rate_hz() == pytest.approx(4 / 2.75)                # five in 2.75 s


def test_what_became_of_the_newest_picture():
    bench = Bench(cameras=('camera', 'other'))
    assert bench.inputs.newest() == {}
    bench.feel()
    bench.look(ahead_s=-0.04)
    bench.now_s += 0.01
    newest = bench.inputs.newest()
    assert newest == {'transport': pytest.approx(40.0), 'read': bench.camera.read_ms, 'wait': pytest.approx(10.0)} and newest['read'] > 0


@pytest.mark.parametrize('field', ['reference', 'desired'])
def test_where_the_controller_holds_the_arm_is_noted_by_name(bench, field):
    following = Message(commanded=None)
    point = Message(positions=[*HOME[::-1], 9.0])
    message = Message(joint_names=[*ROBOT.joint_names[::-1], 'gripper'], **{field: point})
    bench.inputs.take_controller(following, message)
    assert following.commanded[0] == 1000.0
    np.testing.assert_array_equal(following.commanded[1], HOME)
    for bad in ([9.0, np.nan, *HOME[:6]], HOME[:3]):
        following.commanded, point.positions = None, bad
        bench.inputs.take_controller(following, message)
        assert following.commanded is None


def test_defects_of_reading_are_not_taken_for_bad_messages(bench, monkeypatch):
    monkeypatch.setattr('diffusion_planner.ros.inputs.read_joint_state', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.feel()
    assert bench.warned == []


def test_joints_that_repeat_themselves_at_speed_are_refused(bench):
    def feel(count, position_rad, velocity_rad_s):
        for _ in range(count):
            bench.now_s += 0.02
            bench.feel(position_rad, velocity=[velocity_rad_s] * 7)
    feel(8, HOME, 0.5)
    assert bench.joints.rejected == {'position': 5}       # from the fourth on: 0.06 s at 0.5 rad/s are 0.03 rad
    assert 'position: unchanged for 0.14 s at 0.50 rad/s, expected motion' in bench.joints.fault
    feel(1, HOME + 0.01, 0.5)
    assert bench.joints.fault is None
    feel(8, HOME + 0.01, 0.0)                             # an arm at rest may well say the same
    assert bench.joints.rejected == {'position': 5}


def test_joints_that_repeat_themselves_without_a_velocity_are_taken(bench):
    for _ in range(20):
        bench.now_s += 0.02
        bench.feel(velocity=[])
    assert not bench.joints.rejected and len(bench.history._readings) == 20


def test_joints_are_held_against_nothing_from_before_the_clock_stepped_back(bench):
    bench.feel(velocity=[0.5] * 7)
    bench.now_s -= 0.5
    for _ in range(8):
        bench.feel(velocity=[0.5] * 7)
        bench.now_s += 0.02
    assert bench.joints.rejected == {'position': 5}       # from the fourth on, and not all of them, nor none
