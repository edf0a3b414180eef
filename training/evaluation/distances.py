"""How far from the truth a fitted head tells distances of atoms by bonds alone, answers made as a server makes them.

`mae` is in ångström over the pairs of a molecule, mean over the test split, against the geometry of its items;
`by_hops` what is usual at so many bonds is wrong by, as the training split has it.
"""
# n atoms

from pathlib import Path

import numpy as np

from enfold.errors import WrongUse
from enfold.tasks import Prepared
from enfold.tasks.relations import Relations, RelationsOptions, RelationsSpec, between, mean_error
from training.artefacts import needed_folder
from training.evaluation import Subject
from training.heads import load_head, run_by
from training.heads.distances import Distances

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    assert subject.encoder is not None
    assert subject.stage is not None
    saved = load_head(needed_folder(subject.stage, subject.run, "head.json"), subject.encoder)
    if not isinstance(saved.head, Distances):
        raise WrongUse(f"stage '{subject.stage.name}' judges distances: let it need a stage that fits them")
    data, reader = subject.data("test"), subject.modality
    graphs = run_by(saved.head.graphs(subject.encoder, subject.prepared("test", 2)))
    task, usual = Relations(RelationsSpec(**saved.spec), Path()), saved.head.mean.numpy()
    answers, truth, guesses = [], [], []
    for i in range(len(data)):
        samples = reader.prepare(data.read(i, reader))
        answers += task.run(graphs, Prepared([samples], {}), RelationsOptions())
        arrays, order = samples[0].arrays, np.argsort(samples[0].origin["numbers"])
        truth.append(between(arrays["places"][order]))
        guesses.append(usual[arrays["hops"][np.ix_(order, order)]])
    return {"mae": task.measure(answers, truth)["mae"], "by_hops": mean_error(guesses, truth)}
