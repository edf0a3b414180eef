"""How well hidden voxels are rebuilt, in decibels, beside what the mean and a blur of what is seen would put there.

Peak signal-to-noise ratios: of colour over hidden voxels that have one, of alpha over hidden voxels of the place.
"""
# N items, R voxels of a side

from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from enfold.modalities import Arrays
from training.evaluation import Subject
from training.methods.nerf_mae import SEEN, NeRFMAE, voxels

NEEDS_LABELS = False
WIDTHS = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0)  # voxels, of a blur; the best on validation is taken
BATCH = 8
_FILLED = 1e-3  # share of what a blur collects below which it knows nothing


def evaluate(subject: Subject) -> dict[str, float]:
    method: Any = subject.method
    assert isinstance(method, NeRFMAE)
    mean = means(subject.prepared("train"))
    hidden = {split: masks(method, len(subject.data(split)), subject.run.seed) for split in ("val", "test")}
    inputs = {split: subject.prepared(split) for split in ("val", "test")}
    scores: dict[str, list[dict[str, float]]] = {
        split: [
            quality(blurred(inputs[split], hidden[split], width, mean), inputs[split], hidden[split])
            for width in WIDTHS
        ]
        for split in ("val", "test")
    }
    best = {name: int(np.argmax([one[name] for one in scores["val"]])) for name in ("rgb", "alpha")}
    blur = {name: scores["test"][number][name] for name, number in best.items()}
    flat = np.broadcast_to(mean[:, None, None, None], inputs["test"]["radiance"].shape)
    found = {
        "": quality(rebuilt(method, inputs["test"], hidden["test"]), inputs["test"], hidden["test"]),
        "blur_": blur,
        "mean_": quality(flat, inputs["test"], hidden["test"]),
    }
    return {f"{kind}{name}": value for kind, figures in found.items() for name, value in figures.items()}


def masks(method: NeRFMAE, count: int, seed: int) -> np.ndarray:
    """Which voxels of each item are hidden, as in training: bool [N, R, R, R]."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return voxels(method.mask(count)).numpy()


def rebuilt(method: NeRFMAE, inputs: Arrays, hidden: np.ndarray) -> np.ndarray:
    """[N, 4, R, R, R]"""
    side = hidden.shape[1] // method.encoder.grid
    patches = torch.from_numpy(hidden[:, ::side, ::side, ::side].copy())
    grids = torch.from_numpy(inputs["radiance"])
    with torch.inference_mode():
        found = [
            method.rebuilt(grid, mask).numpy()
            for grid, mask in zip(grids.split(BATCH), patches.split(BATCH), strict=True)
        ]
    return np.concatenate(found)


def means(inputs: Arrays) -> np.ndarray:
    """Mean colour of voxels that have one and mean alpha of those of the place, [4]."""
    grids, alpha = inputs["radiance"], inputs["radiance"][:, 3]
    colour = [grids[:, channel][alpha > SEEN].mean() for channel in range(3)]
    return np.array([*colour, alpha[inputs["valid"] > 0].mean()], np.float32)


def blurred(inputs: Arrays, hidden: np.ndarray, width: float, mean: np.ndarray) -> np.ndarray:
    """What is seen, spread by a Gaussian; colours count by their alpha. Where nothing reaches, the mean."""
    seen = (~hidden & (inputs["valid"] > 0)).astype(np.float32)
    alpha = inputs["radiance"][:, 3]
    channels = []
    for channel in range(4):
        weight = seen * alpha if channel < 3 else seen
        reach = np.stack([gaussian_filter(one, width) for one in weight])
        total = np.stack([gaussian_filter(one, width) for one in weight * inputs["radiance"][:, channel]])
        channels.append(np.where(reach > _FILLED, total / np.maximum(reach, _FILLED), mean[channel]))
    return np.stack(channels, 1)


def quality(found: np.ndarray, inputs: Arrays, hidden: np.ndarray) -> dict[str, float]:
    """Decibels of colour and of alpha."""
    apart, alpha = (found - inputs["radiance"]) ** 2, inputs["radiance"][:, 3]
    coloured, place = hidden & (alpha > SEEN), hidden & (inputs["valid"] > 0)
    error = {"rgb": apart[:, :3].mean(1)[coloured].mean(), "alpha": apart[:, 3][place].mean()}
    return {name: float(-10 * np.log10(max(float(value), 1e-12))) for name, value in error.items()}
