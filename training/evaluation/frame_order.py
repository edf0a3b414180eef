"""Whether a method's order head tells an observation, the one before and the one after from the last two exchanged.

All three are weak views, so that none can be told by how it was changed: chance is one half. Goulao and Oliveira 2022,
arXiv:2209.10901, whose six orders are not asked for: there, "the cropped one comes first" alone answers most.
"""

from typing import Any

import numpy as np
import torch

from enfold.modalities.video import normalize
from training.evaluation import Subject
from training.probes import features

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    """Of each class too, where items have one."""
    method: Any = subject.method
    data = subject.data("test")
    views = []
    for i in range(len(data)):
        rng = np.random.default_rng([subject.run.seed, i])
        before, now, after = method.observations(data.read(i, subject.run.modality), rng)
        views.append([normalize(method.weak(clip, rng)) for clip in (now, before, after)])
    encoded = features(method.encoder, {"video": np.concatenate(views)})
    three = torch.from_numpy(encoded).unflatten(0, (len(data), 3))  # [N, 3, D]
    with torch.inference_mode():
        right, exchanged = method.task_head(three), method.task_head(three[:, [0, 2, 1]])
    told = ((right < exchanged).float() + 0.5 * (right == exchanged).float()).numpy()
    of_class = {name: told[data.labels() == label] for label, name in enumerate(subject.classes)}
    return {"accuracy": float(told.mean()), **{name: float(own.mean()) for name, own in of_class.items() if len(own)}}
