"""The training loop: Lightning underneath, knowing no method.

Every draw is a pure function of (seed, step) or (seed, epoch, item), so a training that was killed and is started again
ends with the same weights, bit for bit.

    <folder>/curves.jsonl            one line per logged step; tensorboard/ holds the same
    <folder>/checkpoint-<step>/      while it trains
    <folder>/method.safetensors      when it is done: encoder, heads, everything
"""

import json
import logging
import math
import os
import resource
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal

import numpy as np
import pytorch_lightning as lightning
import torch
from pydantic import BaseModel, Field, ValidationError
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, Sampler

from enfold.errors import Diverged, WrongUse
from enfold.modalities import Arrays
from training import checkpoint, probes
from training.encoders import Encoder
from training.methods import Batch, Item, Method

Probe = Callable[[Encoder], dict[str, float]]
LOG_STEPS = 10

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


class TrainConfig(BaseModel, frozen=True, extra="forbid"):
    """How to train, whatever the method."""

    steps: int = Field(ge=1)
    batch: int = Field(64, ge=2)  # items
    lr: float = Field(5e-4, gt=0)
    lr_end: float = Field(1e-6, ge=0)  # cosine from lr to here
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
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(TrainConfig.model_fields)
        raise WrongUse(f"train.{'.'.join(map(str, first['loc']))}: {first['msg']}. Keys: {known}") from None


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
    return figures | {name: probed[-1][name] for name in ("knn_accuracy", "rankme", "feature_std", "collapsed")}


def _train(
    method: Method,
    items: Sequence[Item],
    config: TrainConfig,
    folder: Path,
    seed: int,
    probe: Probe | None,
    threads: int,
) -> None:
    if len(items) < config.batch:
        raise WrongUse(f"train.batch is {config.batch}, but there are only {len(items)} training items")
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    last = checkpoint.latest(folder)
    start = checkpoint.step_of(last) if last else 0
    loader = DataLoader(
        Examples(method, items, seed),
        batch_sampler=Batches(len(items), config.batch, seed, start),
        num_workers=config.workers,
    )
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
        trainer.fit(training, loader, ckpt_path=last)
    if training.average is not None:
        method.encoder.load_state_dict(training.average.module.state_dict())


class Training(lightning.LightningModule):
    """A method with its optimiser. Learning rate and weight decay are pure functions of the step."""

    def __init__(self, method: Method, config: TrainConfig, seed: int):
        super().__init__()
        self.method, self.config, self.seed = method, config, seed
        average = get_ema_multi_avg_fn(config.ema) if config.ema else None
        self.average = AveragedModel(method.encoder, multi_avg_fn=average, use_buffers=True) if average else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(self.seed * 2**32 + self.global_step)
        for group, (lr, weight_decay) in zip(self.optimizers().param_groups, self._rates(), strict=True):
            group["lr"], group["weight_decay"] = lr, weight_decay
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
        trained = {name: weight for name, weight in self.method.named_parameters() if weight.requires_grad}
        free = [name for name, weight in trained.items() if weight.ndim < 2 or name.endswith(("_embed", "_token"))]
        decayed = [weight for name, weight in trained.items() if name not in free]
        return torch.optim.AdamW([{"params": decayed}, {"params": [trained[name] for name in free]}], self.config.lr)

    def _rates(self) -> list[tuple[float, float]]:
        """(lr, weight decay) of the two groups at this step."""
        config, step = self.config, self.global_step
        end = config.weight_decay if config.weight_decay_end is None else config.weight_decay_end
        lr = learning_rate(config, step)
        return [(lr, cosine(config.weight_decay, end, step / config.steps)), (lr, 0.0)]


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear from 0 over the warm-up, then a cosine from lr to lr_end."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    return cosine(config.lr, config.lr_end, (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps))


def cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


class Watch(Callback):
    """Shows progress, writes curves and checkpoints, and probes, as training goes."""

    def __init__(self, config: TrainConfig, folder: Path, probe: Probe | None, start: int):
        self._config, self._folder, self._probe = config, folder, probe
        self._curves = folder / "curves.jsonl"
        self._keep_lines(start)
        self._since, self._steps = time.perf_counter(), 0
        columns = [TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[told]}")]
        self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=config.steps, completed=start, told="")

    def on_fit_start(self, trainer: Any, training: Any) -> None:
        self._bar.start()

    def teardown(self, trainer: Any, training: Any, stage: str) -> None:
        self._bar.stop()

    def on_exception(self, trainer: Any, training: Any, exception: BaseException) -> None:
        self._bar.stop()

    def on_train_batch_end(self, trainer: Any, training: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        config, step = self._config, trainer.global_step
        self._steps += 1
        self._bar.update(self._task, completed=step)
        last, probed = step == config.steps, step % config.probe_steps == 0
        if step % LOG_STEPS == 0 or probed or last:
            figures = self._figures(trainer, training)
            if self._probe is not None and (probed or last):
                figures |= self._look(training)
                training.log_dict({f"probe/{name}": float(value) for name, value in figures.items() if name != "step"})
            with self._curves.open("a") as curves:
                curves.write(json.dumps(figures) + "\n")
            told = f"loss {figures['loss']:.3f}, {figures['items_per_second']:,.0f} items/s"
            self._bar.update(self._task, told=told)
            self._since, self._steps = time.perf_counter(), 0
        if step % config.checkpoint_steps == 0 or last:
            trainer.save_checkpoint(self._folder / f"checkpoint-{step}")

    def _figures(self, trainer: Any, training: Any) -> dict[str, Any]:
        seconds = time.perf_counter() - self._since
        losses = {name: float(value) for name, value in trainer.callback_metrics.items() if "/" not in name}
        rate = self._steps * self._config.batch / seconds
        lr = training.optimizers().param_groups[0]["lr"]
        return {"step": trainer.global_step, **losses, "lr": lr, "items_per_second": round(rate, 1)}

    def _look(self, training: Any) -> dict[str, Any]:
        assert self._probe is not None
        figures: dict[str, Any] = self._probe(training.method.encoder)
        return figures | {"collapsed": probes.collapsed(figures)}

    def _keep_lines(self, start: int) -> None:
        """Drop what was logged after the checkpoint that training goes on from."""
        if self._curves.exists():
            lines = self._curves.read_text().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start]
            self._curves.write_text("".join(kept))


class Examples(Dataset[Arrays]):
    """(epoch, index) -> what the method makes of that item then."""

    def __init__(self, method: Method, items: Sequence[Item], seed: int):
        self._method, self._items, self._seed = method, items, seed

    def __getitem__(self, which: tuple[int, int]) -> Arrays:
        epoch, index = which
        return self._method.example(self._items[index], np.random.default_rng([self._seed, epoch, index]))


class Batches(Sampler[list[tuple[int, int]]]):
    """Endless batches of (epoch, index), from step `start` on: every epoch in another order, its rest left out."""

    def __init__(self, count: int, batch: int, seed: int, start: int):
        self._count, self._batch, self._seed, self._start = count, batch, seed, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch, step = self._count // self._batch, self._start
        while True:
            epoch, place = divmod(step, per_epoch)
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            yield [(epoch, int(i)) for i in order[place * self._batch : (place + 1) * self._batch]]
            step += 1


def _save(method: Method, path: Path) -> None:
    draft = path.with_suffix(".draft")
    save_file({name: tensor.contiguous() for name, tensor in method.state_dict().items()}, draft)
    os.replace(draft, path)


def _precision(wanted: str) -> Any:
    on_gpu = torch.cuda.is_available()
    has_bf16 = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if wanted == "bf16" or (wanted == "auto" and has_bf16) else "32-true"
