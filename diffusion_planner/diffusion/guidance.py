"""Guidance: wrappers around `denoise` that move the clean estimate up the gradient of an objective.

A wrapper has the contract of what it wraps, so no sampler knows about it. An objective is a log-probability
(x [B, T, D], level [B, T]) -> [B], higher is better; every form shifts the clean estimate by

    scale * Cov[clean | noisy] * gradient of the objective at the clean estimate                 (Bayes, first order)

and the forms differ in how they come by that product. With Tweedie's formula, clean = (noisy + sigma^2 score) / signal:

- 'noisy': the objective judges noisy tokens at their level; sigma^2 / signal * d objective(noisy) / d noisy is exact
  when the objective is log p(y | noisy) (classifier guidance, Dhariwal and Nichol 2021).
- 'through': the objective judges the clean estimate and the gradient is taken through the network, whose Jacobian
  is signal / sigma^2 * Cov (DPS, Chung et al. 2023); sigma^2 / signal * d objective(denoise(noisy)) / d noisy.
- 'clean': the objective judges the clean estimate; Cov is replaced by the posterior variance of a token whose
  prior is Gaussian with `prior_variance`, independent of all others. No gradient through the network: the cheapest.
"""
from dataclasses import dataclass, field

import torch

from .noise import sigma, signal

MIN_SIGNAL = 0.05   # below this a token holds no evidence, and dividing by its signal would only amplify rounding


@dataclass
class GuidanceTrace:
    """What guidance did, one number per call of the guided denoiser, averaged over candidates and tokens above level 0."""

    objective: list = field(default_factory=list)        # value before the shift
    gradient_norm: list = field(default_factory=list)    # length of the masked gradient per token
    shift: list = field(default_factory=list)            # RMS over masked dimensions, after the limit
    clipped: list = field(default_factory=list)          # fraction of tokens at the limit


@dataclass
class Restraint:
    """What held guidance back, per candidate: lists of [B], one entry per call of the guided denoiser, factors in [0, 1].

    The pull in force is the requested scale times all three. Nothing is read back, so a device is not waited for.
    """

    curvature: list = field(default_factory=list)        # of the proximal step: the peak was nearer than the pull would go
    ease: list = field(default_factory=list)             # of `ease`
    region: list = field(default_factory=list)           # of the trust region


