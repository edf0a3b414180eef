"""The HTTP API of a real server: answers, and a problem with a sentence for whatever it cannot answer."""

import asyncio
import base64
import io
import json
import uuid as uuids
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import enfold
from enfold import ports, wire
from enfold.client import AsyncClient, Client
from enfold.errors import SpaceMismatch, TooLarge, Unauthorized, UnknownName
from serving.index import arrow
from tests.unit.serving.conftest import new_collection, points, uuid

SPACE = "the collection's own"  # stands for it where tests are listed


def png(red=200, side=20):
    file = io.BytesIO()
    Image.new("RGB", (side, side), (red, 80, 40)).save(file, "PNG")
    return file.getvalue()


def image(red=200):
    return {"image": base64.b64encode(png(red)).decode()}


BROKEN = [image(), {"image": "AAAA"}]


def problem(response, status, code):
    """The response is a problem of this status and code: its sentence."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found = wire.Problem.model_validate_json(response.content)
    assert (found.status, found.code) == (status, code)
    assert found.request_id == response.headers["x-request-id"]
    return found.detail


@pytest.fixture
def space(http):
    return http.get("/models/tiny").json()["entries"]["image"]["space"]


@pytest.fixture
def collection(http, space):
    """A collection of its own for each test, of the image model's space."""
    name = f"c{uuids.uuid4().hex[:8]}"
    new = new_collection(name, space=space, dimensions=8)
    assert http.post("/collections", json=new.model_dump()).status_code == 200
    yield name
    http.delete(f"/collections/{name}")


def upsert(http, collection, table):
    body = b"".join(arrow.write_stream([table], table.schema))
    return http.post(f"/collections/{collection}/items", content=body, headers={"content-type": wire.ARROW})


# --- models ---------------------------------------------------------------------------------------------------------


def test_the_server_gives_the_vectors_that_the_bundle_gives_here(http, server, monkeypatch):
    monkeypatch.setenv("ENFOLD_HOME", str(server.home))
    answer = http.post("/embed", json={"model": "tiny", "items": [image(10), image(250)]}).json()
    assert (answer["model"], answer["dimensions"]) == ("tiny@1", 8)
    assert [vector["item"] for vector in answer["vectors"]] == [0, 1]
    here = enfold.open("tiny").embed([png(10), png(250)])
    assert answer["space"] == here.space
    np.testing.assert_allclose([vector["vector"] for vector in answer["vectors"]], here.vectors, atol=1e-5)


def test_a_form_with_files_is_the_same_request(http):
    as_json = http.post("/embed", json={"model": "tiny@1", "items": [image()]}).json()
    as_form = http.post("/embed", data={"model": "tiny@1"}, files=[("image", ("a.png", png()))]).json()
    assert as_form == as_json


def test_windows_of_a_long_text_are_parts(http):
    body = {"model": "words", "items": [{"text": "red cat"}, {"text": "red cat sat " * 10}], "parts": True}
    vectors = http.post("/embed", json=body).json()["vectors"]
    assert [vector["item"] for vector in vectors][:2] == [0, 1]
    assert [vector["part"] and vector["part"]["index"] for vector in vectors][:3] == [None, 0, 1]


def test_an_item_alone_gets_the_vector_it_gets_in_company(http):
    texts = ["red cat", "a dog sat a dog sat", "blue"]
    together = http.post("/embed", json={"model": "words", "items": [{"text": text} for text in texts]}).json()
    for index, text in enumerate(texts):
        alone = http.post("/embed", json={"model": "words", "items": [{"text": text}]}).json()
        np.testing.assert_allclose(alone["vectors"][0]["vector"], together["vectors"][index]["vector"], atol=1e-5)


def test_predictions_are_typed_answers(http):
    answer = http.post("/predict", json={"model": "tiny", "items": [image()], "options": {"top": 2}}).json()
    assert answer["task"] == "classify"
    assert answer["answers"][0]["label"] in ("red", "green", "blue")
    assert len(answer["answers"][0]["top"]) == 2
    form = {"data": {"model": "tiny", "options": '{"top": 2}'}, "files": [("image", png())]}
    assert http.post("/predict", **form).json() == answer


