"""Stage: the familiarity head, from postures alone."""
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

SHAKE_RAD = 0.12         # spread of the postures that are shaken about
FLOOR_SHARE = 0.002      # of held-out postures may count as unfamiliar


def strangers(position_rad, other_rad, generator, shake_rad=SHAKE_RAD, box_rad=None):
    """Make postures that nobody chose: on straight lines between two postures, shaken about, or anywhere in a box.

    strangers(position_rad [N, J], other_rad [N, J], generator, shake_rad: spread of the shaken ones,
    box_rad [2, J]: corners of the box, or None for no such postures) -> [N, J]
    """
    count, joints = position_rad.shape
    share = torch.rand(count, 1, generator=generator)
    line = position_rad + share * (other_rad - position_rad)
    spread = shake_rad * torch.rand(count, 1, generator=generator)
    shaken = position_rad + spread * torch.randn(count, joints, generator=generator)
    made = torch.where(torch.rand(count, 1, generator=generator) < 0.5, line, shaken)
    if box_rad is None:
        return made
    anywhere = box_rad[0] + (box_rad[1] - box_rad[0]) * torch.rand(count, joints, generator=generator)
    return torch.where(torch.rand(count, 1, generator=generator) < 0.5, anywhere, made)


def familiarity_loss(head, normal, position_rad, batch, generator, own=slice(None), **how):
    """Tell play from strangers, in the rows `own` of a batch: normal(position_rad) brings postures to network space. -> loss [], share told right"""
    real, start, end = (position_rad[torch.randint(len(position_rad), (batch,), generator=generator)] for _ in range(3))
    made = strangers(start, end, generator, **how)[own]
    logit = torch.cat([head(normal(real[own])), head(normal(made))])
    target = torch.cat([torch.ones(len(made)), torch.zeros(len(made))]).to(logit.device)
    return binary_cross_entropy_with_logits(logit, target), ((logit > 0) == (target > 0)).float().mean()


@torch.no_grad()
def fit_floor(head, normal, held_out_rad, margin=0.0):
    """Set the head's floor so that nearly all held-out postures are familiar, by a margin in log-odds: -> floor"""
    head.floor.copy_(head(normal(held_out_rad)).quantile(FLOOR_SHARE) - margin)
    return head.floor.item()