def guide(denoise, objective, scale, form='noisy', mask=None, max_shift=1.0, prior_variance=1.0, trace=None, proximal=False,
          negligible=0.0, ease=None, restraint=None):
    """Wrap a denoiser so that its clean estimates are moved towards a higher objective.

    denoise (noisy [B, T, D], level [B, T], offset_s [B, T]) -> clean [B, T, D], the contract met and returned

    scale: a number, or one per candidate [B]; the number 0 returns `denoise` itself.
    form: 'noisy', 'clean' or 'through', see the module. The last two call the objective at level 0. Under 'clean' an objective
        with a method `value_and_gradient(tokens) -> [B], [B, T, D]` is asked for both, without autograd. If it has a `block` as well,
        slices of T and of D, the gradient is that of the block alone, only this moves, and `mask` has no say.
    mask: bool, [D] or [T, D]; only these dimensions move.
    max_shift: trust region, the largest shift of a token: RMS over its masked dimensions, network space; a number, or a
        function of level [B, T] -> [B, T], for a region that shrinks with the noise.
    prior_variance: of a token's dimensions under 'clean', a number or [D].
    proximal: damp the shift by the objective's curvature, see _damping; needs an objective that is at most 0, such as
        a log-probability, and a form other than 'noisy'. A sharp objective then pulls onto its peak, not past it.
    trace: a GuidanceTrace to append to; reading its numbers synchronises with the device.
    negligible: a candidate whose largest shift of a call was below this (RMS as above) is not guided in later calls: the
        gradient no longer changes it, and costs most of the time in the form 'through'. So use what is returned for one
        sampling only. 0 guides to the end.
    ease: a function of the clean estimate (clean [B, T, D], offset_s [B, T]) -> factor in [0, 1], [B], by which the pull on a
        candidate is scaled, where it says how far that is from what the model knows.
    restraint: a Restraint to append to.
    Tokens at level 0 never move. Raises ValueError for an unknown form.
    """
    if form not in _ESTIMATES:
        raise ValueError(f'got guidance form {form!r}; expected one of {sorted(_ESTIMATES)}')
    if not isinstance(scale, torch.Tensor) and scale == 0:
        return denoise

    block = getattr(objective, 'block', None) if form == 'clean' else None
    prior = prior_variance[block[1]] if block is not None and isinstance(prior_variance, torch.Tensor) and prior_variance.ndim else prior_variance

    def push(noisy, level, offset_s, scale):
        clean, value, gradient, slope = _ESTIMATES[form](denoise, objective, noisy, level, offset_s)
        # A token at level 0 has no gain; what moves has to be sorted out only where the gradient is of everything.
        at, moving = (level, _moving(mask, level, clean)) if block is None else (level[:, block[0]], None)
        wanted = _per_candidate(scale, clean) * _gain(form, at.unsqueeze(-1), prior) * gradient
        wanted = wanted if moving is None else torch.where(moving, wanted, 0)
        factors = _damping(wanted, slope, value) if proximal else None, ease(clean, offset_s)[:, None, None] if ease else None
        for factor in factors:
            wanted = wanted if factor is None else wanted * factor
        length, most = _rms(wanted, moving), max_shift(at).unsqueeze(-1) if callable(max_shift) else max_shift
        kept = _kept(length, most)
        shift = wanted * kept
        if restraint is not None:
            _note(restraint, *factors, length, kept)
        if trace is not None:
            _record(trace, value, gradient, wanted, shift, (at > 0).unsqueeze(-1).expand(shift.shape) if moving is None else moving)
        shifted = clean + shift if block is None else _moved(clean, shift, block)
        if not negligible:
            return shifted, None
        # Where a token holds no evidence yet the form 'through' has no gradient: that is not the end of its pull.
        seen = ((signal(level) >= MIN_SIGNAL) | (level == 0)).all(1)
        return shifted, seen & ((length * kept).amax((1, 2)) < negligible)

    settled = None   # [B], which candidates are no longer guided

    def guided(noisy, level, offset_s):
        nonlocal settled
        if settled is None or len(settled) != len(noisy) or not settled.any():     # None: nothing ever settles
            clean, settled = push(noisy, level, offset_s, scale)
            return clean
        clean, busy = torch.empty_like(noisy), ~settled
        clean[settled] = denoise(noisy[settled], level[settled], offset_s[settled])
        if busy.any():
            own = scale[busy] if isinstance(scale, torch.Tensor) and scale.ndim else scale
            clean[busy], settled[busy] = push(noisy[busy], level[busy], offset_s[busy], own)
        return clean

    return guided


def _damping(wanted, slope, value):
    """Turn a gradient step into a proximal one: wanted [B, T, D], slope [B, T, D], value [B] -> factor [B, 1, 1]

    Wanted is Cov g. The proximal step maximises objective(clean + shift) - shift' Cov^-1 shift / 2; for an objective that
    falls as a square from 0 at its peak, the curvature along g is g'g / (2 |value|), which makes the step
    Cov g / (1 + g' Cov g / (2 |value|)).
    """
    pull = (wanted * slope).sum((1, 2)).clamp(min=0)
    return (1 / (1 + pull / (2 * value.abs()).clamp(min=1e-30)))[:, None, None]


def limit_shift(shift, moving, max_shift):
    """Shorten each token's shift to at most max_shift, RMS over its moving dimensions, keeping its direction.

    shift [B, T, D], moving [B, T, D] bool -> shift [B, T, D]
    """
    return shift * _kept(_rms(shift, moving), max_shift)


def _moved(clean, shift, block):
    """Add a shift to a block of tokens: clean [B, T, D], shift of the block -> [B, T, D]"""
    clean = clean.clone()
    clean[:, block[0], block[1]] += shift
    return clean


def _kept(length, most):
    """What a limit leaves of shifts so long: length [B, T, 1] -> factor in [0, 1]"""
    return (most / length.clamp(min=1e-12)).clamp(max=1)


