"""One molecule by its bonds, by its places, or by both: what training on labels sees, so that any of them will do."""

from dataclasses import replace

import numpy as np

from enfold.modalities import Arrays
from enfold.modalities.molecule import Molecule, MoleculePreprocess, Structure, Views

ALL: tuple[Views, ...] = ("both", "2d", "3d")


def plain(value: Structure, rng: np.random.Generator, reader: Molecule) -> Arrays:
    """As the encoder takes it, padded; which views is drawn where there are both."""
    preprocess = reader.preprocess
    both = preprocess.views == value.views == "both" and value.places is not None
    seen = replace(value, views=ALL[rng.integers(3)]) if both else value
    return filled(reader.prepare(seen)[0].arrays, preprocess)


def filled(arrays: Arrays, preprocess: MoleculePreprocess) -> Arrays:
    """With as many rows as the encoder takes atoms, the last of them noughts."""
    room = preprocess.max_atoms - len(arrays["atoms"])
    return {name: np.pad(one, [(0, room), *[(0, 0)] * (one.ndim - 1)]) for name, one in arrays.items()}
