"""How often the class name that an item of the test split is nearest to is its own; a text encoder learnt beside."""

from pathlib import Path

from enfold.tasks import Prepared
from enfold.tasks.zero_shot import ZeroShot, ZeroShotOptions, ZeroShotSpec
from training.evaluation import Subject

NEEDS_LABELS = True


def evaluate(subject: Subject) -> dict[str, float]:
    task, names = ZeroShot(ZeroShotSpec(entry="text"), Path()), [name.replace("-", " ") for name in subject.classes]
    encoded, beside = ({"out_embedding": found} for found in (subject.features("test"), subject.text_features(names)))
    answers = task.run(lambda graph, inputs: {}, Prepared([], encoded, beside), ZeroShotOptions(labels=names))
    figures = task.measure(answers, [names[label] for label in subject.labels("test")])
    return {name: figures[name] for name in ("accuracy", "macro_f1")}