def test_models_and_limits_are_described(http):
    assert {model["name"] for model in http.get("/models").json()} == {"tiny", "words"}
    model = wire.ModelInfo.model_validate(http.get("/models/tiny@1").json())
    assert model.labels == {"classify": ["red", "green", "blue"]}
    limits = wire.Limits.model_validate(http.get("/limits").json())
    assert (limits.max_items, limits.max_body_bytes) == (8, 400_000)
    assert set(limits.modalities) == {"image", "text"}


@pytest.mark.parametrize(
    ("route", "body", "status", "code", "words"),
    [
        ("/embed", {"items": [image()]}, 400, "wrong_use", "name one of the models: tiny@1, words@1"),
        ("/embed", {"model": "tiyn", "items": [image()]}, 404, "unknown_name", "Did you mean"),
        ("/embed", {"model": "tiny@7", "items": [image()]}, 404, "unknown_name", "unknown model"),
        ("/embed", {"model": "tiny", "variant": "int2", "items": [image()]}, 404, "unknown_name", "variant"),
        ("/embed", {"model": "tiny", "entry": "ear", "items": [image()]}, 404, "unknown_name", "entry"),
        ("/embed", {"model": "tiny", "items": []}, 422, "wrong_use", "items"),
        ("/embed", {"model": "tiny", "items": [{"text": "a"}]}, 400, "wrong_use", "takes image items, not text"),
        ("/embed", {"model": "tiny", "items": [image(), {"text": "a"}]}, 400, "wrong_use", "of one modality"),
        ("/embed", {"model": "tiny", "items": [{"sound": "x"}]}, 422, "wrong_use", "modality: audio or graph"),
        ("/embed", {"model": "tiny", "items": [7]}, 422, "wrong_use", "modality: audio or graph"),
        ("/embed", {"model": "tiny", "items": [{"image": "%%%"}]}, 422, "bad_item", "item 0: .*not base64"),
        ("/embed", {"model": "tiny", "items": BROKEN, "all_or_nothing": True}, 422, "bad_item", "item 1: .*no PNG"),
        ("/embed", {"model": "tiny", "items": [{"image": ""}]}, 422, "bad_item", "0 bytes"),
        ("/embed", {"model": "tiny", "items": [image()] * 9}, 413, "too_large", "9 items in one request; at most 8"),
        ("/embed", {"model": "tiny", "items": [image()], "colour": 1}, 422, "wrong_use", "colour"),
        ("/embed", {"model": "words", "items": [{"text": " "}]}, 422, "bad_item", "the text is empty"),
        ("/embed", {"model": "words", "items": [{"text": "x" * 300_000}]}, 413, "too_large", "300,000 characters"),
        ("/predict", {"model": "words", "items": [{"text": "a"}]}, 400, "wrong_use", "option 'labels' of zero_shot"),
        ("/predict", {"model": "tiny", "items": [image()], "task": "sing"}, 404, "unknown_name", "task"),
        ("/predict", {"model": "tiny", "items": [image()], "options": {"top": 0}}, 400, "wrong_use", "option 'top'"),
        ("/predict", {"model": "tiny", "items": [image()], "options": {"x": 0}}, 400, "wrong_use", "option 'x'"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_gets_one_sentence(http, route, body, status, code, words):
    import re

    assert re.search(words, problem(http.post(route, json=body), status, code))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"items": [' * 20_000,
        b'{"items": NaN}',
        b'{"items": ["\\ud800"]}',
    ],
)
def test_a_body_that_is_no_request_is_refused(http, body):
    for route in ("/embed", "/predict", "/collections", "/jobs"):
        answer = http.post(route, content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        problem(answer, answer.status_code, "wrong_use")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"nothing"),
        ("multipart/form-data; boundary=x", b"nothing"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="items"\r\n\r\n1\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="options"\r\n\r\n{\r\n--x--\r\n',
        ),
    ],
)
def test_a_form_that_is_none_is_refused(http, kind, body):
    answer = http.post("/predict", content=body, headers={"content-type": kind})
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code, "wrong_use")


