"""Sessions and buffers: what calls return, what they share, what a device would need, and sessions that cannot be."""
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from diffusion_planner.config import ConfigError
from diffusion_planner.runtime import onnx_graphs
from diffusion_planner.runtime.checkpoint import ModelError
from diffusion_planner.runtime.onnx_graphs import KEPT, Session, small_session

KIND = {np.float32: onnx.TensorProto.FLOAT, np.int64: onnx.TensorProto.INT64}


def write(path, operator='Add', given=('x', 'y'), kind=np.float32, shape=('N', 2)):
    """Write a graph of one operator: -> path"""
    told = [onnx.helper.make_tensor_value_info(name, KIND[kind], shape) for name in (*given, 'z')]
    made = onnx.helper.make_graph([onnx.helper.make_node(operator, list(given), ['z'])], 'g', told[:-1], told[-1:])
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid('', 20)], ir_version=10), path)
    return path


@pytest.fixture
def session(tmp_path):
    return Session({'add': write(tmp_path / 'add.onnx'), 'count': write(tmp_path / 'count.onnx', kind=np.int64)})


def pair(count, value=1.0):
    return {'x': np.full((count, 2), value, np.float32), 'y': np.arange(2 * count, dtype=np.float32).reshape(count, 2)}


def test_calls_of_the_same_shapes_share_buffers_and_others_do_not(session):
    three = session.add(**pair(3))['z']
    four = session.add(**pair(4))['z']
    kept = three.copy()
    again = session.add(**pair(3, 5.0))['z']
    assert again is three and (three == kept + 4).all()
    np.testing.assert_array_equal(four, 1 + np.arange(8).reshape(4, 2))


def test_what_is_given_may_be_changed_afterwards(session):
    given, slot = pair(3), session.add.slot(3)
    for _ in range(3):
        slot.put(**given)
        given['x'][:] = 100
        np.testing.assert_array_equal(slot.put(y=given['y']).run()['z'], 1 + np.arange(6).reshape(3, 2))
        given['x'][:] = 1


def test_any_number_of_shapes_is_computed(session):
    for count in [*range(1, KEPT + 6), 1, 2, 3]:
        np.testing.assert_array_equal(session.add(**pair(count, 2.0))['z'], 2 + np.arange(2 * count).reshape(count, 2))
    assert len(session.add._slots) == KEPT


def test_numbers_are_brought_to_the_type_of_the_graph(session):
    for _ in range(2):
        assert session.add(x=np.ones((1, 2)), y=np.ones((1, 2), np.float64))['z'].dtype == np.float32
        assert session.count(x=np.ones((1, 2), np.int32), y=np.full((1, 2), 2))['z'].tolist() == [[3, 3]]
    with pytest.raises(TypeError):
        session.count(x=np.ones((1, 2)), y=np.ones((1, 2)))


@pytest.mark.parametrize('elsewhere', [False, True])
def test_buffers_that_belong_to_others_are_read_where_they_are(session, elsewhere):
    # A device has copies of what was bound; here one is made believe that this is a device.
    session.add.elsewhere = elsewhere
    table, slot = {'y': np.ones((3, 2), np.float32)}, session.add.slot(3)
    for version, value in enumerate([1.0, 7.0, 9.0]):
        table['y'][:] = value
        for x in (1.0, 2.0):
            found = slot.own(table, version).put(x=np.full((3, 2), x)).run()['z']
            assert (found == x + value).all()
    other = {'y': np.full((3, 2), 50.0, np.float32)}
    assert (slot.own(other, 3).run()['z'] == 52).all()


def test_a_device_is_given_what_changed_and_nothing_else(session, monkeypatch):
    session.add.elsewhere, bound = True, []
    slot = session.add.slot(3).put(**pair(3))
    slot.run()
    monkeypatch.setattr(slot, '_bind', lambda name, buffer: bound.append(name))
    slot.run()
    slot.put(x=pair(3, 4.0)['x']).run()
    slot.run()
    assert bound == ['x']
    table = {'y': pair(3)['y']}
    slot.own(table, 1).run()
    slot.own(table, 1).run()
    assert bound == ['x', 'y', 'y']      # once as the buffer, once for what it says
    session.add.elsewhere = False
    slot.put(x=pair(3)['x']).run()
    assert bound == ['x', 'y', 'y']


def test_graphs_are_loaded_when_they_are_needed_and_once(session):
    assert not session.graphs
    add = session.add
    assert list(session.graphs) == ['add'] and session.add is add and session.in_force == 'CPUExecutionProvider'
    session.load(['count', 'not there'])
    assert set(session.graphs) == {'add', 'count'} and session.count.shape('x') == ['N', 2]
    with pytest.raises(AttributeError, match='^pull$'):
        session.pull


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path):
    (tmp_path / 'add.onnx').write_bytes(b'no graph')
    with pytest.raises(ModelError, match=rf'add.onnx: ONNX Runtime {onnxruntime.__version__} cannot run it: ') as refusal:
        Session({'add': tmp_path / 'add.onnx'}).load(['add'])
    assert '\n' not in str(refusal.value)


def test_a_provider_that_does_not_start_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='^device: CUDAExecutionProvider is installed but does not start here, only CPUExecutionProvider does'):
        Session({'add': write(tmp_path / 'add.onnx')}, 'CUDAExecutionProvider').load(['add'])


def test_another_number_of_threads_in_one_process_is_refused(session):
    with pytest.raises(ConfigError, match='^threads: got 3, but this process runs ONNX graphs on 1 already; expected that, or another process$'):
        Session(session.paths, threads=3)
    assert onnx_graphs._threads == 1


def test_small_sessions_run_before_and_after_threads_are_shared(tmp_path):
    """An objective may be read before the model is loaded, and another one while it plans."""
    path, code = write(tmp_path / 'add.onnx'), '''
import sys
import numpy as np
import onnxruntime
from diffusion_planner.runtime.onnx_graphs import Session, small_session
def small():
    return small_session(open(sys.argv[1], 'rb').read(), onnxruntime.SessionOptions())
given = {name: np.ones((3, 2), np.float32) for name in 'xy'}
before, session = small(), Session({'add': sys.argv[1]})
print(*(float(made.max()) for made in (session.add(**given)['z'], before.run(None, given)[0], small().run(None, given)[0])))
'''
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ['2.0', '2.0', '2.0'], done.stderr


def test_a_small_session_runs_beside_shared_threads(session):
    assert session.add(**pair(1)) and onnx_graphs._threads
    made = small_session(session.paths['add'].read_bytes(), onnxruntime.SessionOptions())
    assert made.run(None, pair(2))[0].tolist() == [[1, 2], [3, 4]]
