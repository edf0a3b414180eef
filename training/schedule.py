"""How to train, whatever the method: sizes, and the rates of every step."""

import math
from typing import Any, Literal

from pydantic import BaseModel, Field

from training.recipe import validated


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """How to train, whatever the method."""

    steps: int = Field(ge=1)
    batch: int = Field(64, ge=2)  # items
    lr: float = Field(5e-4, gt=0)
    lr_end: float = Field(1e-6, ge=0)  # from lr to here by the schedule
    schedule: Literal["cosine", "poly"] = "cosine"  # poly: the share of steps left to the power of 0.9
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd: with Nesterov's momentum
    momentum: float = Field(0.99, ge=0, lt=1)  # of sgd
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.05, ge=0)  # of matrices alone
    weight_decay_end: float | None = None  # cosine to here
    clip: float | None = Field(None, gt=0)  # gradient norm
    ema: float | None = Field(None, gt=0, lt=1)  # keep this average of the weights instead of the last
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the processor multiplies in it
    workers: int = Field(0, ge=0)  # processes that make examples
    probe_steps: int = Field(250, ge=1)
    checkpoint_steps: int = Field(100, ge=1)


def train_config(raw: dict[str, Any]) -> TrainConfig:
    """From a recipe's `train` table. Raises WrongUse naming the key."""
    config: TrainConfig = validated(TrainConfig, raw, "train")
    return config


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear from 0 over the warm-up, then from lr to lr_end by the schedule."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    if config.schedule == "poly":
        return config.lr_end + (config.lr - config.lr_end) * (1 - progress) ** 0.9
    return cosine(config.lr, config.lr_end, progress)


def cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
