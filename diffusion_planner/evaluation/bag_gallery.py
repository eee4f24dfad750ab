"""A handful of imagined and real pictures side by side, kept while the walk goes on and written as PNG when it is over."""
import os
import shutil
from pathlib import Path

import numpy as np

CANDIDATES, SHOWN = 36, 6      # steps whose pictures are kept, and of those how many are written
FOLDER = 'pictures'


class Gallery:
    """Chooses steps evenly over a walk of about `expected` of them, and among those the ones with the most to show."""

    def __init__(self, expected):
        self.wanted, self.kept = set(np.linspace(0, max(expected - 1, 0), min(CANDIDATES, max(expected, 1))).astype(int).tolist()), []

    def look(self, step):
        """Take the pictures of a step off it, and keep those of some."""
        if step.index in self.wanted and step.pictures:
            self.kept.append((step.index, step.since_s, step.episode, step.pictures))
        step.pictures = []

    def write(self, folder):
        """Write what is shown: -> [{'step', 'since_s', 'camera', 'offset_s', 'files': {'real' | kind: path relative to folder}}]"""
        part, rows = Path(folder) / f'{FOLDER}.part', []
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for index, since_s, episode, pictures in self._chosen():
            for (camera, offset_s), shown in _by_instant(pictures).items():
                stem = f'{index:05d}_{camera}_{round(1000 * offset_s):04d}ms'
                files = {kind: _write(part, f'{stem}_{kind}.png', pixels) for kind, pixels in shown.items()}
                rows.append({'step': index, 'since_s': since_s, 'episode': episode, 'camera': camera, 'offset_s': offset_s, 'files': files})
        shutil.rmtree(Path(folder) / FOLDER, ignore_errors=True)
        os.replace(part, Path(folder) / FOLDER)
        return rows

    def _chosen(self):
        """Take evenly one of each stretch of the kept, that with the most kinds of pictures."""
        for stretch in np.array_split(np.arange(len(self.kept)), min(SHOWN, len(self.kept)) or 1):
            if len(stretch):
                yield max((self.kept[index] for index in stretch), key=lambda kept: len(kept[3]))


def _by_instant(pictures):
    """Gather pictures (kind, offset_s, camera, pixels, real) by camera and instant: -> {(camera, offset_s): {kind: pixels}}, real first"""
    found = {}
    for kind, offset_s, camera, pixels, real in pictures:
        found.setdefault((camera, offset_s), {'real': real})[kind] = pixels
    return {key: found[key] for key in sorted(found)}


def _write(folder, name, pixels):
    """Write a picture [Y, X, 3]: -> its path as the report has it"""
    import cv2
    cv2.imwrite(str(folder / name), np.ascontiguousarray(pixels[..., ::-1]))
    return f'{FOLDER}/{name}'
