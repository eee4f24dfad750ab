"""Graphs beside weights: references lead to the right bytes, in either precision, and nothing that is there already is stored again."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file

from diffusion_planner.files import find
from diffusion_planner.runtime import packaging
from diffusion_planner.runtime.exported_objective import sha256
from diffusion_planner.runtime.onnx_graphs import small_session

REAL = onnx.TensorProto.FLOAT
MODEL = find('models/panda_reach')
RANDOM = np.random.default_rng(0)
WIDE = RANDOM.normal(0, 1, (32, 40)).astype(np.float32)                          # in the file as it is
HALF = RANDOM.normal(0, 1, (40, 32)).astype(np.float16).astype(np.float32)       # in the file in half precision
OWN = RANDOM.normal(0, 1, (32, 32)).astype(np.float32)                           # not in the file
FEW = np.ones(32, np.float32)                                                    # in the file, but small


@pytest.fixture
def weights(tmp_path):
    """A file of weights, with others of the same shape about them: -> path"""
    stored = {'a': WIDE[::-1].copy(), 'wide': WIDE, 'b': WIDE + 1, 'half': HALF.astype(np.float16), 'few': FEW, 'odd': np.ones(3, np.uint8)}
    save_file(stored, tmp_path / 'model.safetensors')
    return tmp_path / 'model.safetensors'


def graph(**constants):
    """Make a graph that multiplies by one matrix after the other, and adds what is no matrix: x [N, 32] -> y"""
    nodes, last = [], 'x'
    for number, (name, values) in enumerate(constants.items()):
        nodes.append(onnx.helper.make_node('MatMul' if values.ndim > 1 else 'Add', [last, name], [f'y{number}']))
        last = f'y{number}'
    made = onnx.helper.make_graph(nodes, 'g', [onnx.helper.make_tensor_value_info('x', REAL, ['N', 32])],
                                  [onnx.helper.make_tensor_value_info(last, REAL, None)],
                                  [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()])
    return onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid('', 20)], ir_version=10)


def run(path, x):
    return small_session(str(path), onnxruntime.SessionOptions()).run(None, {'x': x})[0]


def outside(model):
    return {tensor.name: {entry.key: entry.value for entry in tensor.external_data} for tensor in model.graph.initializer if tensor.external_data}


def test_references_lead_to_the_right_bytes(weights):
    model, x = graph(wide=WIDE, half=HALF, own=OWN, few=FEW), RANDOM.normal(0, 1, (3, 32)).astype(np.float32)
    whole = model.SerializeToString()
    assert packaging.refer(model, packaging.Weights(weights)) == WIDE.nbytes + HALF.nbytes
    assert set(outside(model)) == {'wide', 'half.half'}
    assert len(model.SerializeToString()) < len(whole) - WIDE.nbytes - HALF.nbytes + 1000
    path = weights.with_name('graph.onnx')
    assert packaging.write(model, path) == sha256(path.read_bytes())
    assert sorted(file.name for file in path.parent.iterdir()) == ['graph.onnx', 'model.safetensors']
    path.with_name('whole.onnx').write_bytes(whole)
    np.testing.assert_array_equal(run(path, x), run(path.with_name('whole.onnx'), x))
    np.testing.assert_allclose(run(path, x), ((x @ WIDE @ HALF) @ OWN) + FEW, rtol=1e-4, atol=1e-3)


def test_a_graph_follows_the_file_that_lies_beside_it(weights):
    model, x = graph(wide=WIDE, half=HALF), np.eye(32, dtype=np.float32)
    packaging.refer(model, packaging.Weights(weights))
    packaging.write(model, weights.with_name('graph.onnx'))
    save_file({**load_file(weights), 'wide': 2 * WIDE, 'half': 4 * HALF.astype(np.float16)}, weights)
    np.testing.assert_allclose(run(weights.with_name('graph.onnx'), x), 8 * (WIDE @ HALF), rtol=1e-4, atol=1e-3)


def test_weights_are_found_by_all_of_their_bytes(weights):
    known = packaging.Weights(weights)
    dtype, offset, length = known.find(WIDE)
    assert dtype == 'F32' and np.array_equal(np.frombuffer(weights.read_bytes()[offset:offset + length], np.float32), WIDE.ravel())
    dtype, offset, length = known.find(HALF)
    assert dtype == 'F16' and np.array_equal(np.frombuffer(weights.read_bytes()[offset:offset + length], np.float16), HALF.ravel())
    changed = WIDE.copy()
    changed[3, 3] = np.nextafter(changed[3, 3], 9)
    for other in (changed, WIDE.T, WIDE.astype(np.float64), OWN):
        assert known.find(other) is None
    assert known.find(WIDE.reshape(1, 40, 32)) == known.find(WIDE)


def shipped():
    return sorted(MODEL.glob('*.onnx'))


def test_shipped_graphs_store_next_to_nothing_that_is_in_the_file():
    stored = load_file(MODEL / 'model.safetensors')
    known = {values.astype(np.float32).tobytes() for values in stored.values() if values.size > packaging.SMALL}
    inside = [onnx.numpy_helper.to_array(tensor).astype(np.float32) for path in shipped()
              for tensor in onnx.load(path, load_external_data=False).graph.initializer if not tensor.external_data]
    assert inside and sum(values.nbytes for values in inside if values.tobytes() in known) < 10e3
    assert sum(path.stat().st_size for path in shipped()) < 1e6


def test_shipped_references_are_whole_tensors_of_the_file():
    data = (MODEL / 'model.safetensors').read_bytes()
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8:8 + length])
    header.pop('__metadata__', None)
    places = {(8 + length + first, last - first): entry for entry in header.values() for first, last in [entry['data_offsets']]}
    types, found = {onnx.TensorProto.FLOAT: 'F32', onnx.TensorProto.FLOAT16: 'F16'}, set()
    for path in shipped():
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if tensor.external_data:
                told = {entry.key: entry.value for entry in tensor.external_data}
                entry = places[int(told['offset']), int(told['length'])]
                assert told['location'] == 'model.safetensors' and list(tensor.dims) == entry['shape'] and types[tensor.data_type] == entry['dtype']
                found.add(entry['dtype'])
    assert found == {'F32', 'F16'}


def test_the_shipped_folder_is_small():
    assert sum(path.stat().st_size for path in MODEL.rglob('*') if path.is_file() and 'training' not in path.parts) < 20e6
