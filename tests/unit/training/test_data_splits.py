"""Laws of near-duplicates and splits."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from enfold import modalities
from tests.unit.training.data_pictures import picture
from training.data import splits

IMAGE = modalities.get("image")(None)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


COPIES = {
    "mirrored": ImageOps.mirror,
    "recompressed": lambda image: jpeg(image, 60),
    "recompressed hard": lambda image: jpeg(image, 30),
    "halved": lambda image: image.resize((24, 24), Image.Resampling.BICUBIC),
    "enlarged": lambda image: image.resize((130, 130), Image.Resampling.BILINEAR),
    # At 24 pixels and quality 60 the chroma of these pictures is gone, and so is the likeness.
    "smaller, mirrored and recompressed": lambda image: jpeg(ImageOps.mirror(image.resize((36, 36))), 75),
    "a little lighter": lambda image: image.point(lambda value: min(value + 5, 255)),
}


def looks(images: list[Image.Image]) -> np.ndarray:
    return np.stack([IMAGE.mark(np.asarray(image)) for image in images])


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_joins_its_original_and_nothing_else(change):
    originals = [picture(seed) for seed in range(40)]
    joined = splits.alike(looks([*originals, *(COPIES[change](image) for image in originals)]))
    assert joined.tolist() == [*range(40), *range(40)]


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.flip,
        ImageOps.invert,
        lambda image: image.rotate(90),
        lambda image: ImageOps.mirror(ImageOps.flip(image)),
    ],
)
def test_another_picture_of_the_same_colours_stays_apart(change):
    assert splits.alike(looks([picture(0), change(picture(0))])).tolist() == [0, 1]


def test_blocks_do_not_change_the_answer(monkeypatch):
    many = looks([picture(seed % 30) for seed in range(100)])
    whole = splits.alike(many)
    monkeypatch.setattr(splits, "BLOCK", 7)
    assert splits.alike(many).tolist() == whole.tolist() == [seed % 30 for seed in range(100)]


def test_blank_pictures_of_different_grey_stay_apart():
    grey = [Image.new("RGB", (20, 20), (value, value, value)) for value in (0, 120, 121, 255)]
    assert splits.alike(looks(grey)).tolist() == [0, 1, 1, 3]


def test_texts_are_the_same_whatever_their_case_and_spacing():
    texts = ["Straße im Regen", "a cat", "  STRASSE im\n Regen ", "a  dog"]
    groups = splits.near_duplicates([modalities.get("text")(None).mark(text) for text in texts], ["1", "2", "3", "4"])
    assert groups == ["1", "2", "1", "4"]


def test_given_groups_and_likeness_chain():
    """a ~ b by group, b ~ c by look: one group of three, named by the first of its names."""
    marks = [IMAGE.mark(np.asarray(picture(seed))) for seed in (0, 1, 1, 2)]
    assert splits.near_duplicates(marks, ["z", "z", "c", "d"]) == ["c", "c", "c", "d"]


def test_no_items_make_no_groups():
    assert splits.near_duplicates([], []) == []
    assert splits.assign_splits([], []) == []


def test_a_group_never_straddles_splits_and_every_label_is_shared_out_as_promised():
    rng = np.random.default_rng(0)
    groups = [f"g{number}" for number in rng.integers(0, 600, 3000)]
    labels = [f"label {int(group[1:]) % 3}" for group in groups]
    assigned = splits.assign_splits(groups, labels)
    assert len(set(zip(groups, assigned, strict=True))) == len(set(groups))
    for label in set(labels):
        count = Counter(split for split, own in zip(assigned, labels, strict=True) if own == label)
        total = sum(count.values())
        assert count["train"] / total == pytest.approx(0.7, abs=0.02)
        assert count["test"] / total == pytest.approx(0.2, abs=0.02)
        assert count["val"] / total == pytest.approx(0.1, abs=0.02)


def test_splits_do_not_depend_on_the_order_of_items():
    groups = [f"g{i // 2}" for i in range(200)]
    labels = ["a" if i % 3 else "b" for i in range(200)]
    forwards = dict(zip(groups, splits.assign_splits(groups, labels), strict=True))
    backwards = dict(zip(groups[::-1], splits.assign_splits(groups[::-1], labels[::-1]), strict=True))
    assert forwards == backwards


def test_one_item_more_moves_few_others():
    groups = [f"g{i}" for i in range(500)]
    before = splits.assign_splits(groups, [None] * 500)
    after = splits.assign_splits([*groups, "new"], [None] * 501)[:500]
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 2


def test_a_label_with_one_group_goes_to_train():
    assert splits.assign_splits(["only", "only"], ["rare", "rare"]) == ["train", "train"]
