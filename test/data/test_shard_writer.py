"""Episodes written one by one: shards that are whole as soon as they are full, and read as one."""
from dataclasses import replace

import h5py
import numpy as np
import pytest
from recordings import swings

from diffusion_planner.data import store

ATTRIBUTES = {'joint_names': ['a'] * 7, 'cameras': ['camera'], 'robot': 'panda', 'picture_shape': (96, 96, 3)}


def test_shards_fill_up_by_episodes_or_by_bytes(tmp_path):
    for name, limits, expected in (('count', {'episodes': 2}, [2, 2, 1]), ('bytes', {'size_bytes': 3 * swings()[0].pixels.nbytes - 1}, [3, 2])):
        (tmp_path / name).mkdir()
        writer = store.ShardWriter(tmp_path / name, ATTRIBUTES, **limits)
        for index in range(5):
            writer.add(replace(swings()[0], seed=index))
            assert len(list((tmp_path / name).glob('*.h5'))) == sum(done <= index + 1 for done in np.cumsum(expected)[:-1])
        writer.close()
        assert writer.count == 5 and store.read(tmp_path / name).seed.tolist() == [0, 1, 2, 3, 4]
        assert [len(h5py.File(path)['seed']) for path in store.shards(tmp_path / name)] == expected


def test_shards_without_sensors_are_read(tmp_path):
    """As they were written before there were any."""
    store.write_shard(store.shard_path(tmp_path, 0), [swings()[0]], ATTRIBUTES)
    with h5py.File(store.shard_path(tmp_path, 0), 'a') as file:
        assert 'sensors' not in file
    assert store.read(tmp_path).sensors == {} and store.read(tmp_path).privileged.keys() == {'target_m'}


def test_shards_of_different_sensors_are_not_read_together(tmp_path):
    for index, size in enumerate((2, 3)):
        wrench = np.zeros((len(swings()[0].stamp_s), size), np.float32)
        store.write_shard(store.shard_path(tmp_path, index), [replace(swings()[0], sensors={'wrench': wrench})], ATTRIBUTES)
    with pytest.raises(store.StoreError, match=r"sensor_sizes \{'wrench': 3\}, expected \{'wrench': 2\} as in the first shard"):
        store.read(tmp_path)
