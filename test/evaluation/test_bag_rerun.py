"""The rerun recording of a walk, read back from its file."""
import sys

import numpy as np
import pytest

from diffusion_planner.evaluation import bag_rerun
from diffusion_planner.evaluation.bag_records import Moment

NAMES = ('shoulder lift/left', 'elbow')
OFFSET_S = np.array([0.1, 0.2, 0.4, 1.6])


def moment(index, start_s=0.0, refusal='', recorded=4):
    """One of several moments half a second apart; joint 0 is measured at its own second, and planned 1 rad beside that."""
    stamp_s = start_s + 0.5 * index
    executed = np.stack([stamp_s - start_s + OFFSET_S, np.zeros(4)], 1)
    executed[recorded:] = np.nan
    tips = np.concatenate([executed, np.ones((4, 1))], 1)
    plan = {} if refusal else {'planned_rad': executed + 1, 'planned_tip_m': tips + 0.1, 'imagined': np.full((1, 8, 8, 3), 90, np.uint8)}
    return Moment(stamp_s, np.array([stamp_s - start_s, 0.0]), offset_s=OFFSET_S, executed_rad=executed, tip_m=np.array([0.3, 0.0, 0.5]),
                  executed_tip_m=tips, pixels=np.full((1, 8, 8, 3), 20 * index, np.uint8), reward=float(index > 2), refusal=refusal,
                  figures={'predicted_reward': 0.25 * index, 'typicality': None if refusal else 1.5}, **plan)


def written(folder, moments, **names):
    rerun = pytest.importorskip('rerun')
    path = bag_rerun.write(folder, moments, **names)
    return rerun.chunk.RrdReader(path)


def columns(reader, path, component):
    """Read one column of an entity: -> stamp_s [N], values, one list per stamp"""
    stamps, values = [], []
    for chunk in reader.stream():
        if chunk.entity_path == path and not chunk.is_static:
            batch = chunk.to_record_batch()
            clock = next(name for name in bag_rerun.TIMELINES.values() if name in batch.schema.names)
            stamps += np.asarray(batch.column(clock).cast('int64')).tolist()
            values += next(batch.column(name) for name in batch.schema.names if name.endswith(f':{component}')).to_pylist()
    order = np.argsort(stamps, kind='stable')
    return np.array(stamps)[order] / 1e9, [values[index] for index in order]


@pytest.fixture(scope='module')
def reader(tmp_path_factory):
    moments = [moment(0), moment(1), moment(2, refusal='speed above its limit'), moment(3, recorded=2)]
    return written(tmp_path_factory.mktemp('out'), moments, joint_names=NAMES, cameras=('front',))


def test_each_plan_counts_until_the_next(reader):
    stamps, values = columns(reader, r'/joints/shoulder\ lift\/left/planned', 'scalars')
    expected = [0, .1, .2, .4, .5, .6, .7, .9, 1.5, 1.6, 1.7]           # none from the refused plan at 1.0 s
    np.testing.assert_allclose(stamps, expected, atol=1e-6)
    np.testing.assert_allclose(np.ravel(values), [stamp + (stamp not in (0, .5, 1.5)) for stamp in expected], atol=1e-6)


def test_the_measured_motion_is_whole_and_ends_with_the_recording(reader):
    stamps, values = columns(reader, r'/joints/shoulder\ lift\/left/measured', 'scalars')
    np.testing.assert_allclose(np.ravel(values), stamps, atol=1e-6)
    assert len(stamps) == 15 and stamps[-1] == pytest.approx(1.7)


def test_pictures_judgements_and_refusals_stand_at_their_stamps(reader):
    stamps, pictures = columns(reader, '/camera/front', 'blob')
    assert stamps.tolist() == [0, 0.5, 1, 1.5] and all(pictures)
    assert columns(reader, '/imagined_camera/front', 'blob')[0].tolist() == [0, 0.5, 1.5]
    assert np.ravel(columns(reader, '/reward/predicted_reward', 'scalars')[1]).tolist() == [0, 0.25, 0.5, 0.75]
    assert np.ravel(columns(reader, '/reward/realised', 'scalars')[1]).tolist() == [0, 0, 0, 1]
    assert columns(reader, '/typicality/typicality', 'scalars')[0].tolist() == [0, 0.5, 1.5]
    stamps, texts = columns(reader, '/refusals', 'text')
    assert stamps.tolist() == [1] and texts == [['speed above its limit']]


def test_a_refused_plan_takes_its_path_off_the_picture(reader):
    stamps, strips = columns(reader, '/fingertip/planned', 'strips')
    assert stamps.tolist() == [0, 0.5, 1, 1.5] and [len(strip) for strip in strips] == [1, 1, 0, 1]
    np.testing.assert_allclose(strips[0][0], [[0.3, 0, 0.5], *np.stack([OFFSET_S + 0.1, np.full(4, 0.1), np.full(4, 1.1)], 1)], atol=1e-6)
    assert [len(strip[0]) for strip in columns(reader, '/fingertip/executed', 'strips')[1]] == [5, 5, 5, 3]


def test_a_layout_and_no_half_written_file_go_with_it(reader):
    assert len(reader.blueprints()) == 1 and [item.name for item in reader.path.parent.iterdir()] == [bag_rerun.NAME]


def test_dates_are_kept_and_poor_walks_are_written(tmp_path):
    bare = Moment(1.7e9 + 0.25, np.array([0.5]))
    stamps, values = columns(written(tmp_path, [bare]), r'/joints/joint\ 0/measured', 'scalars')
    assert stamps == pytest.approx([1.7e9 + 0.25], abs=1e-5) and values == [[0.5]]
    assert written(tmp_path, []).blueprints()


def test_where_rerun_is_switched_off_one_line_says_so(tmp_path, monkeypatch, capsys):
    pytest.importorskip('rerun')
    monkeypatch.setenv('RERUN', 'off')
    assert bag_rerun.write(tmp_path, [moment(0)]) is None
    assert 'unset the environment variable RERUN' in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_without_rerun_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    assert bag_rerun.write(tmp_path, [moment(0)]) is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and 'report.rrd: not written' in said[0] and 'pip install rerun-sdk' in said[0]
    assert not list(tmp_path.iterdir())