def test_a_body_over_the_limit_is_refused_declared_or_not(http):
    too_much = b"x" * 500_000
    for body in (too_much, iter([too_much[:300_000]] * 2)):  # an iterator is sent in chunks, without a length
        for route in ("/embed", "/collections", "/collections/none/layout"):
            method = "PUT" if route.endswith("layout") else "POST"
            answer = http.request(method, route, content=body)
            assert "400,000 bytes" in problem(answer, 413, "too_large")
            body = iter([too_much[:300_000]] * 2) if not isinstance(body, bytes) else body


def test_a_length_that_is_a_lie_does_no_harm(server):
    """A body that never comes, and one with a negative length: the next request is answered."""
    import socket

    for head in (
        b"Content-Length: 99\r\n\r\n{",
        b"Content-Length: -5\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as line:
            line.sendall(b"POST /embed HTTP/1.1\r\nHost: x\r\n" + head)
    assert httpx.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize(
    "kind", ["application/vnd.bentoml+pickle", "application/x-pickle", "application/python-pickle"]
)
def test_a_pickle_is_read_nowhere(http, kind):
    for route in ("/embed", "/predict", "/collections", "/collections/none/search", "/jobs", "/nowhere"):
        answer = http.post(route, content=b"\x80\x04N.", headers={"content-type": kind})
        problem(answer, 415, "unsupported_media")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "json"])
def test_a_body_of_another_kind_is_refused(http, kind):
    body = json.dumps({"model": "tiny", "items": [image()]}).encode()
    answer = http.post("/embed", content=body, headers={"content-type": kind})
    assert "multipart/form-data" in problem(answer, 415, "unsupported_media")


def test_one_bad_item_does_not_take_the_others_with_it(http):
    items = [image(10), {"image": "AAAA"}, image(250), {"image": "%%%"}]
    answer = http.post("/embed", json={"model": "tiny", "items": items}).json()
    assert [vector["item"] for vector in answer["vectors"]] == [0, 2]
    assert [(error["item"], error["code"]) for error in answer["errors"]] == [(1, "bad_item"), (3, "bad_item")]
    alone = http.post("/embed", json={"model": "tiny", "items": [image(250)]}).json()
    np.testing.assert_allclose(answer["vectors"][1]["vector"], alone["vectors"][0]["vector"], atol=1e-6)
    answer = http.post("/predict", json={"model": "tiny", "items": items}).json()
    assert [found is None for found in answer["answers"]] == [False, True, False, True]
    assert "not base64" in answer["errors"][1]["detail"]
    problem(http.post("/predict", json={"model": "tiny", "items": items, "all_or_nothing": True}), 422, "bad_item")


def test_pixels_and_files_go_in_and_vectors_come_out_without_json(http):
    pixels = np.stack([np.full((20, 20, 3), (red, 80, 40), np.uint8) for red in (10, 250)])
    file = io.BytesIO()
    np.save(file, pixels)
    want = http.post("/embed", json={"model": "tiny", "items": [image(10), image(250)]}).json()
    vectors = [vector["vector"] for vector in want["vectors"]]
    npy = {"content-type": "application/x-npy", "accept": "application/x-npy"}
    answer = http.post("/embed", params={"model": "tiny"}, content=file.getvalue(), headers=npy)
    assert (answer.headers["x-enfold-space"], answer.headers["x-enfold-model"]) == (want["space"], "tiny@1")
    np.testing.assert_allclose(np.load(io.BytesIO(answer.content)), vectors, atol=1e-6)
    table = pa.table({"image": pa.array([png(10), png(250)], pa.binary()), "other": [1, 2]})
    body = b"".join(arrow.write_stream([table], table.schema))
    headers = {"content-type": wire.ARROW, "accept": wire.ARROW}
    answer = http.post("/embed", params={"model": "tiny"}, content=body, headers=headers)
    came = pa.ipc.open_stream(answer.content).read_all()
    assert came["item"].to_pylist() == [0, 1]
    np.testing.assert_allclose(came["vector"].to_pylist(), vectors, atol=1e-6)
    words = pa.table({"text": ["red cat", "blue"]})
    body = b"".join(arrow.write_stream([words], words.schema))
    found = http.post("/embed", params={"model": "words"}, content=body, headers={"content-type": wire.ARROW}).json()
    assert len(found["vectors"]) == 2


