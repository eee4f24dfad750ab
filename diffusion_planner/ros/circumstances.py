"""What a plan was made from: with its seed, its goal and the pictures, that is enough to make it again elsewhere."""
from dataclasses import dataclass, fields

import numpy as np

from diffusion_planner.records import Observation


@dataclass(frozen=True)
class Circumstances:
    """now_s: ROS time when the plan began; reading_stamp_s: the newest joint state by then.

    previous_s: the origin of the plan that it could go on with, None for the first; refused: plans refused since that one.
    """

    now_s: float
    reading_stamp_s: float | None
    observation: Observation
    previous_s: float | None
    refused: int

    @classmethod
    def of(cls, now_s, observation, history, planner):
        """Look around at the beginning of a plan, before the planner changes."""
        reading, previous = history.newest_reading(), getattr(planner, 'previous', None)
        return cls(now_s, None if reading is None else reading.stamp_s, observation,
                   None if previous is None else previous.origin_s, getattr(planner, 'refused', 0))

    def facts(self):
        """-> {'now_s', 'reading_stamp_s', 'previous_s', 'refused', 'observation': its fields but the pictures}"""
        seen = {name: value for name, value in vars(self.observation).items() if name != 'pictures' and value is not None}
        return {'now_s': self.now_s, 'reading_stamp_s': self.reading_stamp_s, 'previous_s': self.previous_s, 'refused': self.refused,
                'observation': seen}


def observation_of(facts, pictures):
    """Put an observation together from what `facts` says and pictures [C, V, Y, X, 3]: -> Observation"""
    names = {field.name for field in fields(Observation)} - {'origin_s', 'pictures'}
    seen = facts['observation']
    arrays = {name: numbers(seen[name]) for name in names if name in seen and not isinstance(seen[name], dict)}
    tables = {name: {key: numbers(values) for key, values in seen[name].items()} for name in names if isinstance(seen.get(name), dict)}
    return Observation(origin_s=seen['origin_s'], pictures=pictures, **arrays, **tables)


def numbers(values):
    """Read nested lists of JSON, in which null stands for the stamp of what never came: -> float64 array"""
    return np.array([numbers(value) for value in values]) if isinstance(values, list) else np.float64(-np.inf if values is None else values)
