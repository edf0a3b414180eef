"""Images and texts of one space over HTTP: either finds the other, and sentences classify images."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from tests import bundles
from tests.servers import start, stop, until
from tests.unit.serving.test_service import problem

SHADES = {"red": (250, 90, 90), "green": (90, 250, 90), "blue": (90, 90, 250)}


def png(shade: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = {name: png(shade) for name, shade in SHADES.items()}
ITEMS = [{"image": base64.b64encode(picture).decode()} for picture in PICTURES.values()]
WORDS = [{"text": f"a {name} cat"} for name in PICTURES]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Collection "pictures" and collection "words", each of one modality, in one space."""
    home = tmp_path_factory.mktemp("shared")
    bundles.colours_bundle(home / "bundles")
    bundles.image_bundle(home / "bundles")
    running = start(home, "colours", "tiny")
    with running.client() as client:
        until(client.ready)
    with running.http() as http:
        for name, entry, items in (("pictures", "image", ITEMS), ("words", "text", WORDS)):
            facts = http.get("/models/colours").json()["entries"][entry]
            new = {key: facts[key] for key in ("modality", "space", "dimensions")}
            assert http.post(
                "/collections", json={"name": name, "model": "colours@1", "entry": entry, **new}
            ).is_success
            rows = [
                {"item": item, "id": f"00000000-0000-0000-0000-{row:012}", "payload": {"shade": shade}}
                for row, (item, shade) in enumerate(zip(items, PICTURES, strict=True))
            ]
            added = http.post(f"/collections/{name}/items", json={"items": rows, "model": "colours"})
            assert added.json()["upserted"] == 3
    yield running
    stop(running)


@pytest.fixture
def http(server):
    with server.http() as http:
        yield http


def predict(http, **asked):
    body = {"model": "colours", "task": "zero_shot", "items": ITEMS, "options": {"labels": list(PICTURES)}}
    return http.post("/predict", json=body | asked)


def test_both_entries_tell_of_one_space_and_the_task_that_it_gives(http):
    about = http.get("/models/colours").json()
    assert {entry["space"] for entry in about["entries"].values()} == {"sp_colours"}
    assert about["tasks"] == ["zero_shot"]
    assert http.get("/models/tiny").json()["tasks"] == ["classify"]


@pytest.mark.parametrize(("collection", "items"), [("pictures", WORDS), ("words", ITEMS)])
@pytest.mark.parametrize("model", ["colours", None])
def test_an_item_of_either_modality_finds_items_of_the_other(http, collection, items, model):
    """By the model that is named, and where none is by whichever has the collection's space."""
    for item, shade in zip(items, PICTURES, strict=True):
        found = http.post(f"/collections/{collection}/search", json={"item": item, "model": model, "limit": 3})
        assert found.status_code == 200, found.text
        assert found.json()["hits"][0]["payload"]["shade"] == shade


def test_what_is_embedded_alone_is_of_the_space_and_finds_as_a_vector(http):
    embedded = http.post("/embed", json={"model": "colours", "items": WORDS[:1]}).json()
    assert embedded["space"] == "sp_colours"
    asked = {"vector": embedded["vectors"][0]["vector"], "space": embedded["space"], "limit": 1}
    [hit] = http.post("/collections/pictures/search", json=asked).json()["hits"]
    assert hit["payload"]["shade"] == "red"


def test_another_model_finds_nothing_there(http):
    refused = http.post("/collections/words/search", json={"item": ITEMS[0], "model": "tiny"})
    assert "sp_colours" in problem(refused, 409, "space_mismatch")


def test_sentences_of_the_request_classify_pictures_and_texts(http):
    assert [one["label"] for one in predict(http).json()["answers"]] == list(PICTURES)
    assert [one["label"] for one in predict(http, items=WORDS).json()["answers"]] == list(PICTURES)
    [answer] = predict(http, items=ITEMS[:1], options={"labels": ["a red cat"]}).json()["answers"]
    assert answer["probability"] == 1
    assert 0.9 < answer["top"][0]["cosine"] <= 1.0001


def test_a_thousand_labels_are_answered(http):
    labels = [f"red {n}" for n in range(999)] + ["blue"]
    [answer] = predict(http, items=ITEMS[2:], options={"labels": labels, "top": 1}).json()["answers"]
    assert answer["label"] == "blue"


def test_one_bad_picture_among_others_has_its_own_error(http):
    told = predict(http, items=[ITEMS[0], {"image": "AAAA"}, ITEMS[2]]).json()
    assert [answer and answer["label"] for answer in told["answers"]] == ["red", None, "blue"]
    assert [error["item"] for error in told["errors"]] == [1]


@pytest.mark.parametrize(
    ("asked", "status", "code", "words"),
    [
        ({"options": {}}, 400, "wrong_use", "option 'labels' of zero_shot: Field required"),
        ({"options": {"labels": []}}, 400, "wrong_use", "at least 1 item"),
        ({"options": {"labels": [str(n) for n in range(10_000)]}}, 400, "wrong_use", "at most 1000 items"),
        ({"options": {"labels": ["red", ""]}}, 400, "wrong_use", "labels.1"),
        ({"options": {"labels": ["red", "  "]}}, 400, "wrong_use", "labels.1"),
        ({"options": {"labels": ["red", "red"]}}, 400, "wrong_use", "stands there twice"),
        ({"options": {"labels": ["red"], "temperature": 0}}, 400, "wrong_use", "temperature"),
        ({"model": "tiny"}, 404, "unknown_name", "unknown task of tiny@1"),
        ({"items": [{"image": ITEMS[0]["image"], "text": "red"}]}, 422, "wrong_use", "text"),
        ({"items": [{"image": None}]}, 422, "wrong_use", "image"),
        ({"items": [ITEMS[0], WORDS[0]]}, 400, "wrong_use", "one modality"),
        ({"stream": True, "items": ITEMS[:1]}, 400, "wrong_use", "at once"),
    ],
)
def test_what_cannot_be_told_is_a_problem(http, asked, status, code, words):
    assert words in problem(predict(http, **asked), status, code)
