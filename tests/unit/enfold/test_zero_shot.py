"""The task `zero_shot`: an item against sentences of the request, in the space of the bundle's text entry."""

import numpy as np
import pytest

import enfold
from enfold import store, tasks
from enfold.errors import UnknownName, WrongUse
from enfold.tasks.zero_shot import MOST_LABELS
from tests import bundles

LABELS = ["red", "green", "blue"]


def plain(shade: tuple[int, int, int]) -> np.ndarray:
    return np.full((20, 24, 3), shade, np.uint8)


IMAGES = [plain((250, 90, 90)), plain((90, 250, 90)), plain((90, 90, 250))]


@pytest.fixture
def model(home):
    bundles.colours_bundle(home / "bundles")
    return enfold.open("colours")


def test_an_item_is_what_its_nearest_sentence_says(model):
    answers = model.predict(IMAGES, "zero_shot", {"labels": LABELS}, entry="image")
    assert [answer.label for answer in answers] == LABELS
    assert all(sum(one.probability for one in answer.top) == pytest.approx(1) for answer in answers)
    assert all(answer.probability == answer.top[0].probability for answer in answers)


def test_cosines_are_those_of_the_vectors_that_embed_gives(model):
    images, labels = model.embed(IMAGES, "image").vectors, model.embed(LABELS, "text").vectors
    for cosines, answer in zip(
        images @ labels.T, model.predict(IMAGES, options={"labels": LABELS}, entry="image"), strict=True
    ):
        assert {one.label: one.cosine for one in answer.top} == pytest.approx(dict(zip(LABELS, cosines, strict=True)))
        shares = np.exp(cosines / 0.07) / np.exp(cosines / 0.07).sum()
        assert {one.label: one.probability for one in answer.top} == pytest.approx(
            dict(zip(LABELS, shares, strict=True))
        )


def test_order_and_company_of_labels_change_no_cosine(model):
    def cosines(labels):
        [answer] = model.predict(IMAGES[:1], "zero_shot", {"labels": labels}, entry="image")
        return {one.label: one.cosine for one in answer.top}

    alone = cosines(["a red cat sat"])
    longer = cosines(["blue", "a red cat sat", "a dog ran", "green dog"])
    assert longer["a red cat sat"] == pytest.approx(alone["a red cat sat"])
    assert cosines(LABELS) == pytest.approx(cosines(LABELS[::-1]))


def test_one_label_says_how_well_it_fits(model):
    fits = [
        model.predict([image], "zero_shot", {"labels": ["red"]}, entry="image")[0].top[0].cosine for image in IMAGES
    ]
    assert fits[0] > max(fits[1:]) + 0.5


def test_a_lower_temperature_is_surer_and_top_cuts(model):
    asked = [{"labels": LABELS, "temperature": temperature, "top": 2} for temperature in (1.0, 0.1)]
    unsure, sure = (model.predict(IMAGES[:1], "zero_shot", one, entry="image")[0] for one in asked)
    assert sure.probability > unsure.probability
    assert len(sure.top) == len(unsure.top) == 2


def test_texts_are_items_as_well(home):
    bundles.text_bundle(home / "bundles", table=np.eye(len(bundles.WORDS)))
    answers = enfold.open("words").predict(["a red cat", "blue dog"], "zero_shot", {"labels": ["dog", "cat"]})
    assert [answer.label for answer in answers] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "option 'labels' of zero_shot: Field required"),
        ([], "at least 1 item"),
        ([f"label {n}" for n in range(10_000)], f"at most {MOST_LABELS} items"),
        (["red", ""], r"labels.1.*at least 1 character"),
        (["red", " \t"], r"labels.1.*at least 1 character"),
        (["red", "green", "red "], "'red' stands there twice: name each label once"),
        (["x" * 1001], "at most 1000 characters"),
        ("red", "valid list"),
        ([1, 2], "valid string"),
    ],
)
def test_labels_that_say_nothing_are_refused(model, labels, words):
    options = {} if labels is None else {"labels": labels}
    with pytest.raises(WrongUse, match=words):
        model.predict(IMAGES, "zero_shot", options, entry="image")


def test_it_is_there_where_a_text_entry_is(home):
    bundles.image_bundle(home / "bundles")
    bundles.ranking_bundle(home / "bundles")
    bundles.colours_bundle(home / "bundles")
    known = {row["name"]: row["tasks"] for row in store.list_bundles()}
    assert known == {"tiny": ["classify"], "ranks": ["rank", "zero_shot"], "colours": ["zero_shot"]}
    with pytest.raises(UnknownName, match="classify"):
        enfold.open("tiny").predict(IMAGES, "zero_shot", {"labels": LABELS})


def test_a_bundle_without_texts_embeds_only(home):
    bundles.points_bundle(home / "bundles")
    with pytest.raises(WrongUse, match="clouds@1 has no task: it embeds only"):
        enfold.open("clouds").predict([np.zeros((100, 3))])


def test_a_stored_task_is_the_one_that_is_meant(home):
    bundles.text_bundle(home / "bundles", tasks={"zero_shot": {"entry": "text"}})
    manifest = store.open_ref(home / "bundles", "words").manifest
    assert tasks.of(manifest) == manifest.tasks


def test_items_of_another_space_are_refused(model):
    facts = model.bundle.manifest
    moved = facts.entries["image"].model_copy(update={"space": "sp_elsewhere"})
    manifest = facts.model_copy(update={"entries": {**facts.entries, "image": moved}})
    other = enfold.Model(enfold.bundle.Bundle(model.bundle.path, manifest))
    with pytest.raises(WrongUse, match="of space sp_colours, that of entry 'text'; entry 'image' is of space sp_else"):
        other.predict(IMAGES, "zero_shot", {"labels": LABELS}, entry="image")


def test_quality_is_measured_as_that_of_a_trained_classifier(model):
    answers = model.predict(IMAGES, "zero_shot", {"labels": LABELS}, entry="image")
    figures = model.task("zero_shot").measure(answers, ["red", "green", "green"])
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert set(figures) == {"accuracy", "macro_f1", "calibration_error"}
