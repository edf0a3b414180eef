"""Five-way accuracy from ten labels of each: five classes at a time, the nearest of their class means names the class.

Vectors less the training mean, at length 1 (Wang et al. 2019, SimpleShot, arXiv:1911.04623).
"""
# N items, C classes, D features

import numpy as np

from enfold.errors import WrongUse
from enfold.model import unit
from training.evaluation import Subject
from training.evaluation.simpleshot import distances, prototypes

NEEDS_LABELS = True
WAYS, SHOTS = 5, 10
EPISODES = 200


def evaluate(subject: Subject) -> dict[str, float]:
    labels, truth = subject.labels("train"), subject.labels("test")
    known = [label for label in np.unique(truth) if (labels == label).sum() >= SHOTS]
    if len(known) < WAYS:
        raise WrongUse(
            f"few_way takes {WAYS} classes of {SHOTS} training items; '{subject.dataset.name}' has {len(known)}"
        )
    train, test = unit(subject.centred("train")), unit(subject.centred("test"))
    scores = []
    for episode in range(EPISODES):
        rng = np.random.default_rng([subject.run.seed, episode])
        ways = np.sort(rng.choice(known, WAYS, replace=False))
        few = np.concatenate([rng.choice(np.flatnonzero(labels == way), SHOTS, replace=False) for way in ways])
        asked = np.isin(truth, ways)
        answers = ways[distances(test[asked], prototypes(train[few], labels[few])).argmin(1)]
        scores.append(float((answers == truth[asked]).mean()))
    return {"accuracy": float(np.mean(scores)), "deviation": float(np.std(scores))}
