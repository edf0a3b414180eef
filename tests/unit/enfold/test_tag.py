"""tag: a label for every residue, also of a chain that is read in windows."""

from pathlib import Path

import numpy as np
import pytest

from enfold.errors import WrongUse
from enfold.modalities.protein import Protein, ProteinPreprocess, tokens
from enfold.tasks import Prepared
from enfold.tasks.tag import Tag, TagOptions, TagSpec
from tests.examples import PEPTIDE

READER = Protein(ProteinPreprocess(max_residues=10, overlap=4))
STATES = {"H": "helix", "E": "strand", "C": "coil"}
TASK = Tag(TagSpec(graph="tag", labels=STATES), Path())


def graphs(name, inputs):
    """Lysine is a helix, tryptophan a strand, all else coil; what stands at a window's ends is never sure."""
    ids = inputs["input_ids"]
    logits = np.zeros((*ids.shape, 3), np.float32)
    logits[..., 2] = 1
    logits[ids == tokens("K")[0], 0] = 9
    logits[ids == tokens("W")[0], 1] = 9
    return {"out_tag": logits}


def asked(*sequences: str):
    samples = [READER.prepare(READER.read(one), parts=TASK.parts(TagOptions())) for one in sequences]
    return TASK.run(graphs, Prepared(samples, {}), TagOptions())


def test_every_residue_has_a_label_and_chances_that_sum_to_one():
    short, long = asked("MKW", PEPTIDE)
    assert (short.sequence, short.tags) == ("MKW", "CHE")
    assert long.sequence == PEPTIDE
    assert long.tags == "".join({"K": "H", "W": "E"}.get(letter, "C") for letter in PEPTIDE)
    for answer in (short, long):
        assert np.array(answer.probabilities).shape == (len(answer.sequence), 3)
        np.testing.assert_allclose(np.sum(answer.probabilities, axis=1), 1, atol=2e-4)


def test_where_windows_overlap_their_chances_are_averaged():
    def by_place(name, inputs):
        """Sure of a helix in the first window, of a strand in the second."""
        ids = inputs["input_ids"]
        logits = np.full((*ids.shape, 3), -20, np.float32)
        logits[..., 0 if ids[0, 1] == tokens("M")[0] else 1] = 20
        return {"out_tag": logits}

    samples = [READER.prepare(READER.read("MAAAAAAAAAAAAA"), parts=True)]  # 0-10 and 6-14
    [answer] = TASK.run(by_place, Prepared(samples, {}), TagOptions())
    assert answer.probabilities[5] == [1, 0, 0]
    assert answer.probabilities[7] == [0.5, 0.5, 0]
    assert answer.probabilities[12] == [0, 1, 0]


def test_it_is_measured_over_residues_and_over_chains():
    answers = asked("MK", "WWWW")  # CH, EEEE
    figures = TASK.measure(answers, ["HH", "EEEC"])
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["chain_accuracy"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert figures["f1_E"] == pytest.approx(2 * 3 / 7)
    assert TASK.measure(answers, ["?H", "EEE?"])["accuracy"] == 1.0, "what is not known is passed over"
    with pytest.raises(WrongUse, match="a chain of 2 residues has 3 true tags"):
        TASK.measure(answers, ["HHH", "EEEC"])
