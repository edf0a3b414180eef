"""AUC on columns that were never trained on: a classifier learns from half of a table's columns, and sees the others.

The first half in the table's order is learnt from, on three hundred rows, from the encoder that is judged; numbers
keep the ranges of the whole data set. `auc` is of test rows with the second half alone, `overlapping_auc` of such as
have the second and the third quarter, beside what boosting and logistic regression make of the columns in common.
"""

import numpy as np

from training.evaluation import Subject
from training.evaluation.few_rows import auc, drawn, dull, fine_tune, tables

NEEDS_LABELS = True
ROWS, EPOCHS = 300, 20


def evaluate(subject: Subject) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for name, splits in tables(subject):
        columns = list(splits["train"].values[0])
        half, quarter = len(columns) // 2, len(columns) // 4
        seen, common = columns[:half], columns[quarter:half]
        few = drawn(splits["train"], ROWS, subject.run.seed).of(seen)
        tuned = fine_tune(subject, few, splits["val"].of(seen), epochs=EPOCHS)
        test = splits["test"]
        scores = {
            "auc": tuned.scores(test.of(columns[half:])),
            "overlapping_auc": tuned.scores(test.of(columns[quarter : half + quarter])),
            "known_auc": tuned.scores(test.of(seen)),
        }
        scores[f"{name}_auc"] = scores["auc"]
        for way, shared in dull(few.of(common), test.of(common)).items():
            scores[f"overlapping_{way}auc"] = shared
        for figure, values in scores.items():
            found.setdefault(figure, []).append(auc(test.truth, values))
    return {figure: float(np.mean(values)) for figure, values in found.items()}
