"""Fine-tuning to detection: the whole encoder with a head of boxes, on places whose things have boxes beside them.

As Irshad et al. 2024 (NeRF-MAE), arXiv:2404.01300, fine-tune; losses are FCOS's (`training.blocks.anchor_free`).
"""

from typing import Any

import numpy as np
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.radiance import Radiance
from enfold.tasks.detect import Truth
from training.adaptation import Tuner, tune
from training.blocks.anchor_free import apart, focal, targets
from training.evaluation import Subject
from training.heads.boxes import Boxes, BoxesConfig
from training.methods import Batch, Item, Losses
from training.recipe import Adapt
from training.run import Run
from training.views import radiance as views

TAKES_SIDES = True  # column `boxes` beside the item


class Detector(Tuner):
    Config = BoxesConfig
    config: BoxesConfig
    head: Boxes

    def __init__(self, encoder: Any, config: BoxesConfig, preprocess: Any):
        super().__init__(encoder, config, preprocess)
        self.head = Boxes(encoder, config)
        self.reader = Radiance(preprocess)

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """The encoder's inputs, and of every cell its label, box and how central it is."""
        [sample] = self.reader.prepare(item.value)
        boxes, labels = self._truth(item, sample.origin["corner"], sample.origin["spacing"])
        values, boxes = views.random_turn(views.cropped(sample.arrays["radiance"], sample.arrays["valid"]), boxes, rng)
        label, box, central = targets(boxes, labels, self.head.cells.numpy(), self.head.side)
        return {**views.filled(values, self.preprocess.size), "label": label, "box": box, "central": central}

    def forward(self, batch: Batch) -> Losses:
        inputs = {name: batch[name] for name in ("radiance", "valid")}
        label, box, central = self.head(self.encoder(inputs).features)
        own = batch["label"] >= 0
        weight, count = batch["central"][own], own.sum().clamp(min=1)
        classes = focal(label, batch["label"]) / count
        boxes = (apart(box[own], batch["box"][own]) * weight).sum() / weight.sum().clamp(min=1e-6)
        middle = F.binary_cross_entropy_with_logits(central[own], weight, reduction="sum") / count
        return {"loss": classes + boxes + middle, "classes": classes, "boxes": boxes, "central": middle}

    def _truth(self, item: Item, corner: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [M, 6] in voxels, and positions of their labels in the config's [M]."""
        things = Truth.validate_json(item.side("boxes"))
        for thing in things:
            if thing.label not in self.config.labels or thing.yaw:
                raise WrongUse(
                    f"item {item.index} has a box of '{thing.label}' turned by {thing.yaw:g}: detect takes boxes "
                    f"along the axes, of {', '.join(self.config.labels)}"
                )
        numbers = np.array([[*thing.centre, *thing.size] for thing in things]).reshape(-1, 6)
        numbers[:, :3] -= corner
        return numbers / side, np.array([self.config.labels.index(thing.label) for thing in things], np.int64)


def adapt(stage: Adapt, run: Run, subject: Subject) -> dict[str, Any]:
    return tune(Detector, stage, run, subject)
