"""Tables of a LeRobot dataset as Arrow sees them, with the notes that `datasets` and pandas look for in parquet files."""
import json

import numpy as np

from diffusion_planner.data.lerobot_pictures import to_png


def schema_of(features):
    """Say which columns the frames of a dataset have; videos are elsewhere."""
    import pyarrow
    columns = {name: feature for name, feature in features.items() if feature['dtype'] != 'video'}
    fields = [pyarrow.field(name, _arrow_type(feature)) for name, feature in columns.items()]
    note = {'info': {'features': {name: _datasets_type(feature) for name, feature in columns.items()}}}
    return pyarrow.schema(fields, {'huggingface': json.dumps(note)})


def table_of(schema, columns, pictures):
    """Make the table of an episode: columns name -> [N, K], pictures camera -> (pixels [M, Y, X, 3], shown [N])."""
    import pyarrow
    arrays = [_pictures(*pictures[field.name], field.type) if field.name in pictures else _numbers(columns[field.name], field.type)
              for field in schema]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def write_tasks(path, tasks):
    """Write what the episodes are about; pandas must find the text as the index."""
    import pyarrow
    import pyarrow.parquet
    columns = [{'name': name, 'field_name': name, 'pandas_type': kind, 'numpy_type': numpy, 'metadata': None}
               for name, kind, numpy in (('task_index', 'int64', 'int64'), ('task', 'unicode', 'object'))]
    note = {'index_columns': ['task'], 'column_indexes': [], 'columns': columns, 'attributes': {}, 'pandas_version': '2.0.0'}
    table = pyarrow.table({'task_index': pyarrow.array(range(len(tasks)), pyarrow.int64()), 'task': pyarrow.array(tasks, pyarrow.string())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table.replace_schema_metadata({'pandas': json.dumps(note)}), path)


def _arrow_type(feature):
    import pyarrow
    if feature['dtype'] == 'image':
        return pyarrow.struct([('bytes', pyarrow.binary()), ('path', pyarrow.string())])
    kind = pyarrow.from_numpy_dtype(np.dtype(feature['dtype']))
    return kind if list(feature['shape']) == [1] else pyarrow.list_(kind, feature['shape'][0])


def _datasets_type(feature):
    if feature['dtype'] == 'image':
        return {'_type': 'Image'}
    value = {'dtype': feature['dtype'], '_type': 'Value'}
    # Every version of `datasets` knows Sequence, those of before 2025 no List.
    return value if list(feature['shape']) == [1] else {'feature': value, 'length': feature['shape'][0], '_type': 'Sequence'}


def _numbers(values, kind):
    import pyarrow
    values = np.asarray(values)
    if not pyarrow.types.is_fixed_size_list(kind):
        return pyarrow.array(values.reshape(-1).astype(kind.to_pandas_dtype()), kind)
    flat = np.ascontiguousarray(values, kind.value_type.to_pandas_dtype()).reshape(-1)
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat, kind.value_type), kind.list_size)


def _pictures(pixels, shown, kind):
    """Embed the pictures that each frame shows; one that several frames show is compressed once."""
    import pyarrow
    encoded = {row: to_png(pixels[row]) for row in np.unique(shown)}
    return pyarrow.array([{'bytes': encoded[row], 'path': f'frame-{frame:06d}.png'} for frame, row in enumerate(shown)], kind)
