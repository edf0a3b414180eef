"""The training loop: Lightning underneath, knowing no method.

Every draw is a pure function of (seed, step) or (seed, epoch, item), so a training that was killed and is started again
ends with the same weights, bit for bit.

    <folder>/curves.jsonl            one line per logged step; tensorboard/ holds the same
    <folder>/checkpoint-<step>/      while it trains
    <folder>/method.safetensors      when it is done: encoder, heads, everything
"""

import json
import logging
import os
import resource
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytorch_lightning as lightning
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from safetensors.torch import load_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from enfold.errors import Diverged, WrongUse
from training import checkpoint
from training.batches import Batches, Examples
from training.methods import Batch, Item, Method, Turn
from training.schedule import TrainConfig, cosine, learning_rate
from training.watch import LOG_STEPS, Probe, Watch

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


def fit(
    method: Method,
    items: Sequence[Item],
    config: TrainConfig,
    folder: Path,
    *,
    seed: int,
    probe: Probe | None,
    threads: int,
) -> dict[str, Any]:
    """Train `method` on `items`, or go on where `folder` stopped; it ends with the trained weights. Returns figures."""
    final = folder / "method.safetensors"
    if not final.exists():
        _train(method, items, config, folder, seed, probe, threads)
        _save(method, final)
        for path in folder.glob("checkpoint-*"):
            shutil.rmtree(path)
    method.load_state_dict(load_file(final))
    return summary(folder / "curves.jsonl")


def summary(curves: Path) -> dict[str, Any]:
    """Figures of a finished training, from its curves."""
    lines = [json.loads(line) for line in curves.read_text().splitlines()]
    probed = [line for line in lines if "rankme" in line]
    figures = {
        "steps": lines[-1]["step"],
        "loss": mean(line["loss"] for line in lines[-5:]),
        "items_per_second": median(line["items_per_second"] for line in lines),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    if not probed:
        return figures
    looked = ("knn_accuracy", "rankme", "feature_std", "collapsed")
    return figures | {name: probed[-1][name] for name in looked if name in probed[-1]}


def _train(
    method: Method,
    items: Sequence[Item],
    config: TrainConfig,
    folder: Path,
    seed: int,
    probe: Probe | None,
    threads: int,
) -> None:
    method.train()
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    last = checkpoint.latest(folder)
    start = checkpoint.step_of(last) if last else 0
    sampler = method.sampler(items, config.batch, seed, start)
    if sampler is None and len(items) < config.batch:
        raise WrongUse(f"train.batch is {config.batch}, but there are only {len(items)} training items")
    sampler = sampler or Batches(len(items), config.batch, seed, start)
    loader = DataLoader(Examples(method, items, seed), batch_sampler=sampler, num_workers=config.workers)
    trainer = lightning.Trainer(
        max_steps=config.steps,
        limit_train_batches=config.steps,
        accelerator="auto",
        devices=1,
        precision=_precision(config.precision),
        gradient_clip_val=config.clip,
        callbacks=[Watch(config, folder, probe, start)],
        logger=TensorBoardLogger(folder, name=None, version="tensorboard"),
        log_every_n_steps=LOG_STEPS,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        plugins=[checkpoint.SafeCheckpointIO()],
        num_sanity_val_steps=0,
    )
    training = Training(method, config, seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*dataloader is not resumable")  # it starts at the right step
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=".*(isinstance.treespec|smaller than the logging interval)")
        warnings.filterwarnings("ignore", message="Found .* in eval mode")  # what a method freezes
        trainer.fit(training, loader, ckpt_path=last)
    if training.average is not None:
        method.encoder.load_state_dict(training.average.module.state_dict())


WHOLE = Turn("", ("",))  # of a method without turns


class Training(lightning.LightningModule):
    """A method with its optimiser. Learning rate, weight decay and whose turn it is are pure functions of the step."""

    def __init__(self, method: Method, config: TrainConfig, seed: int):
        super().__init__()
        self.method, self.config, self.seed = method, config, seed
        self.turns = method.turns()
        average = get_ema_multi_avg_fn(config.ema) if config.ema else None
        self.average = AveragedModel(method.encoder, multi_avg_fn=average, use_buffers=True) if average else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(self.seed * 2**32 + self.global_step)
        lr, weight_decay = self._rates()
        for group in self.optimizers().param_groups:
            group["lr"] = lr * group["lr_factor"]
            group["weight_decay"] = weight_decay if group["decays"] else 0.0
        if self.turns:
            order = [turn for turn in self.turns for _ in range(turn.steps)]
            self.method.take(order[self.global_step % len(order)])
        losses = self.method(batch)
        if not torch.isfinite(losses["loss"]):
            raise Diverged(
                f"the loss became {losses['loss'].item()} at step {self.global_step}: lower train.lr "
                f"({self.config.lr}), set train.clip, or train in train.precision=fp32"
            )
        self.log_dict(losses)
        return losses["loss"]

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """One step and what follows it: all of it before a checkpoint can be written."""
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            self.average.update_parameters(self.method.encoder)
        self.method.after_step((self.global_step + 1) / self.config.steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One for all turns: it leaves alone what has no gradient, moments and step counts included."""
        groups = [group for turn in self.turns or (WHOLE,) for group in self._groups(turn)]
        config = self.config
        if config.optimizer == "sgd":
            return torch.optim.SGD(groups, config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
        return torch.optim.AdamW(groups, config.lr)

    def _groups(self, turn: Turn) -> list[dict[str, Any]]:
        """A turn's weights that decay, and the others."""
        named = self.method.named_parameters()
        trained = {name: weight for name, weight in named if weight.requires_grad and name.startswith(turn.parts)}
        free = [name for name, weight in trained.items() if weight.ndim < 2 or name.endswith(("_embed", "_token"))]
        decayed = [weight for name, weight in trained.items() if name not in free]
        shared = {"lr_factor": turn.lr_factor} | ({"betas": turn.betas} if self.config.optimizer == "adamw" else {})
        return [
            {"params": decayed, "decays": True, **shared},
            {"params": [trained[name] for name in free], "decays": False, **shared},
        ]

    def _rates(self) -> tuple[float, float]:
        """Learning rate and weight decay at this step."""
        config, step = self.config, self.global_step
        end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
        return learning_rate(config, step), cosine(config.weight_decay, end, step / config.steps)


def _save(method: Method, path: Path) -> None:
    draft = path.with_suffix(".draft")
    checkpoint.write_tensors({name: tensor.contiguous() for name, tensor in method.state_dict().items()}, draft)
    os.replace(draft, path)


def _precision(wanted: str) -> Any:
    on_gpu = torch.cuda.is_available()
    has_bf16 = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if wanted == "bf16" or (wanted == "auto" and has_bf16) else "32-true"
