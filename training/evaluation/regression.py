"""A fitted head's values on the test split, items seen as the stage's preprocessing says: rmse, mae, r2, coverage."""

from training.adaptation.regress import judged, with_values
from training.artefacts import needed_folder
from training.evaluation import Subject
from training.heads import load_head

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    assert subject.encoder is not None
    assert subject.stage is not None
    saved = load_head(needed_folder(subject.stage, subject.run, "head.json"), subject.encoder)
    test = with_values(subject.data("test"), saved.spec["names"])
    return judged(saved, subject.encoder, test, subject.run)