def test_binary_bodies_that_lie_are_refused(http):
    def npy(array, cut=None):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()[:cut]

    good = npy(np.zeros((1, 4, 4, 3), np.uint8))
    huge = good.replace(b"(1, 4, 4, 3)", b"(9**9,4,4,3)").replace(b"9**9", b"9999")
    bodies = {
        "application/x-npy": [b"", b"none", good[:-1], huge, npy(np.zeros((1, 4, 4, 3), np.float32)), npy(np.zeros(3))],
        wire.ARROW: [
            b"none",
            *(
                b"".join(arrow.write_stream([table], table.schema))
                for table in (
                    pa.table({"x": [1]}),
                    pa.table({"image": [1]}),
                    pa.table({"image": pa.array([], "binary")}),
                )
            ),
        ],
    }
    for kind, sent in bodies.items():
        for body in sent:
            answer = http.post("/embed", params={"model": "tiny"}, content=body, headers={"content-type": kind})
            assert answer.status_code in (400, 422), answer.text
            problem(answer, answer.status_code, "wrong_use" if answer.status_code == 400 else "bad_item")


def test_dimensions_that_a_model_was_not_trained_for_are_refused(http):
    body = {"model": "tiny", "items": [image()]}
    assert http.post("/embed", json=body | {"dimensions": 8}).json()["dimensions"] == 8
    detail = problem(http.post("/embed", json=body | {"dimensions": 4}), 400, "wrong_use")
    assert "tiny@1 gives vectors of 8 numbers, not of 4" in detail


@pytest.mark.parametrize("header", ["-1", "0", "nan", "inf", "soon", "1e9", ""])
def test_a_deadline_that_is_none_is_refused(http, header):
    answer = http.post("/embed", json={"model": "tiny", "items": [image()]}, headers={"enfold-timeout": header})
    assert "enfold-timeout" in problem(answer, 400, "wrong_use")


def test_a_list_far_too_long_is_refused_in_a_sentence(http):
    body = b'{"model": "words", "items": [' + b",".join([b'{"text": ""}'] * 25_000) + b"]}"
    answer = http.post("/embed", content=body, headers={"content-type": "application/json"})
    assert "items: List should have at most 10000 items" in problem(answer, 422, "wrong_use")
    body = b'{"model": "words", "items": [' + b",".join([b'{"text": ""}'] * 9_000) + b"]}"
    answer = http.post("/embed", content=body, headers={"content-type": "application/json"})
    assert "9000 items in one request; at most 8" in problem(answer, 413, "too_large")


# --- the door -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer wrong", "Basic abc", "Bearer ä".encode()])
def test_nothing_but_the_probes_answers_without_the_key(server, header):
    headers = {} if header is None else {"authorization": header}
    for route in ("/models", "/embed", "/metrics", "/docs", "/openapi.json", "/nowhere", "/"):
        problem(httpx.get(server.url + route, headers=headers), 401, "unauthorized")
    for probe in ("/healthz", "/readyz"):
        assert httpx.get(server.url + probe, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/embed", 405),
        ("PATCH", "/models", 405),
        ("GET", "/models/none", 404),
        ("GET", "/collections/none", 404),
        ("GET", "/collections/..%2f..%2fetc", 404),
        ("DELETE", "/collections/none", 404),
        ("GET", "/collections/none/layout", 404),
        ("GET", "/collections/none/views", 404),
        ("DELETE", "/collections/none/views/x", 404),
        ("GET", "/collections/none/items", 404),
        ("GET", "/collections/none/facets?field=x", 404),
        ("GET", f"/collections/none/items/{uuid(1)}/thumbnail", 404),
        ("GET", f"/collections/none/items/{uuid(1)}/original", 404),
        ("GET", "/jobs/none", 404),
        ("DELETE", "/jobs/..%2fx", 404),
        ("POST", "/jobs/none/resume", 404),
    ],
)
def test_what_is_not_there_is_a_problem(http, method, route, status):
    answer = http.request(method, route)
    assert answer.status_code == status
    problem(answer, status, "unknown_name")


