"""Checks this installation: versions, extras, settings, packages of the same name, room on disk."""

import importlib.util
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from enfold import settings

_EXTRAS = {
    "cpu": "onnxruntime",
    "text": "tokenizers",
    "train": "torch",
    "serve": "bentoml",
    "batch": "umap",
    "app": "streamlit",
    "triton": "tritonclient",
}
_ROOMS = ("enfold", "training", "export", "serving", "app")


def doctor() -> dict[str, Any]:
    """What is installed, what is set, and anything that looks wrong."""
    config = settings.load()
    root = Path(__file__).parents[1]
    return {
        "enfold": version("enfold"),
        "python": platform.python_version(),
        "extras": {extra: _version(module) for extra, module in _EXTRAS.items()},
        "settings": {name: str(getattr(config, name)) for name in type(config).model_fields},
        "disk_free_gb": round(shutil.disk_usage(_existing(config.home)).free / 2**30, 1),
        "problems": [
            f"'{room}' is imported from elsewhere: {where}" for room in _ROOMS if (where := _foreign(room, root))
        ],
    }


def _version(module: str) -> str:
    if importlib.util.find_spec(module) is None:
        return "not installed"
    try:
        return version({"umap": "umap-learn"}.get(module, module))
    except PackageNotFoundError:
        return "installed"


def _foreign(room: str, root: Path) -> str | None:
    """Where a room comes from when it is not this distribution's own."""
    spec = importlib.util.find_spec(room)
    if spec is None or spec.origin is None or Path(spec.origin).is_relative_to(root):
        return None
    return spec.origin


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
