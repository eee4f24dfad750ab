"""Pictures to latents and back."""
import torch
import torch.nn.functional as F
from torch import nn


class Encoder(nn.Module):
    """A small convolutional encoder: encode(pixels [B, 3, Y, X] in [0, 1]) -> latent [B, Z].

    Two paths: key points (the expected place of each of K feature maps; Levine et al. 2016, arXiv:1504.00702) keep
    *where* small things are, which pooled features lose; a strided path keeps the rest.

    Several cameras share it, so that each learns from the pictures of all. What a camera needs of its own is a shift of the features
    before they are read: the layers after it are then other functions for another camera. With one camera there is none.
    """

    def __init__(self, latent, points=12, width=16, cameras=1):
        super().__init__()
        self.camera = _shifts(cameras, 3 * points + 96)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 5, 2, 2), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU())
        self.maps = nn.Conv2d(width, points, 1)
        self.sharpness = nn.Parameter(torch.full((points,), 20.0))
        self.rest = nn.Sequential(nn.Conv2d(width, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU(),
                                  nn.Conv2d(32, 48, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48 * 36, 96), nn.ReLU())
        self.leave = nn.Sequential(nn.Linear(3 * points + 96, 128), nn.ReLU(), nn.Linear(128, latent))

    def forward(self, pixels, camera=0):
        """forward(pixels [B, 3, Y, X] in [0, 1], number of their camera, one for all or [B]) -> latent [B, Z]"""
        features = self.stem(pixels * 2 - 1)
        return self.leave(_shifted(torch.cat([self._points(features), self.rest(features)], 1), self.camera, camera))

    def _points(self, features):
        maps = self.maps(features)
        batch, points, rows, columns = maps.shape
        weight = F.softmax(maps.flatten(2) * self.sharpness[:, None], -1).view_as(maps)
        y = (weight.sum(3) * torch.linspace(-1, 1, rows, device=maps.device)).sum(2)
        x = (weight.sum(2) * torch.linspace(-1, 1, columns, device=maps.device)).sum(2)
        peak = (weight * maps).flatten(2).sum(2)
        return torch.cat([x * 3, y * 3, peak], 1)


class Decoder(nn.Module):
    """Latents back to pictures, so that people can look at an imagined future: decode(latent [B, Z]) -> [B, 3, Y, X] in [0, 1].

    Several cameras share it as they do the encoder: a shift of the latent says whose picture it is.
    """

    def __init__(self, latent, cameras=1):
        super().__init__()
        self.camera = _shifts(cameras, latent)
        self.enter = nn.Sequential(nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 64 * 36), nn.ReLU())
        layers = []
        for before, after in ((64, 48), (48, 32), (32, 16)):
            layers += [nn.Conv2d(before, 4 * after, 3, 1, 1), nn.PixelShuffle(2), nn.ReLU()]
        self.grow = nn.Sequential(*layers, nn.Conv2d(16, 12, 3, 1, 1), nn.PixelShuffle(2))

    def forward(self, latent, camera=0):
        return torch.sigmoid(self.grow(self.enter(_shifted(latent, self.camera, camera)).view(-1, 64, 6, 6)))


def encode_views(encoder, pixels):
    """Encode what all cameras see: pixels [N, V, Y, X, 3] uint8 -> latent [N, V Z], not normalised"""
    return torch.cat([encoder(pixels[:, camera].permute(0, 3, 1, 2).float() / 255, camera) for camera in range(pixels.shape[1])], 1)


def _shifts(cameras, width):
    """A shift per camera that is to be learned; none where there is but one."""
    return nn.Parameter(torch.zeros(cameras, width)) if cameras > 1 else None


def _shifted(values, shifts, camera):
    return values if shifts is None else values + shifts[camera]
