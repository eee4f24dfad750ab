"""Pressure: what pulls imagined tokens, and the guard that bounds it. The scale that was asked for is a request.

Three bounds hold a far token back. The step is proximal, so a sharp head pulls onto its peak and not past it. The trust
region ends a few of the model's own spreads from the unguided estimate, at the noise level of the moment, so it shrinks as
the token takes shape. And the pull eases off where the token stops being one that play could have reached. Several heads,
trained on different episodes, pull together; where they disagree, the most doubtful pull most.
"""
import numpy as np
import torch
from torch.nn.functional import softplus

from diffusion_planner.diffusion.guidance import Restraint, guide
from diffusion_planner.nets.heads import FlawedHead, HeadStack, pessimistic
from diffusion_planner.objectives.motion import Motion
from diffusion_planner.runtime.frozen import PairHeads, traced
from diffusion_planner.runtime.gradients import OfTokens, Shortfalls, unfamiliarity
from diffusion_planner.runtime.schedule import FREE, PULL

FAMILIAR_MARGIN = 1.0   # log-odds above the floor from which on a posture is left alone
TEMPERATURE = 0.01      # of the least distance and the like while they pull, in the unit of each


class Pressure:
    """Wraps a denoiser of one model with what pulls its tokens."""

    def __init__(self, network, planning, device, pairs=None):
        self.network, self.layout, self.device = network, network.layout, device
        self.pairs = pairs or PairHeads(network, device)
        self.stack, self.alone = HeadStack(network.guides()), HeadStack([network.guide_head])
        # Pressure on what the arm does not control only leaves the data (DESIGN 9).
        self.mask = torch.zeros(self.layout.width, dtype=torch.bool, device=device)
        self.mask[self.layout.position] = True
        self.spread = planning.get('spread')
        # A head with a flaw is no plain metric: it goes through autograd.
        self.fast = None if isinstance(network.guide_head, FlawedHead) else tuple(map(self._traced, (network.guides(), [network.guide_head])))
        self.strange_posture = traced(unfamiliarity(network.familiarity, FAMILIAR_MARGIN), torch.zeros(2, 2, self.layout.joints, device=device))
        self.region = None if self.spread is None else traced(self._widths(), torch.zeros(2, 2, device=device))

    def _traced(self, heads):
        """Trace what such heads pull with: -> function (position [B, T, J], places [M, 1, E], sharpness [M, 1], caution) -> value, gradient"""
        position = torch.zeros(2, 2, self.layout.joints, device=self.device)
        places, widths = torch.zeros(len(heads), 1, heads[0].posture[-1].out_features, device=self.device), torch.ones(len(heads), 1, device=self.device)
        return traced(Shortfalls(heads).__call__, position, places, widths, torch.ones((), device=self.device))

    def _widths(self):
        """The model's own spread at a level of noise: -> function of level [B, T] -> [B, T]"""
        known, spread = (torch.tensor(self.spread[name], device=self.device) for name in ('level', 'spread'))

        def width(level):
            after = torch.searchsorted(known, level.contiguous()).clamp(1, len(known) - 1)
            share = ((level - known[after - 1]) / (known[after] - known[after - 1])).clamp(0, 1)
            return torch.lerp(spread[after - 1], spread[after], share)
        return width

    def members(self, context, settings):
        """The heads that pull, with what each reads off the context: -> stack, places [M, 1, E], widths [M, 1]"""
        if settings.guard:
            return self.stack, context.places, context.widths
        return self.alone, context.places[:1], context.widths[:1]

    def on_far(self, denoise, context, settings):
        """Wrap the denoiser so that the last token is pulled towards reward: -> denoise; context.pressure keeps the account"""
        goal = context.goal
        scale = 0.0 if goal.candidates_only else float(goal.guidance_scale)
        restraint = Restraint() if settings.guard and scale else None
        context.pressure = scale, restraint
        objective = self._reward(context, settings)
        if goal.objective is not None:
            own = self._familiar_end if goal.objective.weights.get('reward') == 0 else objective
            objective = _sum(own, self._asked_of_far(goal.objective))
        proximal = settings.proximal and settings.guidance_form != 'noisy'
        return guide(denoise, objective, PULL * scale, settings.guidance_form, self.mask, self._region(settings),
                     proximal=proximal, negligible=settings.guidance_negligible,
                     ease=self._ease(context, settings) if proximal and settings.guard and settings.ease_odds > 0 else None, restraint=restraint)

    def _familiar_end(self, tokens, _level):
        """All that pulls a far token of itself where the reward has no weight."""
        return self.unfamiliar(tokens[:, -1, self.layout.position])

    def asked_at_end(self, context, far):
        """What the user's objective says of far tokens: -> [B], at most 0; {} where it names no goal"""
        wanted = context.goal.objective
        if wanted is None or wanted.goal_pose is None:
            return {}
        return {'asked': self._asked_of_far(wanted)(far, None).cpu().numpy()}

    def _reward(self, context, settings):
        (stack, places, widths), own = self.members(context, settings), self.layout.position
        if settings.guidance_form == 'noisy':
            head = self.network.guide_head

            def at_level(tokens, level):
                return (head.shortfall(tokens[:, -1, own], places[0], head.sharpness(level[:, -1], widths[0]))
                        + self.unfamiliar(tokens[:, -1, own]))
            return at_level
        sharpness = stack.sharpness(widths)     # the same at every step: these forms judge at level 0
        if self.fast is not None:
            return self._fast_reward(places, sharpness, settings)

        def objective(tokens, _level):
            position = tokens[:, -1, own]
            values = stack.shortfalls(position, places, sharpness)
            if not settings.guard:
                return values[0]
            value = values[0] if len(values) == 1 else pessimistic(values, settings.caution)
            return value + self.unfamiliar(position)
        return objective

    def _fast_reward(self, places, sharpness, settings):
        heads, caution = self.fast[not settings.guard], torch.tensor(settings.caution, device=self.device)

        def reward(position):
            return heads(position, places, sharpness, caution)
        return OfTokens([reward, self.strange_posture] if settings.guard else [reward], slice(-1, None), self.layout.position)

    def _region(self, settings):
        """Lay out the trust region: -> number, or function of level [B, T] -> [B, T] (RMS over positions, network space)"""
        if not settings.guard:
            return FREE
        if self.spread is None or not np.isfinite(settings.trust):
            return settings.guidance_max_shift
        return lambda level: (settings.trust * self.region(level)).clamp(max=settings.guidance_max_shift)

    def _ease(self, context, settings):
        """Scale the pull down as a candidate's typicality falls: by the transition head, or familiarity where there is none."""
        network = self.network

        def ease(clean, offset_s):
            if network.config.transition:
                near = context.origin[:, self.layout.motion].expand(len(clean), -1)
                odds = self.pairs.odds('transition', near, clean[:, -1, self.layout.motion], offset_s[:, -1]) - network.transition.floor
            else:
                odds = network.familiarity(clean[:, -1, self.layout.position]) - network.familiarity.floor
            return torch.sigmoid(odds + settings.ease_odds)
        return ease

    def unfamiliar(self, position):
        """Log-probability, up to a margin, that postures are of a kind seen at play: position [..., J] -> [...], at most 0."""
        return -softplus(self.network.familiarity.floor + FAMILIAR_MARGIN - self.network.familiarity(position))

    def on_path(self, denoise, context, offset_s, settings):
        """Wrap the denoiser so that fill-in tokens keep to postures of play, and to what the objective asks of a path."""
        count, goal = context.tokens.shape[1], context.goal

        def familiar(tokens, _level):
            return self.unfamiliar(tokens[:, count:-1, self.layout.position]).sum(1)

        if self.strange_posture is not None:
            familiar = OfTokens([self.strange_posture], slice(count, -1), self.layout.position)
        scale = settings.familiarity_scale if settings.guard else 0.0
        if goal.objective is None or not settings.objective_scale:
            return guide(denoise, familiar, scale, form='clean', mask=self.mask, max_shift=settings.familiarity_max_shift)
        asked = self._asked_of_path(goal.objective, context, offset_s, settings.objective_scale)
        objective = _sum(lambda tokens, level: scale * familiar(tokens, level), asked) if scale else asked
        return guide(denoise, objective, 1.0, form='clean', mask=self.mask, max_shift=settings.objective_max_shift)

    def motion(self, tokens, offset_s, kinematics):
        """Bring tokens to SI units, with their gradient: tokens [P, T, D], offset_s [P, T] -> Motion"""
        values = self.network.normalizer.inverse(tokens)
        return Motion(values[..., self.layout.position], values[..., self.layout.velocity], offset_s, kinematics)

    def _asked_of_far(self, objective):
        """What a user's objective asks of the last token alone, whenever that comes: -> function (tokens, level) -> [B]"""
        def asked(tokens, _level):
            return objective.guidance_at_end(self.motion(tokens[:, -1:], torch.zeros_like(tokens[:, -1:, 0]), objective.kinematics))
        return asked

    def _asked_of_path(self, objective, context, offset_s, scale):
        """What a user's objective asks of the whole way: -> function (tokens, level) -> [P]"""
        count = context.tokens.shape[1]
        seconds = torch.cat([torch.zeros_like(offset_s[:, :1]), offset_s], 1)

        def asked(tokens, _level):
            # From where the arm is, whatever the denoiser makes of a context whose pictures are doubtful.
            path = torch.cat([context.origin[:, None].expand(len(tokens), -1, -1), tokens[:, count:]], 1)
            return scale * objective.guidance(self.motion(path, seconds, objective.kinematics), TEMPERATURE)
        return asked


def _sum(first, second):
    return lambda tokens, level: first(tokens, level) + second(tokens, level)


def restraints(pressure):
    """Sum up what held guidance back: (scale, Restraint) -> {'in_force', 'curvature', 'ease', 'region'} numpy [B], or {}

    'in_force' is the scale that was in force over the sampling steps on average; the others are the mean factors that made it so.
    """
    scale, restraint = pressure or (0.0, None)
    if restraint is None or not restraint.region or len({len(step) for step in restraint.region}) != 1:
        return {}
    factors = {name: torch.stack(getattr(restraint, name)).mean(0).cpu().numpy() for name in ('curvature', 'ease', 'region')}
    product = torch.stack([torch.stack(restraint.curvature), torch.stack(restraint.ease), torch.stack(restraint.region)]).prod(0)
    return {'in_force': scale * product.mean(0).cpu().numpy(), **factors}
