"""Checkpoints without pickle: tensors in safetensors, everything else in JSON, whole or not there.

<folder>/checkpoint-<step>/   tensors.safetensors, state.json
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from enfold.errors import Unavailable


def write_tensors(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """safetensors. Raises Unavailable where there is no room for them."""
    try:
        save_file(tensors, file)
    except (OSError, SafetensorError) as error:
        raise Unavailable(
            f"{file} cannot be written ({error}): make room, then the same command goes on from the last checkpoint"
        ) from None


def latest(folder: Path) -> Path | None:
    """The checkpoint of the highest step."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of)
    return found[-1] if found else None


def step_of(path: Path) -> int:
    return int(path.name.partition("-")[2])


class SafeCheckpointIO(CheckpointIO):
    """Writes a draft and renames it, then deletes older ones: a kill at any moment leaves a whole checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        draft = path.with_name("draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        tensors: dict[str, torch.Tensor] = {}
        plain = _plain(checkpoint, tensors)
        write_tensors(tensors, draft / "tensors.safetensors")
        (draft / "state.json").write_text(json.dumps(plain))
        os.rename(draft, path)
        for older in path.parent.glob("checkpoint-*"):
            if step_of(older) < step_of(path):
                shutil.rmtree(older)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        tensors = load_file(Path(path) / "tensors.safetensors")
        state = json.loads((Path(path) / "state.json").read_bytes())
        restored: dict[str, Any] = _restored(state, tensors)
        return restored

    def remove_checkpoint(self, path: Any) -> None:
        shutil.rmtree(path)


def _plain(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON for `value`: a tensor becomes its number in `tensors`, a dict a list of pairs (keys may be numbers)."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()  # a clone: safetensors refuses shared memory
        return {"tensor": name}
    if isinstance(value, dict):
        return {"pairs": [[_plain(key, tensors), _plain(inner, tensors)] for key, inner in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(inner, tensors) for inner in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds tensors, numbers, texts, lists and dicts, not {type(value).__name__}")


def _restored(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(inner, tensors) for inner in value]
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {_restored(key, tensors): _restored(inner, tensors) for key, inner in value["pairs"]}
    return value
