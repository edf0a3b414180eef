"""Ridge regression on Morgan fingerprints, from the same items as the regression that the stage needs: the floor.

Counts of the surroundings of every atom, two bonds wide, in 2,048 places (Rogers and Hahn 2010, "Extended-Connectivity
Fingerprints"), as their logarithms; the penalty is the best on validation. It sees no place of an atom.
"""
# N molecules

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from enfold.errors import WrongUse
from training.adaptation.regress import training_items, truth, with_values
from training.data.dataset import Dataset
from training.evaluation import Subject
from training.recipe import Adapt

NEEDS_LABELS = False
RADIUS, BITS = 2, 2048
PENALTIES = (0.1, 1.0, 10.0, 100.0)


def evaluate(subject: Subject) -> dict[str, float]:
    """rmse and r2 of each value that the needed stage fits, named behind them where there are several."""
    assert subject.stage is not None
    stages = [one for one in subject.run.recipe.stage if isinstance(one, Adapt) and one.name in subject.stage.needs]
    if not stages:
        raise WrongUse(f"stage '{subject.stage.name}' compares with a regression: let it need that stage")
    names = stages[-1].config["units"]
    found: dict[str, float] = {}
    for name in names:
        splits = {
            "train": with_values(training_items(stages[-1], subject.run, subject), [name]),
            **{split: with_values(subject.data(split), [name]) for split in ("val", "test")},
        }
        seen = {split: fingerprints(data, subject) for split, data in splits.items()}
        values = {split: np.array([one[name] for one in truth(data, [name])]) for split, data in splits.items()}
        with threadpool_limits(1):
            tried = [Ridge(penalty).fit(seen["train"], values["train"]) for penalty in PENALTIES]
            best = max(tried, key=lambda model: model.score(seen["val"], values["val"]))
            apart = best.predict(seen["test"]) - values["test"]
        behind = f"_{name}" if len(names) > 1 else ""
        found[f"rmse{behind}"] = float(np.sqrt((apart**2).mean()))
        found[f"r2{behind}"] = float(best.score(seen["test"], values["test"]))
    return found


def fingerprints(data: Dataset, subject: Subject) -> np.ndarray:
    """[N, BITS]"""
    maker = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    values = (data.read(i, subject.modality) for i in range(len(data)))
    return np.log1p(np.stack([maker.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(one.smiles)) for one in values]))
