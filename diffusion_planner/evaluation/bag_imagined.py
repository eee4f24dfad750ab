"""Imagined pictures against real ones: what a plan thought the cameras would see, at the instants at which they saw it."""
import numpy as np

SHOWN_S = (0.5, 1.0, 2.0, 4.0)      # after the plan takes over; the nearest token of a plan stands for each
NEAR_S = 0.25                       # farther from all of these, a token is not compared
KINDS = {'imagined': 'imagined without guidance, from the context alone',
         'told': 'imagined on the way to where the arm really went',
         'decoded': 'the real picture through encoder and decoder: as good as it gets',
         'unchanged': 'the picture when the plan was made: what it takes to beat'}
BEST_DB = 60.0        # of two equal pictures


class Pictures:
    """Compares pictures of one model's cameras."""

    def __init__(self, backend, cameras):
        self.backend, self.cameras = backend, cameras

    def compare(self, step, origin_s, true_s, tokens):
        """Compare everything that is imagined with what was seen: -> [{'offset_s', 'camera', 'kind', 'psnr_db', 'mae'}]

        true_s [N], tokens [N, D]: what really happened, in network space. The pictures themselves go into step.pictures.
        """
        found = []
        for kind, offset_s, latent in (*self._imagined(step), *self._real(true_s, tokens), *((('unchanged', offset, None) for offset in true_s))):
            shown = _nearest(offset_s)
            if shown is not None:
                found += self._compare(step, kind, shown, origin_s + offset_s, latent)
        step.figures.pop('way', None)
        return found

    def _imagined(self, step):
        """List what plans imagine near the offsets that are shown: -> (kind, offset_s, latent [V Z + K])"""
        way = step.figures.get('way')
        plans = [('imagined', step.quiet.offset_s, step.quiet.latent)] if step.quiet else []
        plans += [('told', way[0][:-1], way[1][:-1])] if way else []
        for kind, offset_s, latent in plans:
            for shown in SHOWN_S:
                index = int(np.abs(offset_s - shown).argmin())
                if abs(offset_s[index] - shown) <= NEAR_S:
                    yield kind, float(offset_s[index]), latent[index]

    def _real(self, true_s, tokens):
        seen = self.backend.layout.picture
        for offset_s, token in zip(true_s, tokens):
            yield 'decoded', float(offset_s), np.asarray(token)[seen]

    def _compare(self, step, kind, shown_s, at_s, latent):
        """Compare one instant's pictures of every camera; None for a latent is the picture when the plan was made."""
        for number, camera in enumerate(self.cameras):
            real = step.recording.newest(camera, at_s)
            if real is None:
                continue
            pixels = step.observation.pictures[-1, number] if latent is None else decoded(self.backend, latent, number)
            if pixels is None:
                continue
            step.pictures.append((kind, shown_s, camera, pixels, real.pixels))
            yield {'offset_s': shown_s, 'camera': camera, 'kind': kind, **likeness(pixels, real.pixels)}


def decoded(backend, latent, camera):
    """Decode what one camera, by its number, is imagined to see: latent [V Z + K] -> pixels [Y, X, 3] uint8

    None for all cameras but the first with a backend that does not give its network away: exported graphs decode that one alone.
    """
    width = backend.config.latent
    own = latent[camera * width:(camera + 1) * width]
    if camera == 0:
        return backend.picture(own)
    network = getattr(backend, 'network', None)
    if network is None:
        return None
    import torch
    with torch.no_grad():
        return network.decode_pictures(torch.as_tensor(np.asarray(own), device=backend.device)[None], camera)[0].cpu().numpy()


def likeness(pixels, real):
    """Compare two pictures [Y, X, 3] uint8: -> {'psnr_db', 'mae' in levels of 255}"""
    difference = pixels.astype(float) - real
    mean_square = float(np.square(difference).mean())
    psnr_db = BEST_DB if mean_square == 0 else min(10 * np.log10(255 ** 2 / mean_square), BEST_DB)
    return {'psnr_db': float(psnr_db), 'mae': float(np.abs(difference).mean())}


def _nearest(offset_s):
    """Say at which of SHOWN_S an offset is shown, None if at none."""
    shown = min(SHOWN_S, key=lambda shown_s: abs(shown_s - offset_s))
    return shown if abs(shown - offset_s) <= NEAR_S else None
