"""A classifier of a few examples, made over HTTP from labelled points and answered by the same server."""

import base64
import io

import pytest
from PIL import Image

from enfold import store
from enfold.bundle import open_bundle
from enfold.errors import EnfoldError
from tests import bundles
from tests.servers import start, stop, until

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230)}


def picture(label: str, seed: int) -> bytes:
    red, green, blue = COLOURS[label]
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (red, green - seed, blue)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("heads")
    bundles.image_bundle(home / "bundles")
    running = start(home, "tiny")
    with running.client() as client:
        until(client.ready)
        (info,) = client.models()
        entry = info.entries["image"]
        for name in ("labelled", "unlabelled"):
            facts = {"name": name, "model": "tiny@1", "entry": "image", "modality": "image", "space": entry.space}
            with running.http() as http:
                assert http.post("/collections", json={**facts, "dimensions": entry.dimensions}).status_code == 200
    new = [
        {"item": {"image": base64.b64encode(picture(label, seed)).decode()}, "payload": {"kind": label}}
        for label in COLOURS
        for seed in range(3)
    ]
    new.append({"item": {"image": base64.b64encode(picture("red", 9)).decode()}, "payload": {"kind": "alone"}})
    with running.http() as http:
        assert http.post("/collections/labelled/items", json={"items": new}).json()["upserted"] == 10
    yield running
    stop(running)


def test_labelled_points_become_a_task_that_the_next_version_answers(server):
    with server.client() as client:
        before = client.models()[0]
        head = client.make_head("labelled", field="kind")
        assert head.model == "tiny@2"
        assert head.labels == {"blue": 3, "green": 3, "red": 3}
        assert head.left_out == ["alone"]
        assert head.leave_one_out_accuracy == 1
        until(lambda: client.models()[0].version == 2)
        now = client.models()[0]
        assert now.entries["image"].space == before.entries["image"].space
        assert now.labels["nearest"] == ["blue", "green", "red"]
        assert "leave-one-out accuracy 1.000" in now.card
        found = client.predict([picture(label, 5) for label in COLOURS], modality="image", task="nearest")
        assert [answer["label"] for answer in found] == list(COLOURS)
        assert client.make_head("labelled", field="kind").model == "tiny@3"
        until(lambda: client.models()[0].version == 3)
        assert client.models()[0].card.count("leave-one-out") == 1
    bundle = open_bundle(store.find(server.home / "bundles", "tiny@3"))  # every digest holds
    assert bundle.manifest.lineage.parents == ("tiny@2",)
    assert open_bundle(store.find(server.home / "bundles", "tiny@1")).manifest.tasks == before_tasks(bundle)


def before_tasks(bundle):
    return {name: spec for name, spec in bundle.manifest.tasks.items() if name != "nearest"}


def test_what_makes_no_head_is_said(server):
    with server.client() as client:
        with pytest.raises(EnfoldError, match="gives 0 labels with two points or more"):
            client.make_head("unlabelled")
        with pytest.raises(EnfoldError, match="field 'nowhere' of collection 'labelled' gives 0 labels"):
            client.make_head("labelled", field="nowhere")
        with pytest.raises(EnfoldError, match="unknown collection 'void'"):
            client.make_head("void")
    with server.http() as http:
        assert http.post("/heads", json={"collection": "unlabelled"}).status_code == 400