def clamp(denoise, limit, mask=None):
    """Wrap a denoiser so that its clean estimates stay within [-limit, limit], in the masked dimensions only.

    denoise (noisy [B, T, D], level [B, T], offset_s [B, T]) -> clean [B, T, D]; mask [D] or [T, D] bool
    """
    def clamped(noisy, level, offset_s):
        clean = denoise(noisy, level, offset_s)
        limited = clean.clamp(-limit, limit)
        return limited if mask is None else torch.where(mask.to(clean.device), limited, clean)

    return clamped


def _estimate_noisy(denoise, objective, noisy, level, offset_s):
    value, gradient = _differentiate(lambda tokens: objective(tokens, level), noisy)
    return denoise(noisy, level, offset_s), value, gradient, torch.zeros_like(gradient)


def _estimate_clean(denoise, objective, noisy, level, offset_s):
    clean = denoise(noisy, level, offset_s)
    if hasattr(objective, 'value_and_gradient'):
        value, gradient = objective.value_and_gradient(clean)
    else:
        value, gradient = _differentiate(lambda tokens: objective(tokens, torch.zeros_like(level)), clean)
    return clean, value, gradient, gradient


def _estimate_through(denoise, objective, noisy, level, offset_s):
    with torch.enable_grad():
        tokens = noisy.detach().requires_grad_()
        clean = denoise(tokens, level, offset_s)
        value = objective(clean, torch.zeros_like(level))
        gradient, slope = torch.autograd.grad(value.sum(), (tokens, clean))
    return clean.detach(), value.detach(), gradient, slope


_ESTIMATES = {'noisy': _estimate_noisy, 'clean': _estimate_clean, 'through': _estimate_through}


def _differentiate(function, tokens):
    """Return the value [B] of a function of tokens [B, T, D] and its gradient [B, T, D]."""
    with torch.enable_grad():
        tokens = tokens.detach().requires_grad_()
        value = function(tokens)
        gradient, = torch.autograd.grad(value.sum(), tokens)
    return value.detach(), gradient


def _gain(form, level, prior_variance):
    """Return what turns the gradient of this form into a shift of the clean estimate. level [B, T, 1] -> [B, T, 1 or D]"""
    variance = sigma(level) ** 2
    if form == 'clean':
        return variance * prior_variance / (signal(level) ** 2 * prior_variance + variance)
    return variance / signal(level).clamp(min=MIN_SIGNAL)


def _moving(mask, level, clean):
    """Return which numbers may move: above level 0 and masked. mask, level [B, T] -> bool [B, T, D]"""
    above = (level > 0).unsqueeze(-1).expand(clean.shape)
    return above if mask is None else above & mask.to(clean.device)


def _per_candidate(scale, clean):
    return scale.to(clean).reshape(-1, 1, 1) if isinstance(scale, torch.Tensor) else scale


def _rms(shift, moving=None):
    """Root of the mean square over the numbers of each token that move, or over all: -> [B, T, 1]"""
    if moving is None:
        return shift.square().mean(-1, keepdim=True).sqrt()
    return (torch.where(moving, shift, 0).square().sum(-1, keepdim=True)
            / moving.sum(-1, keepdim=True).clamp(min=1)).sqrt()


def _note(restraint, damping, eased, length, kept):
    """Put down the factors of a call, each [B, 1, 1] or None for 1; length [B, T, 1] is what the limit was asked for."""
    none = torch.ones_like(length[:, 0, 0])
    restraint.curvature.append(none if damping is None else damping[:, 0, 0])
    restraint.ease.append(none if eased is None else eased[:, 0, 0])
    asked, given = length.sum((1, 2)), (length * kept).sum((1, 2))
    restraint.region.append(torch.where(asked > 0, given / asked.clamp(min=1e-12), 1.0))


def _record(trace, value, gradient, wanted, shift, moving):
    free, gradient = moving.any(-1), torch.where(moving, gradient, 0)
    count = free.sum().clamp(min=1)
    trace.objective.append(value.mean().item())
    trace.gradient_norm.append((gradient.norm(dim=-1).sum() / count).item())
    trace.shift.append((_rms(shift, moving).sum() / count).item())
    trace.clipped.append((((wanted != shift).any(-1) & free).sum() / count).item())
