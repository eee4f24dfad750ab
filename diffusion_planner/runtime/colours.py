"""Which colours play shows where: tables and pixels, no network, so that numpy does it for every backend."""
import numpy as np

STRANGE = ('colours', 'picture', 'latent', 'missing')     # nets.strangeness.Strangeness.FIGURES


class Colours:
    """Which colours play shows where, as nets.strangeness.Strangeness has it, from its stored tables.

    `camera`: the number of the one that it is about.
    """

    def __init__(self, weights, camera=0):
        whose = f'strangeness_of_others.{camera - 1}' if camera else 'strangeness'
        self.known, self.signature, self.limit = (weights[f'{whose}.{name}'] for name in ('known', 'signature', 'limit'))
        self.bit = np.arange(8, dtype=np.uint8)
        self.known = (self.known[:, :, None] >> self.bit & 1).reshape(len(self.known), -1).astype(bool)      # [cells, colours]
        cells = int(round(len(self.known) ** 0.5))
        self.grid = cells

    def figures(self, pixels, missed, distances):
        """Put together what is said of a picture: pixels [Y, X, 3] uint8, missed a number, distances [2] of Strange -> {in which way: times the limit}"""
        said = self.unknown(pixels), missed, distances[0], distances[1] * self.is_missing(pixels)
        return dict(zip(STRANGE, (np.float32(said) / self.limit).tolist()))

    def unknown(self, pixels):
        """Count pixels whose colour play never showed there: pixels [Y, X, 3] uint8 -> number"""
        code = _code(pixels, 8)
        rows, columns = (np.arange(size) * self.grid // size for size in code.shape)
        return float((~self.known[rows[:, None] * self.grid + columns, code]).sum())

    def is_missing(self, pixels):
        """Whether something that is nearly always there is not to be seen: pixels [Y, X, 3] uint8 -> bool"""
        seen = np.zeros(len(self.signature), bool)
        seen[_code(pixels, 4)] = True
        return bool((self.signature & ~seen).any())


def _code(pixels, steps):
    """Number the colours of pixels: [Y, X, 3] uint8 -> [Y, X] in [0, steps^3)"""
    level = (pixels // (256 // steps)).astype(np.int64)
    return (level[..., 0] * steps + level[..., 1]) * steps + level[..., 2]
