"""What the text modality reads, how long documents become windows, and what is refused."""

import numpy as np
import pytest

from enfold.errors import BadItem, TooLarge
from enfold.model import Model


@pytest.fixture
def model(text_bundle):
    return Model(text_bundle)


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_empty_text_is_refused(model, text):
    with pytest.raises(BadItem, match="empty"):
        model.embed([text])


def test_a_megabyte_of_text_is_refused_with_the_limit(model):
    with pytest.raises(TooLarge, match="200,000"):
        model.embed(["a" * 1_000_000])


def test_a_lone_surrogate_is_refused(model):
    with pytest.raises(BadItem, match="surrogate at character 2"):
        model.embed(["a \ud800 b"])


def test_bytes_that_are_not_utf8_are_refused(model):
    with pytest.raises(BadItem, match="byte 0"):
        model.embed([b"\xff\xfe"])


def test_composed_and_decomposed_letters_are_one_text(model):
    assert model.modalities["text"].read("e\u0301") == "é"


def test_a_long_text_is_cut_or_windowed(model):
    text = "red cat sat " * 10
    assert len(model.embed([text]).vectors) == 1
    whole = model.embed([text], parts=True)
    assert len(whole.vectors) == 5  # 30 tokens, windows of 8 that share 2
    assert [part.index for part in whole.parts] == [0, 1, 2, 3, 4]
    assert whole.parts[0].start == 0
    assert whole.parts[-1].end == len(text.rstrip())
    for left, right in zip(whole.parts, whole.parts[1:], strict=False):
        assert right.start < left.end


def test_a_short_text_has_no_part(model):
    assert model.embed(["red cat"], parts=True).parts == [None]


def test_padding_does_not_change_a_vector(model):
    alone = model.embed(["red"]).vectors
    beside = model.embed(["red", "a cat sat a dog ran"]).vectors[:1]
    np.testing.assert_allclose(alone, beside, atol=1e-6)
