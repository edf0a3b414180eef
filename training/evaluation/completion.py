"""How far hidden patches are found from those that are left, beside those left: attribute by attribute.

`copied_*` is the error of taking, for each hidden patch, the visible one whose centre is nearest: no learning at all.
"""
# N items, G patches, V visible and M hidden ones, K neighbours, C columns

from typing import Any

import numpy as np
import torch

from training.evaluation import Subject
from training.heads.completer import picked

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    method: Any = subject.method
    inputs = {name: torch.from_numpy(values) for name, values in subject.prepared("test").items()}
    centres, patches = inputs["centres"], inputs["patches"]
    rng = np.random.default_rng(subject.run.seed)
    order = torch.from_numpy(np.stack([rng.permutation(centres.shape[1]) for _ in range(len(centres))]))
    with torch.inference_mode():
        found = method.task_head(method.encoder, centres, patches, order)  # [N, M, K, C]
        M, K = found.shape[1:3]
        where, patches = picked(centres, order), picked(patches[:, :, :K], order)
        nearest = torch.cdist(where[:, -M:], where[:, :-M]).argmin(2)  # [N, M]
        copied = picked(patches, nearest)
        figures = method.errors(found, patches[:, -M:]), method.errors(copied, patches[:, -M:])
    return {name: float(value) for name, value in figures[0].items()} | {
        f"copied_{name}": float(value) for name, value in figures[1].items()
    }
