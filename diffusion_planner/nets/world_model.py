"""Everything that is learned, in one module whose methods are the planner's verbs."""
import torch
from torch import nn

from diffusion_planner.layout import ModelConfig
from diffusion_planner.nets.denoiser import Denoiser
from diffusion_planner.nets.encoders import Decoder, Encoder
from diffusion_planner.nets.heads import FamiliarityHead, InverseDynamics, RewardHead, TransitionHead, perceptron
from diffusion_planner.nets.normalizer import Normalizer
from diffusion_planner.nets.strangeness import Strangeness

__all__ = ['ModelConfig', 'WorldModel']


class WorldModel(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.layout = config, config.layout
        joints = self.layout.joints
        self.normalizer = Normalizer(self.layout.width)
        if config.cameras:
            cameras = len(config.cameras)
            self.encoder, self.decoder = Encoder(config.latent, cameras=cameras), Decoder(config.latent, cameras)
            self.terminal_head = perceptron(self.layout.width, 64, 1)
        # Not by the sensors: what they feel at one instant says nothing of where another posture of the episode is rewarded.
        told_by = self.layout.cameras * config.latent if config.goal == 'pictures' else joints
        self.guide_head, self.judge_head = RewardHead(joints, told_by), RewardHead(joints, told_by)
        if config.panel:
            self.panel = nn.ModuleList(RewardHead(joints, told_by) for _ in range(config.panel))
        self.inverse_dynamics = InverseDynamics(joints)
        self.familiarity = FamiliarityHead(joints, octaves=config.familiarity_octaves)
        if config.transition:
            self.transition = TransitionHead(joints, config.transition_width)
        if config.genuineness:
            self.genuineness = TransitionHead(joints, width=96, octaves=3)
        if config.strangeness:
            self.strangeness = Strangeness(config.latent)
            if len(config.cameras) > 1:      # each camera shows another part of the world
                self.strangeness_of_others = nn.ModuleList(Strangeness(config.latent) for _ in config.cameras[1:])
        self.denoiser = Denoiser(self.layout.width, config.width, config.depth, config.heads)

    def guides(self):
        """Return the heads that guide; the judge is none of them."""
        return [self.guide_head, *(self.panel if self.config.panel else ())]

    def strangenesses(self):
        """Return what knows the pictures of play, per camera."""
        return [self.strangeness, *(self.strangeness_of_others if len(self.config.cameras) > 1 else ())]

    def encode_pictures(self, pixels, camera=0):
        """Encode pictures: encode_pictures(pixels [N, Y, X, 3] uint8, camera: a number or [N]) -> latent [N, Z], not normalised."""
        return self.encoder(pixels.permute(0, 3, 1, 2).float() / 255, camera)

    def decode_pictures(self, latent, camera=0):
        """Decode latents of one camera in network space: decode_pictures(latent [N, Z]) -> pixels [N, Y, X, 3] uint8."""
        own = self.layout.picture_of(camera)
        mean, spread = self.normalizer.mean[own], self.normalizer.spread[own]
        pixels = self.decoder(latent * spread + mean, camera)
        return (pixels.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)

    def denoise(self, noisy, level, offset_s):
        """denoise(noisy [B, T, D], level [B, T], offset_s [B, T]) -> clean [B, T, D]"""
        return self.denoiser(noisy, level, offset_s)
