"""What a checkpoint of training belongs to: the values and the data that, changed, would make another run of it."""
import hashlib

import numpy as np

COMMON = ('robot', 'seed', 'held_out_share', 'ema_decay', 'model.latent')
WINDOW = ('model.context_offset_s', 'model.horizon_s')
OWN = {'representation': ('picture_stride',), 'denoiser': ('fill_in_counts', 'model.width', 'model.depth', 'model.heads', *WINDOW),
       'transition': WINDOW}


def of_settings(settings, stage):
    """List the settings that a stage depends on beside its own budget: -> {key: value}"""
    def value(key):
        found = settings
        for name in key.split('.'):
            found = getattr(found, name)
        return list(found) if isinstance(found, tuple) else found
    return {key: value(key) for key in (*COMMON, *OWN.get(stage, ()))}


def of_data(episodes):
    """Say what data it is: -> {key: value}. Pictures count by the size of their files, all other columns by their contents."""
    digest = hashlib.sha256()
    for name in ('stamp_s', 'position_rad', 'velocity_rad_s', 'reward', 'frame_stamp_s', 'joint_start', 'frame_start', 'seed'):
        digest.update(np.ascontiguousarray(getattr(episodes, name)))
    for name in sorted(episodes.sensors):
        digest.update(name.encode() + np.ascontiguousarray(episodes.sensors[name]).tobytes())
    attributes = episodes.attributes
    return {'data.episodes': len(episodes), 'data.cameras': list(map(str, attributes['cameras'])),
            'data.picture_shape': [int(size) for size in attributes['picture_shape']],
            'data.columns': digest.hexdigest()[:12], 'data.bytes': sum(path.stat().st_size for path in episodes.paths)}


def of_weights(module):
    """Name weights by their contents: -> 12 hexadecimal digits"""
    values = module.state_dict().values()
    return hashlib.sha256(b''.join(value.cpu().contiguous().numpy().tobytes() for value in values)).hexdigest()[:12]


def difference(before, now):
    """Find the first key that differs, in words: -> 'key: got ..., expected ...', or None"""
    for key in now:
        if key in before and before[key] != now[key]:
            return f'{key}: got {now[key]!r}, expected {before[key]!r}'
    return None
