"""Families of sequences, by the words that they share: what is held out of one is held out of all its members.

Sequences are joined where they have enough words (k-mers) in common, and so are those that a chain of such pairs
joins. Of unrelated proteins of 400 residues one pair in many thousands shares a single word of six; relatives of which
half the residues are the same share about five, and a chain finds what one pair misses. Knows nothing of files.
"""
# N sequences, W different words

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

WORD = 6  # residues
SHARED = 8  # different words: 13 residues in a row, or several runs of fewer


def families(sequences: Sequence[str], *, word: int = WORD, shared: int = SHARED) -> list[int]:
    """Of each of N sequences the index of the first that is of its family."""
    found = _shared_words(sequences, word).tocoo()
    near = found.data >= shared
    graph = coo_array((near[near], (found.row[near], found.col[near])), shape=found.shape)
    _, family = connected_components(graph, directed=False)
    first: list[int] = np.unique(family, return_index=True)[1][family].tolist()
    return first


def most_shared(sequences: Sequence[str], others: Sequence[str], *, word: int = WORD) -> int:
    """The most words that any of the sequences shares with any of the others."""
    found = _shared_words([*sequences, *others], word)
    return int(found[: len(sequences)][:, len(sequences) :].max())


def _shared_words(sequences: Sequence[str], word: int) -> csr_array:
    """How many different words each two have in common, [N, N], where there are any."""
    base = 256 ** np.arange(word)
    rows, words = [], []
    for row, sequence in enumerate(sequences):
        letters = np.frombuffer(sequence.encode(), np.uint8).astype(np.int64)
        if len(letters) >= word:
            own = np.unique(np.lib.stride_tricks.sliding_window_view(letters, word) @ base)
            rows.append(np.full(len(own), row))
            words.append(own)
    _, column, often = np.unique(np.concatenate(words), return_inverse=True, return_counts=True)
    holder, several = np.concatenate(rows), often[column] > 1  # what stands in one alone is shared by none
    places = holder[several], column[several]
    holds = csr_array((np.ones(several.sum(), np.int32), places), shape=(len(sequences), len(often)))
    return csr_array(holds @ holds.T)
