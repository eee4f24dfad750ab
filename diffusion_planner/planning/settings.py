"""What an operator may set of the planner, and how it says no."""
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """What counts in the choice of the plan, per unit of probability, second, rad/s, radian and 99 % quantile."""

    reward: float = 4.0
    earliness: float = 0.1
    smoothness: float = 0.5
    consistency: float = 4.0
    typicality: float = 1.0     # where it is judged: by its limit, or because an objective weighs it
    genuineness: float = 0.0     # for steps that look like play rather than imagined, per unit of log-odds
    warm: float = 0.3    # for going on with the last plan: a path that changes its mind every half second is no path
    judge: float = 0.0   # for the head that does not guide, on top of `reward`, which is the more doubtful of all heads
    objective: float = 1.0   # for the least satisfied term of the user's objective, per its own unit


class NoSafeCandidate(RuntimeError):
    """Every candidate was rejected; `reasons` counts why."""

    def __init__(self, reasons):
        super().__init__('no safe candidate: ' + ', '.join(f'{count} {reason}' for reason, count in reasons.items() if count))
        self.reasons = reasons


@dataclass(frozen=True)
class PlannerSettings:
    """What an operator may change."""

    arrivals: int = 8                  # arrival times tried
    samples: int = 2                   # far tokens per arrival time
    far_steps: int = 3
    fill_steps: int = 3
    bend: float = 1.8                  # above 1: sampling steps get smaller towards the end, see diffusion.matrices
    fill_in: int = 11
    plans: int = 2                     # arrivals that are filled in
    plans_max: int = 6                 # one more after every refusal in a row, up to so many
    shortest_s: float = 0.3
    longest_s: float = math.inf        # the model's horizon, if that is less
    sampler: str = 'multistep'         # multistep, ddim or ddpm, see diffusion.samplers
    guidance_form: str = 'clean'       # clean, through or noisy, see diffusion.guidance
    guard: bool = True                 # False: guidance by one head, nothing bounded, nothing refused; for measuring
    proximal: bool = True              # damp the pull by the curvature of what pulls; False with guard False: plain classifier guidance
    guidance_max_shift: float = 0.8    # trust region at the widest
    trust: float = 2.0                 # trust region in units of the model's own spread at the noise level of the moment
    ease_odds: float = 4.0             # log-odds above the floor of typicality at which the pull on a far token is eased by 2 %; 0: never
    caution: float = 1.0               # the heads' mean less so many times their spread is what guides and what is believed
    guidance_negligible: float = 0.0   # a far token that is pulled less than this in a step is no longer pulled; 0: all are
    reward_margin: float = 0.20        # an arrival this near the best predicted reward counts as arrived
    typicality_limit: float | None = None     # in units of the held-out 99 % quantile; None: 1, or none where a transition head judges arrivals
    slack_s: float = 0.6               # arrive this much after the earliest arrival: hurried paths cut corners
    patience_s: float = 0.3            # after every refusal in a row the wanted arrival is so much later, six times, then from the start
    spread: float = 0.0                # each further path that is filled in arrives later by this share of that time
    familiarity_scale: float = 1.0     # how strongly paths are kept to postures of a kind seen at play
    familiarity_max_shift: float = 0.2
    objective_scale: float = 1.0       # how strongly paths are pulled to what the user's objective asks
    objective_max_shift: float = 0.3
    objective_fill_steps: int = 6      # fill-in steps, at least, where an objective pulls: it and what is likely must come to terms
    objective_plans_max: int = 20      # as plans_max, where an objective may refuse most ways
    strange_limit: float = 1.25        # how unlike the play data a scene may look, in units of held-out pictures; above 1 is said
    cubic: bool = False                # judge the way between tokens on the cubic through their velocities, not on lines
    refuse_unfamiliar: bool = True     # refuse paths below the floor of familiarity
    mismatch_limit: float = math.inf   # by how much a step may differ from what its velocities explain, in units of held-out steps
    reach_limit: float = 0.0           # log-odds above the floor of the transition head that an arrival must have
    step_limit: float = -math.inf      # and that every step of a path must have
    warm_samples: int = 2              # candidates that start from the last plan instead of from noise
    warm_level: float = 0.5            # the noise they start at


WORRIES = ('missing',)     # figures of a strange scene that are said but refuse nothing: the arm itself may hide what is missing


class StrangeScene(NoSafeCandidate):
    """What the cameras show is unlike the play data; `figures` says in which way, in units of what held-out data shows."""

    def __init__(self, figures):
        worst = max(figures, key=figures.get)
        RuntimeError.__init__(self, f'scene unlike the play data: {worst} {figures[worst]:.2g} times what play shows')
        self.reasons, self.figures = {'scene unlike the play data': 1}, figures
