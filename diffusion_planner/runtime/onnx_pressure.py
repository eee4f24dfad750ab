"""What pulls imagined tokens, and the guard that bounds it, around exported graphs; see runtime.pressure for the why."""
import numpy as np

from diffusion_planner.runtime import schedule


class Restraint:
    """What held guidance back, per candidate: lists of [B], an entry per step; see diffusion.guidance.Restraint."""

    def __init__(self):
        self.curvature, self.ease, self.region = [], [], []

    def figures(self, scale):
        """Sum up: -> {'in_force', 'curvature', 'ease', 'region'} [B]; see runtime.pressure.restraints"""
        if not self.region:
            return {}
        factors = {name: np.mean(getattr(self, name), 0) for name in ('curvature', 'ease', 'region')}
        product = np.array(self.curvature) * np.array(self.ease) * np.array(self.region)
        return {'in_force': scale * product.mean(0), **factors}


class Pressure:
    """Makes the steps of one model's sampling, for a backend with graphs, layout, config and planning."""

    def __init__(self, backend):
        self.backend, self.layout = backend, backend.layout

    def on_far(self, context, far_s, settings):
        """Make the step of far tokens, pulled towards reward: -> step; context.pressure keeps the account"""
        goal = context.goal
        scale = 0.0 if goal.candidates_only else float(goal.guidance_scale)
        restraint = Restraint() if settings.guard and scale else None
        context.pressure = scale, restraint if not settings.guidance_negligible else None
        if not scale:
            return Unguided(self.backend, context)
        return FarStep(self.backend, context, far_s, settings, schedule.PULL * scale, restraint)

    def on_path(self, context, offset_s, settings):
        """Make the step of fill-in tokens, kept to postures of play and to what the objective asks of a path: -> step"""
        scale, asked = settings.familiarity_scale if settings.guard else 0.0, context.goal.objective
        if asked is None or not settings.objective_scale:
            return PathStep(self.backend, context, settings, scale, settings.familiarity_max_shift) if scale else Unguided(self.backend, context)
        return PathStep(self.backend, context, settings, scale, settings.objective_max_shift, asked, offset_s)

    def asked_at_end(self, context, far):
        """What the user's objective says of far tokens: far [B, 1, D] -> {'asked': [B]}, at most 0; {} where it names no goal"""
        wanted = context.goal.objective
        if wanted is None or wanted.goal_pose is None:
            return {}
        return {'asked': wanted.pull_at_end(*self.motion(far[:, 0]))[0]}

    def motion(self, tokens):
        """Bring tokens to SI units: [..., D] -> position_rad, velocity_rad_s [..., J]"""
        mean, spread = self.backend.mean, self.backend.spread
        return tuple(tokens[..., own] * spread[own] + mean[own] for own in (self.layout.position, self.layout.velocity))

    def pulled(self, pull, *told):
        """Ask an exported objective, in network space: -> value [B], gradient [..., J]"""
        value, gradient = pull(*told)
        return value, gradient * self.backend.spread[self.layout.position]


class Unguided:
    """A step that nothing pulls: (noisy [B, F, D], plan, its number, index [B, C + F]) -> clean [B, F, D]"""

    def __init__(self, backend, context):
        self.backend, self.context = backend, context

    def __call__(self, noisy, plan, number, index):
        return self.backend.call(self.backend.graphs.imagine, self.context, noisy, index, plan.fade[number])['clean'].copy()


