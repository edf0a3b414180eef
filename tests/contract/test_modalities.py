"""One suite for every modality that enfold/modalities holds: what the rest of the house takes for granted of each."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from enfold import modalities
from enfold.client import json_item
from enfold.errors import BadItem, TooLarge
from tests.examples import examples, reader

MODALITIES = pytest.mark.parametrize("name", modalities.names())


@MODALITIES
def test_every_suffix_has_an_example_and_one_owner(name):
    assert set(examples(name).files) == set(modalities.suffixes(name))
    owners = Counter(suffix for other in modalities.names() for suffix in modalities.get(other).media_types)
    assert max(owners.values()) == 1
    for suffix in modalities.suffixes(name):
        assert modalities.of_path(f"Some.File{suffix.upper()}", among=[name]) == name
    for suffix in modalities.get(name).shared_types:
        assert modalities.of_path(f"a{suffix}") != name, "a shared suffix is another's by default, or nobody's"


@MODALITIES
def test_bytes_path_and_json_are_one_item(name, tmp_path):
    modality = reader(name, tmp_path)
    for suffix, data in examples(name).files.items():
        path = tmp_path / f"item{suffix}"
        path.write_bytes(data)
        sent = modality.from_json(modality.Json.model_validate(json_item(path, name)))
        assert sent == data
        ways = [modality.prepare(modality.read(item))[0].arrays for item in (data, path, sent)]
        for other in ways[1:]:
            assert other.keys() == ways[0].keys()
            for key, values in other.items():
                np.testing.assert_array_equal(values, ways[0][key])
                assert np.isfinite(values).all()


@MODALITIES
def test_a_batch_holds_each_item_as_it_is_alone(name, tmp_path):
    modality = reader(name, tmp_path)
    found = examples(name)
    samples = [modality.prepare(modality.read(item))[0] for item in (*found.files.values(), found.large)]
    together, backwards = modality.collate(samples), modality.collate(samples[::-1])
    for row, sample in enumerate(samples):
        alone = modality.collate([sample])
        for key, values in alone.items():
            corner = (slice(0, size) for size in values.shape[1:])
            np.testing.assert_array_equal(together[key][(row, *corner)], values[0])
        for key in together:
            np.testing.assert_array_equal(together[key][row], backwards[key][len(samples) - 1 - row])
    assert len({key for sample in samples for key in sample.arrays}) == len(together)


@MODALITIES
def test_what_somebody_else_prepared_comes_back_and_must_be_finite(name, tmp_path):
    modality = reader(name, tmp_path)
    batch = modality.collate(modality.prepare(modality.read(examples(name).large), parts=True)[:2])
    for row, sample in enumerate(modality.prepared(batch)):
        for key, values in sample.arrays.items():
            np.testing.assert_array_equal(values, batch[key][row])
    for key, values in batch.items():
        if values.dtype.kind == "f":
            with pytest.raises(BadItem, match="not finite"):
                modality.prepared({**batch, key: np.full_like(values, np.nan)})


@MODALITIES
def test_cost_counts_and_never_falls_with_size(name, tmp_path):
    modality = reader(name, tmp_path)
    found = examples(name)
    large = sum(modality.cost(sample) for sample in modality.prepare(modality.read(found.large), parts=True))
    for data in found.files.values():
        small = modality.cost(modality.prepare(modality.read(data))[0])
        assert 1 <= small <= large
        assert isinstance(small, int)


@MODALITIES
def test_parts_count_from_nought_and_are_of_one_form(name, tmp_path):
    modality = reader(name, tmp_path)
    samples = modality.prepare(modality.read(examples(name).large), parts=True)
    assert len(samples) > 1, "the large example must be larger than the encoder takes at once"
    assert [sample.part.index for sample in samples] == list(range(len(samples)))
    assert len({tuple(sorted(sample.arrays)) for sample in samples}) == 1
    if not modality.ragged:
        assert len({values.shape for sample in samples for values in [next(iter(sample.arrays.values()))]}) == 1


@MODALITIES
def test_thumbnails_are_small_pictures(name, tmp_path):
    modality = reader(name, tmp_path)
    for data in (*examples(name).files.values(), examples(name).large):
        picture = Image.open(io.BytesIO(modality.thumbnail(modality.read(data), 40)))
        assert picture.format == "WEBP"
        assert max(picture.size) <= 40


@MODALITIES
def test_limits_are_looked_at_before_the_content(name, tmp_path):
    modality = reader(name, tmp_path)
    limited = type(modality)(modality.preprocess, modality.Limits(max_bytes=2), folder=tmp_path)
    (tmp_path / "item").write_bytes(b"\0" * 100)
    for item in (b"\0" * 100, tmp_path / "item"):
        with pytest.raises(TooLarge, match="100"):
            limited.read(item)


@MODALITIES
def test_what_is_wrong_is_refused_in_a_sentence(name, tmp_path):
    modality = reader(name, tmp_path)
    for wrong, data in examples(name).bad.items():
        with pytest.raises(BadItem) as refused:
            modality.prepare(modality.read(data))
        assert len(str(refused.value).split()) >= 4, wrong
    with pytest.raises(BadItem):
        modality.read(object())


@MODALITIES
@pytest.mark.parametrize("seed", range(3))
def test_damage_is_either_read_through_or_refused(name, seed, tmp_path):
    """Never any other failure: whatever a decoder throws is the sender's fault."""
    modality, rng = reader(name, tmp_path), np.random.default_rng(seed)
    for data in examples(name).files.values():
        cuts = [data[: int(len(data) * share)] for share in (0, 0.02, 0.3, 0.7, 0.98)]
        flips = np.frombuffer(data, np.uint8).copy()
        flips[rng.integers(0, len(flips), 12)] = rng.integers(0, 256, 12)
        for damaged in (*cuts, flips.tobytes(), rng.bytes(200)):
            try:
                samples = modality.prepare(modality.read(damaged))
            except BadItem:  # TooLarge is one
                continue
            assert all(np.isfinite(values).all() for sample in samples for values in sample.arrays.values())


@MODALITIES
def test_json_that_is_no_base64_is_refused(name, tmp_path):
    modality = reader(name, tmp_path)
    sent = modality.Json.model_validate({name: "this is no base64!"})
    if modality.written:  # it stands for itself
        assert modality.from_json(sent) == b"this is no base64!"
    else:
        with pytest.raises(BadItem, match=name):
            modality.from_json(sent)
