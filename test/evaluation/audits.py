"""Episodes of an audit, written down, and a model folder that holds no weights."""
import json

from diffusion_planner.evaluation.closed_loop import LoopSettings
from diffusion_planner.runtime import checkpoint

GUARDED, FREE = LoopSettings('model', 1.0), LoopSettings('model', 1.0, guard=False, changes=(('proximal', False),))


def plan(came, reward=0.9, **more):
    return {'came': came, 'reward': reward, 'judge': 0.8, 'typicality': 0.5, **more}


def episode(success, judged, contacts=0, refusals=(), **more):
    return {'success': success, 'contacts': contacts, 'judged': judged, 'refusals': list(refusals), 'plan_ms': [50.0] * len(judged), **more}


def make_model(folder, **planning):
    """Write what of a checkpoint an audit reads: -> folder"""
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps({'format': checkpoint.FORMAT, 'sha256': 'abc', 'model': {}, 'training': {}, 'planning': planning}))
    (folder / checkpoint.FLAW_FILE).write_bytes(b'wrong')
    return folder
