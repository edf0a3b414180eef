"""Fine-tuning: the whole encoder with a linear head on its embedding, by cross-entropy on augmented views."""

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn
from torch.nn import functional as F

from enfold.modalities.image import ImagePreprocess
from training.encoders import Encoder
from training.evaluation import Subject
from training.methods import Batch, Item, Losses, Method
from training.views import image as views


class FineTuneConfig(BaseModel, frozen=True, extra="forbid"):
    crop_scale: tuple[float, float] = (0.5, 1.0)  # share of the image's area
    label_smoothing: float = 0.1


class FineTune(Method):
    """Encoder and head, trained together."""

    Config = FineTuneConfig

    def __init__(self, encoder: Encoder, num_classes: int, preprocess: ImagePreprocess):
        super().__init__(encoder, FineTuneConfig(), preprocess)
        self.head = nn.Linear(encoder.dim, num_classes)

    def example(self, item: Item, rng: np.random.Generator) -> dict[str, np.ndarray]:
        view = views.random_resized_crop(item.value, rng, size=self.preprocess.size, scale=self.config.crop_scale)
        view = views.random_flip(view, rng)
        return {"image": views.to_array(view, self.preprocess), "label": np.array(item.label)}

    def forward(self, batch: Batch) -> Losses:
        logits = self.head(self.encoder({"image": batch["image"]}).embedding)
        loss = F.cross_entropy(logits, batch["label"], label_smoothing=self.config.label_smoothing)
        return {"loss": loss}


def judge(tuner: FineTune, subject: Subject) -> dict[str, Any]:
    """Accuracy of the tuned head on validation and test."""
    return {
        f"{split}_accuracy" if split == "val" else "accuracy": _accuracy(tuner, subject, split)
        for split in ("val", "test")
    }


def _accuracy(tuner: FineTune, subject: Subject, split: str) -> float:
    with torch.inference_mode():
        logits = tuner.head.eval()(torch.from_numpy(subject.features(split)))
    return float((logits.argmax(1).numpy() == subject.labels(split)).mean())