def test_the_request_id_of_the_caller_comes_back(http):
    assert http.get("/limits", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert (
        http.get("/nowhere", headers={"x-request-id": "a\tb c;" + "d" * 99}).headers["x-request-id"] == "abc" + "d" * 61
    )


def test_openapi_lists_every_route(http):
    schema = http.get("/openapi.json").json()
    routes = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    expected = {
        ("POST", "/embed"), ("POST", "/predict"), ("GET", "/models"), ("GET", "/models/{name}"), ("GET", "/limits"),
        ("GET", "/collections"), ("POST", "/collections"), ("GET", "/collections/{c}"), ("DELETE", "/collections/{c}"),
        *[(method, "/collections/{c}/generations") for method in ("GET", "POST", "PUT")],
        ("POST", "/collections/{c}/optimize"),
        ("POST", "/collections/{c}/items"), ("GET", "/collections/{c}/items"), ("POST", "/collections/{c}/search"),
        ("POST", "/collections/{c}/delete"), ("GET", "/collections/{c}/facets"), ("GET", "/collections/{c}/layout"),
        ("PUT", "/collections/{c}/layout"), ("GET", "/collections/{c}/items/{id}/thumbnail"),
        ("GET", "/collections/{c}/views"), ("PUT", "/collections/{c}/views"),
        ("DELETE", "/collections/{c}/views/{name}"),
        ("GET", "/collections/{c}/items/{id}"), ("GET", "/collections/{c}/items/{id}/original"),
        ("GET", "/runs"), ("GET", "/runs/{id}"), ("GET", "/methods"),
        ("GET", "/jobs"), ("POST", "/jobs"), ("GET", "/jobs/{id}"), ("DELETE", "/jobs/{id}"),
        ("POST", "/jobs/{id}/resume"),
        ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"),
        ("POST", "/v1/embeddings"), ("GET", "/v1/models"), ("GET", "/v1/models/{id}"), ("POST", "/rerank"),
        ("GET", "/collections/{c}/health"), ("PUT", "/collections/{c}/health"),
        ("POST", "/heads"), ("POST", "/pipelines"), ("GET", "/collections/{c}/sample"),
        ("GET", "/v2"), ("GET", "/v2/health/live"), ("GET", "/v2/health/ready"), ("POST", "/v2/repository/index"),
        *[
            (method, f"/v2/models/{{name}}{of}{route}")
            for method, route in (("GET", ""), ("GET", "/ready"), ("POST", "/infer"))
            for of in ("", "/versions/{version}")
        ],
    }  # fmt: skip
    assert routes == expected
    known = set(schema["components"]["schemas"])
    for reference in _references(schema):
        assert reference.removeprefix("#/components/schemas/") in known
    assert {
        "EmbedRequest",
        "EmbeddingsRequest",
        "InferRequest",
        "Problem",
        "ClassifyAnswer",
        "ClassifyOptions",
    } <= known
    assert "multipart/form-data" in schema["paths"]["/embed"]["post"]["requestBody"]["content"]


def _references(node):
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def test_the_page_of_the_routes_needs_no_other_host(http):
    page = http.get("/docs").text
    assert "https://" not in page
    assert http.get("/static_content/swagger-ui-bundle.js").status_code == 200


def test_metrics_count_requests_items_and_times(http):
    http.post("/embed", json={"model": "tiny", "items": [image()]})
    text = http.get("/metrics").text
    for name in (
        "enfold_requests_total{",
        "enfold_items_total{",
        "enfold_encode_seconds_bucket{",
        "enfold_queue_seconds_count{",
    ):
        assert name in text
    assert 'route="/embed",status="200"' in text


# --- collections ----------------------------------------------------------------------------------------------------


def test_points_of_an_arrow_stream_are_found_by_vector_and_id(http, collection, space):
    sent = points(dimensions=8, space=space)
    assert upsert(http, collection, arrow.to_table(sent)).json() == {"collection": collection, "upserted": 6}
    url, vector = f"/collections/{collection}/search", sent.vectors[3].tolist()
    hits = http.post(url, json={"vector": vector, "space": space, "limit": 2}).json()["hits"]
    assert (hits[0]["id"], len(hits)) == (uuid(3), 2)
    only = [{"field": "label", "any": ["red"]}]
    hits = http.post(url, json={"id": uuid(3), "filter": only}).json()["hits"]
    assert {hit["payload"]["label"] for hit in hits} == {"red"}
    assert http.get(f"/collections/{collection}").json()["points"] == 6
    assert http.get(f"/collections/{collection}/items/{uuid(0)}/thumbnail").content == b"webp"
    assert http.get(f"/collections/{collection}/facets", params={"field": "label"}).json()[0]["count"] == 3
    table = pa.ipc.open_stream(http.get(f"/collections/{collection}/items").content).read_all()
    np.testing.assert_allclose(arrow.to_points(table).vectors, sent.vectors, atol=1e-6)
    deleted = http.post(f"/collections/{collection}/delete", json={"source": "here"}).json()
    assert deleted == {"deleted": 6}


def test_raw_items_are_embedded_kept_and_found_by_an_item(http, collection):
    new = [{"item": image(red), "payload": {"red": red}} for red in (0, 120, 250)]
    for _ in range(2):  # the same bytes are the same points
        assert http.post(f"/collections/{collection}/items", json={"items": new}).json()["upserted"] == 3
    assert http.get(f"/collections/{collection}").json()["points"] == 3
    hits = http.post(f"/collections/{collection}/search", json={"item": image(120)}).json()["hits"]
    assert hits[0]["payload"]["red"] == 120
    assert hits[0]["score"] == pytest.approx(1, abs=1e-4)
    assert hits[0]["payload"]["bundle"] == "tiny@1"
    assert http.get(f"/collections/{collection}/items/{hits[0]['id']}/thumbnail").content[8:12] == b"WEBP"


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 400, "wrong_use", "say what to look for: by item, vector or id"),
        ({"id": uuid(1), "vector": [1.0]}, 400, "wrong_use", "not by vector and id"),
        ({"vector": [1.0] * 8}, 400, "wrong_use", "a vector comes with its space"),
        ({"vector": [1.0] * 7, "space": SPACE}, 400, "wrong_use", "vectors of 8 numbers, this one has 7"),
        ({"vector": [], "space": SPACE}, 400, "wrong_use", "this one has 0"),
        ({"vector": [1.0] * 8, "space": "sp_other"}, 409, "space_mismatch", "sp_other"),
        ({"vector": [1e300] * 8, "space": SPACE}, 400, "wrong_use", "not finite"),
        ({"item": {"text": "a cat"}}, 409, "space_mismatch", "no loaded model turns text"),
        ({"item": {"text": "a cat"}, "model": "words"}, 409, "space_mismatch", "words@1"),
        ({"id": "7"}, 400, "wrong_use", "not a UUID"),
        ({"id": uuid(77)}, 404, "unknown_name", "no point"),
        ({"vector": [1.0] * 8, "filter": [{"field": "x", "any": [1]}] * 33}, 422, "wrong_use", "at most 32"),
        (
            {"vector": [1.0] * 8, "space": SPACE, "filter": [{"field": "x", "any": [10**30]}]},
            400,
            "wrong_use",
            "at most 64 bits",
        ),
        ({"vector": [1.0] * 8, "limit": 0}, 422, "wrong_use", "limit"),
        ({"vector": [1.0] * 8, "filter": [{"field": "x", "any": []}]}, 422, "wrong_use", "say what the field must be"),
        ({"vector": [1.0] * 8, "space": SPACE, "filter": [{"field": 'a"', "any": [1]}]}, 400, "wrong_use", "quotes"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(http, collection, space, body, status, code, words):
    body = body | ({"space": space} if body.get("space") == SPACE else {})
    assert words in problem(http.post(f"/collections/{collection}/search", json=body), status, code)


def test_points_that_do_not_belong_are_refused(http, collection, space):
    table = arrow.to_table(points(dimensions=8, space="sp_other"))
    assert "sp_other" in problem(upsert(http, collection, table), 409, "space_mismatch")
    table = arrow.to_table(points(dimensions=5, space=space))
    assert "vectors of 8 numbers" in problem(upsert(http, collection, table), 400, "wrong_use")
    headers = {"content-type": wire.ARROW}
    answer = http.post(f"/collections/{collection}/items", content=b"none", headers=headers)
    assert "no Arrow IPC stream" in problem(answer, 400, "wrong_use")
    answer = http.post(f"/collections/{collection}/items", json={"items": [{"item": {"text": "a"}}]})
    assert "no loaded model turns text" in problem(answer, 409, "space_mismatch")
    answer = http.post(f"/collections/{collection}/items", json={"items": [{"item": image(), "id": "x"}]})
    assert "not a UUID" in problem(answer, 400, "wrong_use")
    assert http.get(f"/collections/{collection}").json()["points"] == 0


def test_a_collection_of_another_space_is_in_the_way(http, collection):
    new = new_collection(collection, space="sp_b", dimensions=8).model_dump()
    assert collection in problem(http.post("/collections", json=new), 409, "space_mismatch")
    for name in ("", "Ü", "../x", "a/b", ".hidden", "x" * 64):
        answer = http.post("/collections", json=new | {"name": name})
        assert "name" in problem(answer, 422, "wrong_use")


def test_views_of_a_map_are_saved_replaced_and_go_with_their_collection(http, collection, space):
    url, view = f"/collections/{collection}/views", {"name": "the red ones", "choices": {"colour": "label"}}
    assert http.get(url).json() == []
    assert http.put(url, json=view).json() == view
    assert http.put(url, json=view | {"choices": {"lasso": "0,0,1,0,1,1"}}).status_code == 200
    assert http.put(url, json={"name": "all", "choices": {}}).status_code == 200
    assert http.get(url).json() == [{"name": "all", "choices": {}}, view | {"choices": {"lasso": "0,0,1,0,1,1"}}]
    assert "4,000" in problem(http.put(url, json={"name": "long", "choices": {"lasso": "1" * 4000}}), 422, "wrong_use")
    assert "name" in problem(http.put(url, json={"name": "../x", "choices": {}}), 422, "wrong_use")
    assert http.delete(f"{url}/the red ones").status_code == 204
    assert "all" in problem(http.delete(f"{url}/the red ones"), 404, "unknown_name")
    assert http.delete(f"/collections/{collection}").status_code == 204
    new = new_collection(collection, space=space, dimensions=8)
    assert http.post("/collections", json=new.model_dump()).status_code == 200
    assert http.get(url).json() == []


def test_a_layout_is_kept_and_comes_back_with_payload(http, collection, space):
    url = f"/collections/{collection}/layout"
    assert "no layout yet" in problem(http.get(url), 404, "unknown_name")
    upsert(http, collection, arrow.to_table(points(dimensions=8, space=space)))
    table = pa.table({"id": [uuid(i) for i in range(6)], "x": np.arange(6.0), "y": np.zeros(6)})
    body = b"".join(arrow.write_stream([table], table.schema))
    assert http.put(url, content=body).json()["has_layout"]
    came = pa.ipc.open_stream(http.get(url).content).read_all()
    assert came["label"].to_pylist() == ["red", "green"] * 3
    assert "lacks column 'x'" in problem(
        http.put(url, content=b"".join(arrow.write_stream([table.select(["id"])], table.select(["id"]).schema))),
        400,
        "wrong_use",
    )


def test_a_search_and_a_drop_at_once_give_answers_or_problems(http, server, space):
    """No request hangs and none is the server's fault, whatever else happens to the collection."""
    new = new_collection("race", space=space, dimensions=8).model_dump()
    body = {"vector": [1.0] * 8, "space": space}

    def search(_):
        return http.post("/collections/race/search", json=body).status_code

    def churn(_):
        http.post("/collections", json=new)
        upsert(http, "race", arrow.to_table(points(dimensions=8, space=space)))
        return http.delete("/collections/race").status_code

    with ThreadPoolExecutor(4) as pool:
        churned = pool.map(churn, range(8))
        seen = set(pool.map(search, range(60))) | set(churned)
    assert seen <= {200, 204, 404}


# --- jobs are in test_jobs.py; here the client ----------------------------------------------------------------------


def test_the_client_speaks_to_the_server(client, collection, space, server, tmp_path, monkeypatch):
    assert client.ready()
    assert {model.name for model in client.models()} == {"tiny", "words"}
    file = tmp_path / "a.png"
    file.write_bytes(png(7))
    embedded = client.embed([png(red) for red in range(19)] + [file], modality="image", model="tiny")
    assert embedded.vectors.shape == (20, 8)
    assert embedded.items == list(range(20))
    assert embedded.space == space
    np.testing.assert_allclose(embedded.vectors[19], embedded.vectors[7], atol=1e-6)
    answers = client.predict([png(red) for red in range(9)], modality="image", model="tiny")
    assert len(answers) == 9
    client.upsert(collection, arrow.to_table(points(dimensions=8, space=space)))
    assert client.search(collection, id=uuid(3), limit=2).hits[0].id != uuid(3)
    assert client.search(collection, item=file).collection == collection
    assert client.points(collection).num_rows == 6
    assert {facet.value: facet.count for facet in client.facets(collection, "label")} == {"red": 3, "green": 3}
    client.set_layout(collection, pa.table({"id": [uuid(1)], "x": [0.5], "y": [1.0]}))
    assert client.layout(collection)["label"].to_pylist() == ["green"]
    assert client.thumbnail(collection, uuid(0)) == b"webp"
    assert client.point(collection, uuid(1)).payload["label"] == "green"
    with pytest.raises(UnknownName, match="is not kept here: here sent its vector"):
        client.original(collection, uuid(0))
    assert client.delete(collection, ids=[uuid(0)]) == 1
    assert collection in [info.name for info in client.collections()]
    client.drop_collection(collection)
    with pytest.raises(UnknownName):
        client.collection(collection)


def test_the_asynchronous_client_gives_the_same(client, server):
    from tests.unit.serving.conftest import KEY

    async def ask():
        async with AsyncClient(server.url, api_key=KEY) as other:
            return await asyncio.gather(*(other.embed([png(red)], modality="image", model="tiny") for red in range(6)))

    together = client.embed([png(red) for red in range(6)], modality="image", model="tiny").vectors
    np.testing.assert_allclose(np.concatenate([one.vectors for one in asyncio.run(ask())]), together, atol=1e-5)


def test_the_client_raises_what_the_server_meant(client, server, collection):
    with pytest.raises(SpaceMismatch, match="request "):
        client.search(collection, item="a cat", modality="text", model="words")
    with pytest.raises(TooLarge):
        client.embed(["x" * 300_000], modality="text", model="words")
    with Client(server.url, api_key="wrong") as stranger, pytest.raises(Unauthorized):
        stranger.models()
    with Client(f"http://127.0.0.1:{ports.free()}") as nobody, pytest.raises(Exception, match="no server answers"):
        nobody.models()


def test_a_crowd_is_answered_or_told_when_to_come_back(server):
    """A hundred callers at once, 800 items: 200 or 429 with Retry-After, none left waiting."""
    body = json.dumps({"model": "tiny", "items": [image(red) for red in range(8)]}).encode()

    async def crowd():
        limits = httpx.Limits(max_connections=150)
        async with httpx.AsyncClient(base_url=server.url, timeout=30, limits=limits) as http:
            from tests.unit.serving.conftest import KEY

            headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
            return await asyncio.gather(*(http.post("/embed", content=body, headers=headers) for _ in range(100)))

    answers = asyncio.run(crowd())
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert sum(answer.status_code == 200 for answer in answers) >= 50
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            problem(answer, 429, "busy")
