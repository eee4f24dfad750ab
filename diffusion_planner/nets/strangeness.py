"""How unlike the play data a picture is. Nobody ever showed the model anything strange: all of it is learned from play."""
import torch
import torch.nn.functional as F
from torch import nn

PATCH_PX, STRIDE_PX = 8, 4      # of what the decoder misses
CELL_PX, FINE, COARSE = 4, 8, 4  # colours are known per cell, in this many steps per channel; what is always there, in coarser ones
SIGHTINGS = 3                   # pixels of play that make a colour known in a cell
ALWAYS, SMALL = 0.9, 0.02       # a small thing that is always there: in this share of the pictures, on less than this share of each
SHARE, MISSING_SHARE = 0.001, 0.015   # of held-out pictures that may be beyond a limit


class Strangeness(nn.Module):
    """Four figures per picture, each in units of what nearly every held-out picture of play stays below.

    'colours': how many pixels have a colour that play never showed in that part of the picture. 'picture': what the decoder cannot
    give back, on average over patches, each against what it usually misses there. 'latent': Mahalanobis distance of the latent from
    those of play (Lee et al. 2018). 'missing': the same from the latents of those pictures of play in which a small thing that is
    nearly always there is hidden, for pictures in which it is not to be seen; 0 for all others.
    """

    FIGURES = ('colours', 'picture', 'latent', 'missing')

    def __init__(self, latent, size_px=96):
        super().__init__()
        cells, patches = (size_px // CELL_PX) ** 2, (size_px - PATCH_PX) // STRIDE_PX + 1
        self.register_buffer('known', torch.zeros(cells, FINE ** 3 // 8, dtype=torch.uint8))     # one bit per colour
        self.register_buffer('signature', torch.zeros(COARSE ** 3, dtype=torch.bool))            # colours of what is always there
        self.register_buffer('usual', torch.ones(patches, patches))                              # what the decoder misses of each patch
        for name in ('all', 'hidden'):
            self.register_buffer(f'{name}_centre', torch.zeros(latent))
            self.register_buffer(f'{name}_whiten', torch.eye(latent))                            # whitened = (latent - centre) @ whiten
        self.register_buffer('limit', torch.ones(len(self.FIGURES)))
        row = torch.arange(size_px) // CELL_PX
        self.register_buffer('cell', (row[:, None] * (size_px // CELL_PX) + row).flatten(), persistent=False)

    def missed(self, decoded, pixels):
        """What the decoder misses per patch: decoded [N, 3, Y, X] in [0, 1], pixels [N, Y, X, 3] uint8 -> [N, rows, columns]"""
        difference = (decoded - pixels.permute(0, 3, 1, 2).float() / 255).abs().mean(1, keepdim=True)
        return F.avg_pool2d(difference, PATCH_PX, STRIDE_PX)[:, 0]

    def colours_unknown(self, pixels):
        """Count pixels whose colour play never showed there: pixels [N, Y, X, 3] uint8 -> [N]"""
        code = _code(pixels, FINE)
        known = (self.known[self.cell, code // 8] >> (code % 8).to(torch.uint8)) & 1
        return (known == 0).sum(1).float()

    def is_missing(self, pixels):
        """Whether something that is nearly always there is not to be seen: pixels [N, Y, X, 3] uint8 -> [N] bool"""
        seen = _present(_code(pixels, COARSE), COARSE)
        return (self.signature & ~seen).any(1)

    def figures(self, pixels, missed, latent):
        """pixels [N, Y, X, 3] uint8, missed [N, rows, columns], latent [N, Z] (not normalised) -> [N, 4], before the limits"""
        hidden = self._distance('hidden', latent) * self.is_missing(pixels)
        return torch.stack([self.colours_unknown(pixels), (missed / self.usual).mean((1, 2)), self._distance('all', latent), hidden], 1)

    def forward(self, pixels, missed, latent):
        """-> [N, 4], above 1 where a picture is unlike those of play"""
        return self.figures(pixels, missed, latent) / self.limit

    def _distance(self, name, latent):
        return ((latent - getattr(self, f'{name}_centre')) @ getattr(self, f'{name}_whiten')).norm(dim=1)

    @torch.no_grad()
    def learn_colours(self, batches):
        """Learn which colours play shows where, and what is always there: batches of pixels [N, Y, X, 3] uint8"""
        counts, present, covered, total = torch.zeros(len(self.known), FINE ** 3), 0, 0, 0
        for pixels in batches:
            code = _code(pixels, FINE)
            place = self.cell * FINE ** 3 + code
            counts += torch.bincount(place.flatten(), minlength=counts.numel()).view_as(counts)
            coarse = _code(pixels, COARSE)
            present = present + _present(coarse, COARSE).sum(0)
            covered = covered + torch.bincount(coarse.flatten(), minlength=COARSE ** 3)
            total += len(pixels)
        known = (counts >= SIGHTINGS).view(len(self.known), -1, 8)
        self.known.copy_((known * (2 ** torch.arange(8))).sum(-1).to(torch.uint8))
        self.signature.copy_((present / total >= ALWAYS) & (covered / (total * len(self.cell)) < SMALL))

    @torch.no_grad()
    def learn_latents(self, latent, missing):
        """Learn where latents of play lie: latent [N, Z], missing [N] bool"""
        for name, part in (('all', latent), ('hidden', latent[missing] if missing.sum() > 4 * latent.shape[1] else latent)):
            values, vectors = torch.linalg.eigh(torch.cov(part.T) + 1e-5 * torch.eye(part.shape[1]))
            getattr(self, f'{name}_centre').copy_(part.mean(0))
            getattr(self, f'{name}_whiten').copy_(vectors / values.clamp_min(1e-6).sqrt())

    @torch.no_grad()
    def fit_limits(self, pixels, missed, latent):
        """Learn what decoders usually miss from one half of held-out pictures, and every limit from the other."""
        half = len(latent) // 2
        self.usual.copy_(missed[:half].mean(0) + 2 * missed[:half].std(0) + 0.01)
        figures = self.figures(pixels[half:], missed[half:], latent[half:])
        for index, name in enumerate(self.FIGURES):
            share = MISSING_SHARE if name == 'missing' else SHARE
            limit = figures[:, index].quantile(1 - share) + (2.0 if name == 'colours' else 0.0)
            self.limit[index] = limit.clamp_min(1e-6)    # 0 where nothing was ever missing, and 0 / 0 is no figure


def _code(pixels, steps):
    """Number the colours of pixels: [N, Y, X, 3] uint8 -> [N, Y X] in [0, steps^3)"""
    level = (pixels // (256 // steps)).long()
    return ((level[..., 0] * steps + level[..., 1]) * steps + level[..., 2]).flatten(1)


def _present(code, steps):
    """Which colours a picture has: code [N, Y X] -> bool [N, steps^3]"""
    return torch.zeros(len(code), steps ** 3, dtype=torch.bool, device=code.device).scatter_(1, code, True)
