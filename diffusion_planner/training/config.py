"""What a training run is: one YAML file, loaded strictly."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage's budget: optimiser steps, batch size and peak learning rate (cosine decay after a short warm-up)."""

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 200


@dataclass(frozen=True)
class ModelShape:
    latent: int = 32
    width: int = 144
    depth: int = 4
    heads: int = 4
    context_offset_s: tuple[float, ...] = (-1.2, -0.4, 0.0)
    horizon_s: float = 4.0


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a run needs but the data: see config/panda_reach.yaml for what each key does."""

    robot: str
    model: ModelShape
    representation: Stage
    heads: Stage
    familiarity: Stage
    denoiser: Stage
    panel: Stage = Stage(2500, 512, 1e-3)
    transition: Stage = Stage(4000, 1024, 1e-3)
    genuineness: Stage = Stage(2000, 1024, 1e-3)
    flaw: Stage = Stage(2000, 512, 1e-3)
    held_out_share: float = 0.05
    picture_stride: int = 2
    fill_in_counts: tuple[int, ...] = (0, 0, 1, 5, 11, 11)
    ema_decay: float = 0.999
    checkpoint_every: int = 500
    seed: int = 0
    threads: int = 2
