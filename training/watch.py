"""What is seen of a training while it runs: progress, curves, probes, checkpoints. Changes nothing in it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training import probes
from training.encoders import Encoder
from training.schedule import TrainConfig

Probe = Callable[[Encoder], dict[str, float]]
LOG_STEPS = 10


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
