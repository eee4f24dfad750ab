"""Graphs in a model folder: their weights are references into model.safetensors, so that nothing is stored twice."""
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import onnx

SMALL = 256     # numbers; what is smaller is quicker to store than to refer to


class Weights:
    """Where the tensors of a safetensors file lie, by their bytes."""

    def __init__(self, path):
        self.path, data = Path(path), Path(path).read_bytes()
        length = int.from_bytes(data[:8], 'little')
        header, begin = json.loads(data[8:8 + length]), 8 + length
        self.places = {}
        for entry in (entry for name, entry in header.items() if name != '__metadata__'):
            first, last = (begin + offset for offset in entry['data_offsets'])
            self.places[entry['dtype'], hashlib.sha256(data[first:last]).digest()] = first, last - first

    def find(self, values):
        """Find an array's bytes in the file: -> (dtype there, offset, length), or None

        Its shape there may be another, and float32 may be in half precision.
        """
        for dtype, stored in (('F32', values), ('F16', values.astype(np.float16))):
            if values.dtype == np.float32 and np.array_equal(stored.astype(np.float32), values):
                key = dtype, hashlib.sha256(np.ascontiguousarray(stored).tobytes()).digest()
                if key in self.places:
                    return (dtype, *self.places[key])
        return None


def refer(model, weights):
    """Put references in place of the initializers of a graph that lie in a safetensors file: onnx.ModelProto -> bytes saved"""
    saved, casts = 0, []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        place = weights.find(values) if values.size > SMALL else None
        if place is None:
            continue
        dtype, offset, length = place
        name = tensor.name
        if dtype == 'F16':      # made whole again when the graph is loaded
            tensor.name = f'{name}.half'
            casts.append(onnx.helper.make_node('Cast', [tensor.name], [name], to=onnx.TensorProto.FLOAT))
        tensor.ClearField('raw_data')
        tensor.ClearField('float_data')
        tensor.data_type = onnx.TensorProto.FLOAT16 if dtype == 'F16' else onnx.TensorProto.FLOAT
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (('location', weights.path.name), ('offset', offset), ('length', length)):
            tensor.external_data.add(key=key, value=str(value))
        saved += values.nbytes
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    return saved


def write(model, path):
    """Write a graph, under another name first: -> sha256"""
    part = Path(f'{path}.part')
    data = model.SerializeToString(deterministic=True)
    part.write_bytes(data)
    os.replace(part, path)
    return hashlib.sha256(data).hexdigest()
