"""mutations: log-odds at places that are masked one by one, summed for several at once, best first."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import spearmanr

from enfold.errors import BadItem
from enfold.modalities.protein import MASK, STANDARD, Protein, ProteinPreprocess, tokens
from enfold.tasks import Prepared
from enfold.tasks.mutations import Mutations, MutationsOptions, MutationsSpec, rank_correlation, singles

READER = Protein(ProteinPreprocess(max_residues=20, overlap=8))
TASK = Mutations(MutationsSpec(graph="residues"), Path())
CHAIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPIL"


class Model:
    """Logits that depend on every token that is seen and on the place; it keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, name, inputs):
        ids = inputs["input_ids"]
        assert inputs["attention_mask"].all()
        self.seen += list(ids)
        seed = (ids * (1 + np.arange(ids.shape[1]))).sum(1)
        logits = np.sin(seed[:, None, None] * 0.1 + np.arange(ids.shape[1])[:, None] + np.arange(30) ** 2)
        return {"out_mutations": logits.astype(np.float32)}


def asked(sequence: str, model=None, **options):
    samples = [READER.prepare(READER.read(sequence), parts=True)]
    return TASK.run(model or Model(), Prepared(samples, {}), MutationsOptions(**options))[0]


def test_every_place_is_masked_once_alone_and_scored_against_what_stands_there():
    model, short = Model(), CHAIN[:18]
    answer = asked(short, model)
    assert answer.places == list(range(1, 19))
    assert len(model.seen) == 18
    whole = np.concatenate([[2], tokens(short), [3]])
    for place, (ids, row) in enumerate(zip(model.seen, answer.scores, strict=True), 1):
        masked = whole.copy()
        masked[place] = MASK
        np.testing.assert_array_equal(ids, masked)
        logits = Model()("", {"input_ids": masked[None], "attention_mask": np.ones((1, 20))})["out_mutations"][0, place]
        chances = np.exp(logits) / np.exp(logits).sum()
        wanted = np.log(chances[tokens(STANDARD)] / chances[whole[place]])
        np.testing.assert_allclose(row, wanted, atol=1e-4)
        assert row[STANDARD.index(short[place - 1])] == 0


def test_all_single_ones_are_ranked_and_the_top_is_named():
    answer = asked(CHAIN[:18], top=400)
    scores = [one.score for one in answer.mutations]
    assert len(answer.mutations) == len({one.mutation for one in answer.mutations}) == 18 * 19
    assert scores == sorted(scores, reverse=True)
    assert max(map(max, answer.scores)) == pytest.approx(scores[0], abs=1e-4)
    assert asked(CHAIN[:18], top=5).mutations == answer.mutations[:5]


def test_of_several_at_once_the_score_is_the_sum_and_only_their_places_are_masked():
    model = Model()
    answer = asked(CHAIN[:18], model, mutations=["M1L", "K8R", "M1L:K8R"])
    found = {one.mutation: one.score for one in answer.mutations}
    assert found["M1L:K8R"] == pytest.approx(found["M1L"] + found["K8R"])
    assert answer.places == [1, 8]
    assert len(model.seen) == 2


def test_in_a_long_chain_a_place_is_seen_in_the_middle_of_its_window():
    model = Model()
    answer = asked(CHAIN, model)
    assert answer.places == list(range(1, 38))
    where = [int(np.flatnonzero(ids == MASK)[0]) for ids in model.seen]
    assert where == [*range(1, 17), *range(5, 17), *range(5, 14)], "of windows that begin at 1, 13 and 25"
    assert [len(ids) for ids in model.seen] == [22] * 28 + [15] * 9


def test_letters_that_stand_for_several_residues_are_left_out_and_stay_as_they_are():
    model = Model()
    answer = asked("MKXAB", model)
    assert answer.places == [1, 2, 4]
    assert all(ids[3] == tokens("X")[0] for ids in model.seen)
    with pytest.raises(BadItem, match="residue 3 of the protein is X, not A"):
        asked("MKXAB", mutations=["A3G"])
    assert asked("XX").mutations == []


def test_what_is_no_mutation_is_refused_before_anything_runs():
    assert singles("a42g : L50P") == [("A", 42, "G"), ("L", 50, "P")]
    for wrong in ("", "A42", "42G", "A-2G", "A42GG", "A42G:A42P", "A42X", "J1G"):
        with pytest.raises(ValidationError):
            MutationsOptions(mutations=[wrong])


def test_it_is_measured_by_rank_correlation():
    answer = asked(CHAIN[:18], mutations=["M1L", "K2R", "T3A", "A4V", "Y5F"])
    order = [one.mutation for one in answer.mutations]
    falling = {name: -float(place) for place, name in enumerate(order)}
    assert TASK.measure([answer], [falling])["spearman"] == pytest.approx(1)
    assert TASK.measure([answer], [{order[0]: 1.0, order[1]: 5.0, "M9A": 7.0}])["spearman"] == pytest.approx(-1)
    assert TASK.measure([answer], [{}]) == {"spearman": 0.0}
    one, other = np.array([3.0, 1, 1, 2, 9, 9]), np.array([1.0, 0, 2, 2, 2, 4])
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