class FarStep:
    """One sampling's guided step of far tokens: as Unguided, for F = 1"""

    def __init__(self, backend, context, far_s, settings, scale, restraint):
        self.backend, self.context, self.settings, self.scale, self.restraint = backend, context, settings, scale, restraint
        self.pressure, self.own, heads = backend.pressure, backend.layout.position, len(context.read['places'])
        self.objective = context.goal.objective
        guided_by_reward = self.objective is None or self.objective.weights.get('reward') != 0
        share = np.full(heads, 1 / heads, np.float32) if settings.guard else np.eye(heads, dtype=np.float32)[0]
        if not settings.guard or not guided_by_reward:
            mix = (0.0, float(guided_by_reward), float(settings.guard or not guided_by_reward))
        else:
            mix = (settings.caution, 1.0, 1.0)
        self.width = context.read['widths'][0] if guided_by_reward else np.full(1, -np.inf, np.float32)     # a head that wide pulls nowhere
        self.told = {'origin': context.origin, 'far_s': far_s[:, 0], 'places': context.read['places'], 'sharpness': context.read['sharpness'],
                     'share': share, 'mix': np.array(mix, np.float32)}
        self.proximal = settings.proximal and settings.guidance_form != 'noisy'
        self.eased = self.proximal and settings.guard and settings.ease_odds > 0
        self.settled = np.zeros(len(far_s), bool)

    def __call__(self, noisy, plan, number, index):
        settings, form, level, fade = self.settings, self.settings.guidance_form, plan.level[number, :, 0], plan.fade[number]
        made = self.backend.call(self.backend.graphs.far, self.context, noisy, index, fade, **(self.told if number == 0 else {}))
        clean, value, gradient, slope = made['clean'].copy(), made['value'], made['gradient'], made['gradient']
        if form == 'noisy':
            value, gradient = self._at_level(noisy, level)
        if self.objective is not None:
            asked, also = self.pressure.pulled(self.objective.pull_at_end, *self.pressure.motion((noisy if form == 'noisy' else clean)[:, 0]))
            value, gradient, slope = value + asked, gradient + also, slope + also
        if form == 'through':
            gradient = self.backend.call(self.backend.graphs.pull_back, self.context, noisy, index, fade, upstream=slope)['gradient']
        gain = plan.clean[number, :, 0] if form == 'clean' else schedule.gain(form, level)
        wanted = (self.scale * gain * ((level > 0) & ~self.settled))[:, None] * gradient
        damping = schedule.damping(wanted, slope, value) if self.proximal else np.ones(len(wanted), np.float32)
        ease = 1 / (1 + np.exp(-np.maximum(made['odds'] + settings.ease_odds, -80))) if self.eased else np.ones_like(damping)
        wanted = wanted * (damping * ease)[:, None]
        shift, length = schedule.limited(wanted, self._region(level))
        clean[:, 0, self.own] += shift
        self._note(damping, ease, wanted, shift, length, level)
        return clean

    def _at_level(self, noisy, level):
        read = self.context.read
        told = {'position': noisy[:, 0, self.own], 'level': level, 'place': read['places'][0], 'width': self.width}
        made = self.backend.graphs.at_level(**told)
        return made['value'], made['gradient']

    def _region(self, level):
        """Lay out the trust region: level [B] -> [B], see runtime.pressure"""
        settings, table = self.settings, self.backend.planning.get('spread')
        if not settings.guard:
            return np.float32(schedule.FREE)
        if table is None or not np.isfinite(settings.trust):
            return np.float32(settings.guidance_max_shift)
        return np.minimum(settings.trust * np.interp(level, table['level'], table['spread']), settings.guidance_max_shift).astype(np.float32)

    def _note(self, damping, ease, wanted, shift, length, level):
        given = schedule.rms(shift)
        if self.settings.guidance_negligible:
            self.settled |= _seen(self.context.level).all() & _seen(level) & (given < self.settings.guidance_negligible)
        if self.restraint is not None:
            self.restraint.curvature.append(damping)
            self.restraint.ease.append(ease)
            self.restraint.region.append(np.where(length > 0, given / np.maximum(length, 1e-12), 1.0))


def _seen(level):
    """Whether tokens hold evidence, see diffusion.guidance.guide: level [...] -> bool [...]"""
    return (schedule.signal(level) >= schedule.MIN_SIGNAL) | (level == 0)


class PathStep:
    """One sampling's step of fill-in tokens, of which the last, the far token, is known and stays: as Unguided"""

    def __init__(self, backend, context, settings, scale, most, objective=None, offset_s=None):
        self.backend, self.context, self.scale, self.most, self.objective = backend, context, scale, np.float32(most), objective
        self.own, self.asked_scale = backend.layout.position, settings.objective_scale
        if objective is not None:
            self.seconds = np.concatenate([np.zeros_like(offset_s[:, :1]), offset_s], 1)

    def __call__(self, noisy, plan, number, index):
        made = self.backend.call(self.backend.graphs.fill, self.context, noisy, index, plan.fade[number])
        clean, gradient = made['clean'].copy(), self.scale * made['gradient']
        if self.objective is not None:
            gradient = gradient + self.asked_scale * self._asked(clean)
        wanted = (plan.clean[number, :, :-1] * (plan.level[number, :, :-1] > 0))[..., None] * gradient
        clean[:, :-1, self.own] += schedule.limited(wanted, self.most)[0]
        return clean

    def _asked(self, clean):
        """What the user's objective asks of the tokens between, in network space: -> gradient [P, F, J]"""
        pressure, count = self.backend.pressure, len(clean)
        path = np.concatenate([np.broadcast_to(self.context.origin, (count, 1, clean.shape[2])), clean], 1)
        return pressure.pulled(self.objective.pull, *pressure.motion(path), self.seconds)[1][:, 1:-1]
