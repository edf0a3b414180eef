"""contacts: a symmetric map without what is near along the chain, judged by its most probable pairs."""

import json
from pathlib import Path

import numpy as np
import pytest

from enfold.modalities.protein import Protein, ProteinPreprocess
from enfold.tasks import Prepared
from enfold.tasks.contacts import APART, Contacts, ContactsOptions, ContactsSpec, precision, touching

READER = Protein(ProteinPreprocess(max_residues=30, overlap=4))
TASK = Contacts(ContactsSpec(graph="contacts"), Path())


def graphs(name, inputs):
    """The nearer to the other end of the chain, the surer."""
    length = inputs["input_ids"].shape[1]
    place = np.arange(length)
    return {"out_contacts": -np.abs(place[:, None] + place - (length - 1))[None].astype(np.float32)}


def asked(sequence: str, **options):
    samples = [READER.prepare(READER.read(sequence))]
    return TASK.run(graphs, Prepared(samples, {}), ContactsOptions(**options))[0]


def test_the_map_is_symmetric_and_neighbours_are_left_out():
    answer = asked("M" * 20, top=3)
    found = np.array(answer.contacts)
    assert found.shape == (20, 20)
    np.testing.assert_array_equal(found, found.T)
    first, second = np.nonzero(found)
    assert np.abs(first - second).min() == APART
    assert [(one.first, one.second) for one in answer.pairs] == [(1, 20), (2, 19), (3, 18)]
    assert answer.pairs[0].probability == pytest.approx(0.5)
    assert asked("MKTAY").pairs == [], "of so short a chain nothing is said"


def test_a_chain_longer_than_the_encoder_takes_is_answered_for_its_beginning():
    answer = asked("M" * 50)
    assert len(answer.sequence) == len(answer.contacts) == 30


def test_precision_counts_the_fifth_of_the_length_that_is_surest():
    chances = np.array(asked("M" * 20).contacts)
    real = touching([[0, 19], [1, 18], [5, 6], [0, 40]], 20)
    assert (real == real.T).all()
    assert precision(chances, real, APART) == pytest.approx(2 / 4)  # (0, 19), (1, 18), (2, 17), (3, 16)
    assert precision(chances[:5, :5], real[:5, :5], APART) == 0


def test_it_is_measured_six_and_twelve_places_apart():
    answer = asked("M" * 20)
    told = json.dumps([[0, 19], [1, 18], [2, 17], [3, 16]])
    assert TASK.measure([answer], [told]) == {"precision": 1.0, "far_precision": 1.0}
    assert TASK.measure([answer], ["[[0, 6]]"]) == {"precision": 0.0, "far_precision": 0.0}
