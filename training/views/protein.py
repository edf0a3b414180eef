"""A window of a chain, of a long one another piece each time: what a batch of chains has in common is its length."""
# L residues of a window at most, T = L + 2 tokens

import numpy as np

from enfold.modalities import Arrays
from enfold.modalities.protein import Chain, Protein, ProteinPreprocess, framed, tokens


def plain(value: Chain, rng: np.random.Generator, reader: Protein) -> Arrays:
    return random_window(value, rng, reader.preprocess)


def random_window(value: Chain, rng: np.random.Generator, preprocess: ProteinPreprocess) -> Arrays:
    """input_ids, attention_mask: int64 [T], padded."""
    return window(value, int(rng.integers(starts(value, preprocess))), preprocess)


def starts(value: Chain, preprocess: ProteinPreprocess) -> int:
    """How many windows there are."""
    return max(len(value.sequence) - preprocess.max_residues, 0) + 1


def window(value: Chain, start: int, preprocess: ProteinPreprocess) -> Arrays:
    """The one that begins with residue `start`."""
    ids = framed(tokens(value.sequence[start : start + preprocess.max_residues]))
    room = (0, preprocess.max_residues + 2 - len(ids))
    return {"input_ids": np.pad(ids, room), "attention_mask": np.pad(np.ones(len(ids), np.int64), room)}
