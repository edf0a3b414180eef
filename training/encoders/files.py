"""An encoder on disk: encoder.json says how to build it, encoder.safetensors what it learnt."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from training.encoders import Encoder, build


def save_encoder(encoder: Encoder, folder: Path, *, name: str, config: dict[str, Any], size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: tensor.contiguous() for key, tensor in encoder.state_dict().items()}
    save_file(weights, folder / "encoder.safetensors")
    (folder / "encoder.json").write_text(json.dumps({"name": name, "config": config, "size": size}))


def load_encoder(folder: Path) -> Encoder:
    """The saved encoder, in evaluation mode."""
    encoder = build(**json.loads((folder / "encoder.json").read_bytes()))
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    return encoder.eval()
