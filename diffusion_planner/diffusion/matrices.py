"""Scheduling matrices: which token has which level after each sampling step."""
import torch


def scheduling_matrix(start_level, steps, lag=0, order='forward', bend=1.0):
    """Plan the level of every token before, between and after the sampling steps.

    start_level [T], ranks [T] or the name of an order -> matrix [S + 1, T] with S = steps + lag * (largest rank)

    Row 0 is start_level, the last row is 0, no column ever rises, and known tokens (start level 0) stay at 0.
    Every other token falls from its own start level to 0 in `steps` equal parts, `lag` steps after the rank before:

    - lag 0: full sequence, all tokens together, whatever the order;
    - lag 1 (up to steps - 1): pyramid, the next rank begins while the last one is still noisy;
    - lag = steps: autoregressive, one rank after the other (Diffusion Forcing, Chen et al. 2024, fig. 2).

    bend: above 1 the parts are smaller near the end, where few steps must be precise: a token is at start_level * share^bend
    when `share` of its steps are left.

    order: 'forward' (near to far), 'backward' (far to near), 'far_first' (the last token, then the others together),
    or the rank of each token as integers [T], 0 first. Known tokens take no rank in the named orders.
    Raises ValueError for fewer than one step, a negative lag or an unknown order.
    """
    if steps < 1 or lag < 0 or bend <= 0:
        raise ValueError(f'got steps {steps}, lag {lag} and bend {bend}; expected at least one step, a lag of at least 0, '
                         'a positive bend')
    unknown = start_level > 0
    rank = _ranks(unknown, order) if isinstance(order, str) else torch.as_tensor(order, device=start_level.device)
    last = lag * int(torch.where(unknown, rank, 0).max())
    row = torch.arange(steps + last + 1, device=start_level.device).unsqueeze(-1)
    return start_level * (((steps + lag * rank - row) / steps).clamp(0, 1) ** bend).to(start_level.dtype)


def _ranks(unknown, order):
    """Number the unknown tokens in the named order. unknown [T] -> rank [T]"""
    if order == 'forward':
        return (unknown.cumsum(0) - 1).clamp(min=0)
    if order == 'backward':
        return unknown.sum() - unknown.cumsum(0)
    if order == 'far_first':
        return (unknown.sum() > unknown.cumsum(0)).long()
    raise ValueError(f"got order {order!r}; expected 'forward', 'backward', 'far_first' or ranks [T]")
