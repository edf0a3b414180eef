"""Images painted for the captions of the test split, as another encoder sees them: like real ones, and as told?

The stage needs a pretraining with a generator and, after it, one that fitted an encoder with a head to labels: the
feature net, so that figures compare only with those of the same net. Distances between features are FID (Heusel et al.
2017, arXiv:1706.08500), called FID-small for its net, and KID (Binkowski et al. 2018, arXiv:1801.01401).
"""
# N items, D features, P pixels, H W height and width

from typing import Any

import numpy as np
import torch
from scipy.linalg import sqrtm
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.metrics.pairwise import polynomial_kernel

from training.artefacts import needed_folder
from training.evaluation import Subject
from training.evaluation.caption_retrieval import distinct, recall
from training.heads import load_head
from training.heads.classifier import ClassifyHead, logits_of
from training.probes import BATCH, feature_std, features

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    assert subject.encoder is not None
    assert subject.stage is not None
    saved = load_head(needed_folder(subject.stage, subject.run, "head.json"), subject.encoder)
    assert isinstance(saved.head, ClassifyHead)
    captions, modality = subject.captions("test"), subject.run.modality
    fakes = modality.collate([modality.prepare(image)[0] for image in painted(subject, captions)])
    real, fake = subject.features("test"), features(subject.encoder, fakes)
    told = np.array([subject.classes.index(label) for label in saved.spec["labels"]])[
        logits_of(saved.head, fake).argmax(1)
    ]
    texts, right = distinct(captions)
    seen = np.concatenate([array.reshape(len(array), -1) for array in fakes.values()], axis=1)  # [N, P]
    return {
        "kid": kid(real, fake),
        "fid_small": fid(real, fake),
        "class_accuracy": float((told == subject.labels("test")).mean()),
        "r_precision": recall(features(subject.method.encoder, fakes), subject.text_features(texts), right, 1),
        "nearest_training_image": nearest(seen, subject.pixels("train")),
        "nearest_training_image_of_real": nearest(subject.pixels("test"), subject.pixels("train")),
        "feature_std": feature_std(fake),
        "feature_std_of_real": feature_std(real),
    }


def painted(subject: Subject, captions: list[str]) -> np.ndarray:
    """An image for each caption, uint8 [N, H, W, 3]."""
    method: Any = subject.method
    chance = torch.Generator().manual_seed(subject.run.seed)
    images = []
    for at in range(0, len(captions), BATCH):
        inputs = subject.text_inputs(captions[at : at + BATCH])
        with torch.inference_mode():
            text = method.text_encoder({name: torch.from_numpy(array) for name, array in inputs.items()})
            noise = torch.randn(len(text.embedding), method.config.noise, generator=chance)
            images.append(method.generator(noise, text.embedding, text.tokens, text.token_mask))
    pixels = (torch.cat(images).permute(0, 2, 3, 1) + 1) * 127.5  # [N, H, W, 3]
    return pixels.round().to(torch.uint8).numpy()


def kid(real: np.ndarray, fake: np.ndarray) -> float:
    """Squared distance of two sets of features [N, D] under a cubic kernel, without bias: about 0 if they are alike."""
    among = [polynomial_kernel(one, degree=3, coef0=1) for one in (real, fake)]
    within = [(kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in among]
    return float(sum(within) - 2 * polynomial_kernel(real, fake, degree=3, coef0=1).mean())


def fid(real: np.ndarray, fake: np.ndarray) -> float:
    """Distance of two normal distributions fitted to features [N, D]."""
    covariances = [np.cov(one, rowvar=False) for one in (real, fake)]
    shared = np.trace(sqrtm(covariances[0] @ covariances[1]).real)
    return float(((real.mean(0) - fake.mean(0)) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * shared)


def nearest(images: np.ndarray, training: np.ndarray) -> float:
    """Root mean square difference to the nearest training image, the mean over images [N, P]: 0 = learnt by heart."""
    return float(pairwise_distances_argmin_min(images, training)[1].mean() / np.sqrt(images.shape[1]))
