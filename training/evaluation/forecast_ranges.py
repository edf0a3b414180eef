"""Do the ranges of a forecast hold? The task itself answers, as a server would, in the middle of the test part.

coverage: the share of the values of so many steps that lie between the 10 % and the 90 % quantile, which should be 0.8.
"""

import numpy as np

from enfold import tasks
from enfold.modalities.series import Signal
from enfold.tasks import Prepared
from training.artefacts import needed_folder
from training.evaluation import Subject
from training.heads import load_head, run_by

NEEDS_LABELS = False
HORIZONS = (48, 168)
PLACES = (0.0, 0.2, 0.4)  # of the test part, at which a forecast begins


def evaluate(subject: Subject) -> dict[str, float]:
    assert subject.encoder is not None
    assert subject.stage is not None
    folder = needed_folder(subject.stage, subject.run, "head.json")
    saved = load_head(folder, subject.encoder)
    kind = tasks.get(saved.head.task)
    task = kind(kind.Spec(**saved.spec), folder)
    graphs = run_by(saved.head.graphs(subject.encoder, subject.prepared("test", 2)))
    data, modality, figures = subject.dataset.split("test"), subject.modality, {}
    for horizon in HORIZONS:
        answers, truth = [], []
        options = kind.Options(horizon=horizon, quantiles=[0.1, 0.9])
        for number, record in enumerate(data.records):
            values = data.read(number, modality).values
            starts = int(record.payload.get("starts", len(values) // 2))
            for share in PLACES:
                end = starts + int(share * (len(values) - starts))
                if np.isnan(values[:end]).all() or np.isnan(values[end : end + horizon]).all() or end < 2:
                    continue
                samples = modality.prepare(modality.read(values[:end]))
                answers += task.run(graphs, Prepared([samples], {}), options)
                truth.append(Signal(values[end : end + horizon]))
        figures[f"coverage_h{horizon}"] = task.measure(answers, truth)["coverage"]
    return figures
