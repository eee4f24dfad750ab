"""One instant of a walk at which a plan was due: what was planned, and what was measured of it once its future was known."""
from dataclasses import dataclass, field


@dataclass
class Step:
    """Filled in by evaluation.bag_twin and evaluation.bag_measures. Times are the bag's; `since_s` counts from its beginning.

    plan, quiet: ImaginedPlan with guidance and without, None where there was none for the `reasons` {reason: count}; chunk: what the
    controller would have got. `figures` are all measurements, by section.
    """

    index: int
    now_s: float
    since_s: float
    episode: int
    seed: int
    recording: object
    observation: object = None
    reading: object = None
    handover: object = None
    plan: object = None
    quiet: object = None
    chunk: object = None
    contexts: tuple = ()          # with guidance and without
    refusal: str = ''
    quiet_refusal: str = ''
    reasons: dict = field(default_factory=dict)
    end_s: float = float('-inf')      # until when the future matters
    figures: dict = field(default_factory=dict)
    pictures: list = field(default_factory=list)      # see bag_imagined
    moment: object = None         # for those who draw, see bag_moments

    def forget(self):
        """Let go of what only measuring needed."""
        self.recording = self.observation = None
        self.contexts = ()
