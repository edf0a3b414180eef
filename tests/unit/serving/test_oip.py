"""The Open Inference Protocol of a real server, by Triton's own clients and by hand."""

import asyncio
import base64
import json

import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.unit.serving.conftest import KEY
from tests.unit.serving.test_openai import embedded
from tests.unit.serving.test_service import png

TEXTS = ["red cat", "a dog sat", "blue"]
IDS = np.array([[2, 6, 0], [5, 7, 8], [4, 0, 0]])  # of WORDS
MASK = np.array([[1, 1, 0], [1, 1, 1], [1, 0, 0]])


@pytest.fixture
def triton(server):
    client = tritonclient.http.InferenceServerClient(server.url.removeprefix("http://"), concurrency=4)
    yield client
    client.close()


@pytest.fixture
def expected(http):
    return embedded(http, *({"text": text} for text in TEXTS))


def key():
    """A dictionary of its own for each call: the client writes into it."""
    return {"Authorization": f"Bearer {KEY}"}


def texts(*shape, binary=True):
    tensor = InferInput("text", list(shape or (3,)), "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in TEXTS], object).reshape(shape or 3), binary)
    return tensor


def prepared(binary=True, ids=IDS, mask=MASK):
    found = []
    for name, values in (("input_ids", ids), ("attention_mask", mask)):
        found.append(InferInput(name, list(values.shape), "INT64"))
        found[-1].set_data_from_numpy(values, binary)
    return found


# --- Triton's client ------------------------------------------------------------------------------------------------


def test_the_server_and_its_models_live_and_are_ready(triton):
    assert triton.is_server_live()  # probes answer without a key
    assert triton.is_server_ready()
    assert triton.is_model_ready("words", headers=key())
    assert triton.is_model_ready("words", "1", headers=key())
    assert not triton.is_model_ready("words", "9", headers=key())
    assert not triton.is_model_ready("nobody", headers=key())


def test_server_and_models_are_described(triton):
    server = triton.get_server_metadata(headers=key())
    assert server["name"] == "enfold"
    assert "binary_tensor_data" in server["extensions"]
    words = triton.get_model_metadata("words", headers=key())
    assert (words["name"], words["versions"]) == ("words", ["1"])
    assert {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in words["inputs"]} == {
        "text": ("BYTES", [-1]),
        "input_ids": ("INT64", [-1, -1]),
        "attention_mask": ("INT64", [-1, -1]),
    }
    tiny = triton.get_model_metadata("tiny", "1", headers=key())
    assert tiny["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]  # not a second time, as pixels
    assert words["outputs"] == [{"name": "out_embedding", "datatype": "FP32", "shape": [-1, 8]}]
    index = triton.get_model_repository_index(headers=key())
    assert {(model["name"], model["state"]) for model in index} == {("tiny", "READY"), ("words", "READY")}
    with pytest.raises(InferenceServerException, match="there is no GET /v2/models/words/config"):
        triton.get_model_config("words", headers=key())


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("outputs", [None, True, False])
def test_raw_texts_give_the_vectors_of_embed(triton, expected, shape, binary_in, outputs):
    wanted = None if outputs is None else [InferRequestedOutput("out_embedding", binary_data=outputs)]
    answer = triton.infer("words", [texts(*shape, binary=binary_in)], outputs=wanted, headers=key(), request_id="7")
    np.testing.assert_array_equal(answer.as_numpy("out_embedding"), expected)
    about = answer.get_response()
    assert (about["model_name"], about["model_version"], about["id"]) == ("words", "1", "7")


@pytest.mark.parametrize("binary", [True, False])
def test_prepared_inputs_give_the_vectors_of_embed(triton, expected, binary):
    answer = triton.infer("words", prepared(binary), model_version="1", headers=key())
    np.testing.assert_allclose(answer.as_numpy("out_embedding"), expected, atol=1e-6)


def test_images_come_as_files_or_as_pixels(triton, http):
    expected = embedded(http, {"image": base64.b64encode(png()).decode()}, model="tiny")
    for binary in (True, False):
        file = InferInput("image", [1], "BYTES")
        data = png() if binary else base64.b64encode(png())
        file.set_data_from_numpy(np.array([data], object), binary)
        np.testing.assert_array_equal(triton.infer("tiny", [file], headers=key()).as_numpy("out_embedding"), expected)
    colour = (np.array([200, 80, 40]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    pixels = np.broadcast_to(colour[None, :, None, None], (1, 3, 16, 16)).astype(np.float32)
    tensor = InferInput("image", [1, 3, 16, 16], "FP32")
    tensor.set_data_from_numpy(pixels)
    found = triton.infer("tiny", [tensor], headers=key()).as_numpy("out_embedding")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_many_at_once(triton, server, expected):
    waiting = [triton.async_infer("words", [texts()], headers=key()) for _ in range(8)]
    for one in waiting:
        np.testing.assert_allclose(one.get_result().as_numpy("out_embedding"), expected, atol=1e-6)

    async def ask():
        async with tritonclient.http.aio.InferenceServerClient(server.url.removeprefix("http://")) as client:
            return await asyncio.gather(*(client.infer("words", prepared(), headers=key()) for _ in range(4)))

    for answer in asyncio.run(ask()):
        np.testing.assert_allclose(answer.as_numpy("out_embedding"), expected, atol=1e-6)


def test_without_a_key_the_client_is_told(triton):
    with pytest.raises(InferenceServerException, match="wants a key"):
        triton.infer("words", [texts()])


# --- what cannot be answered ----------------------------------------------------------------------------------------


def tensor(**changed):
    return {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["red"]} | changed


def ids(**changed):
    both = {"datatype": "INT64", "shape": [1, 2]}
    return [{"name": "input_ids", "data": [2, 6]} | both | changed, {"name": "attention_mask", "data": [1, 1]} | both]


def pixels(**changed):
    return tensor(name="image", datatype="FP32", shape=[1, 3, 16, 16], data=[0.0] * 768) | changed


@pytest.mark.parametrize(
    ("model", "body", "status", "words"),
    [
        ("nobody", {"inputs": [tensor()]}, 404, "unknown model"),
        ("words/versions/9", {"inputs": [tensor()]}, 404, "unknown model 'words@9'"),
        ("words", {"inputs": []}, 422, "inputs"),
        ("words", {}, 422, "inputs: Field required"),
        ("words", [], 422, "the body"),
        ("words", {"inputs": [tensor(name="sound")]}, 400, "words@1 takes text (BYTES) or input_ids, attention_mask"),
        ("words", {"inputs": [tensor(name="image", data=["aGk="])]}, 400, "not image"),
        ("words", {"inputs": [tensor(), tensor()]}, 400, "input 'text' comes twice"),
        ("words", {"inputs": [tensor(), *ids()]}, 400, "not text, input_ids, attention_mask"),
        ("words", {"inputs": [tensor(datatype="INT64", data=[1])]}, 400, "not text"),
        ("words", {"inputs": [tensor(datatype="STRING")]}, 422, "datatype 'STRING'"),
        ("words", {"inputs": [tensor(shape=[2])]}, 422, "other data than 2 strings"),
        ("words", {"inputs": [tensor(shape=[])]}, 422, "inputs.0.shape: List should have at least 1 item"),
        ("words", {"inputs": [tensor(shape=[1, 2], data=["a", "b"])]}, 422, "[N] or [N, 1]"),
        ("words", {"inputs": [tensor(shape=[0], data=[])]}, 422, "greater than or equal to 1, not 0"),
        ("words", {"inputs": [tensor(shape=[2**70])]}, 422, "other data than"),
        ("words", {"inputs": [tensor(shape=[-1])]}, 422, "greater than or equal to 1, not -1"),
        ("words", {"inputs": [tensor(shape=["1"])]}, 422, "inputs.0.shape.0"),
        ("words", {"inputs": [tensor(shape=[1] * 9)]}, 422, "at most 8"),
        ("words", {"inputs": [tensor(data=[5])]}, 422, "strings"),
        ("words", {"inputs": [tensor(data=None)]}, 422, "neither 'data' nor 'binary_data_size'"),
        ("words", {"inputs": [tensor(data=["red", " "], shape=[2])]}, 422, "item 1: the text is empty"),
        ("words", {"inputs": [tensor(shape=[9], data=["red"] * 9)]}, 413, "at most 8"),
        ("words", {"inputs": [tensor(parameters={"shared_memory_region": "a"})]}, 422, "shared_memory_region"),
        ("words", {"inputs": [tensor(parameters={"binary_data_size": -1})]}, 422, "binary_data_size"),
        ("words", {"inputs": [tensor(parameters={"binary_data_size": 7})]}, 422, "0 are left"),
        ("words", {"inputs": [tensor()], "outputs": [{"name": "out_tokens"}]}, 400, "a model gives out_embedding"),
        ("words", {"inputs": ids(datatype="INT32")}, 422, "input 'input_ids' is INT64 [-1, -1], not INT32 [1, 2]"),
        ("words", {"inputs": ids(datatype="BYTES", shape=[1], data=["a"])}, 422, "not BYTES"),
        ("words", {"inputs": ids(shape=[2])}, 422, "is INT64 [-1, -1], not INT64 [2]"),
        ("words", {"inputs": ids(shape=[1, 3])}, 422, "it must fill its shape"),
        ("words", {"inputs": ids(shape=[2, 1])}, 422, "different numbers of rows"),
        ("words", {"inputs": ids(shape=[1, 1], data=[2])}, 422, "not of one shape"),
        ("words", {"inputs": ids(data=[2, 10])}, 422, "the vocabulary has 10 tokens"),
        ("words", {"inputs": ids(data=[2, -1])}, 422, "from -1 to 2"),
        ("words", {"inputs": ids(data=[2, 1.5])}, 422, "no such numbers"),
        ("words", {"inputs": ids(data=[2, 2**64])}, 422, "beyond"),
        ("words", {"inputs": ids(data=[2**63, 2**63])}, 422, "beyond"),
        ("words", {"inputs": ids(data=[[2], [6, 7]])}, 422, "no such numbers in rows of one length"),
        ("words", {"inputs": ids(data=[2, {}])}, 422, "no such numbers"),
        ("words", {"inputs": ids(data=["x" * 9999, *[2] * 9999], shape=[2, 5000])}, 422, "no such numbers"),
        ("words", {"inputs": ids(data=[[[[2]], 6]])}, 422, "no such numbers"),
        ("words", {"inputs": ids(shape=[], data=[2])}, 422, "inputs.0.shape"),
        ("words", {"inputs": ids()[:1]}, 400, "takes text (BYTES) or input_ids, attention_mask, not input_ids"),
        ("tiny", {"inputs": [pixels(shape=[1, 3, 16, 15], data=[0.0] * 720)]}, 422, "FP32 [-1, 3, 16, 16]"),
        ("tiny", {"inputs": [pixels(data=[1e300] * 768)]}, 422, "not finite"),
    ],
)
def test_a_request_that_makes_no_sense_is_a_sentence(http, model, body, status, words):
    response = http.post(f"/v2/models/{model}/infer", json=body)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert words in response.json()["error"]


def packed(text=b"red", size=None, claimed=None, shape=(1,), more=b"", header=None):
    """A binary request, with what it says of itself changed."""
    data = (len(text) if claimed is None else claimed).to_bytes(4, "little") + text
    size = len(data) if size is None else size
    body = {"name": "text", "datatype": "BYTES", "shape": list(shape), "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [body]}).encode()
    length = str(len(head)) if header is None else header
    return {"content": head + data + more, "headers": {"inference-header-content-length": length}}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"size": 100}, "shall have 100 binary bytes; 7 are left"),
        ({"size": 5}, "ends in the middle of item 0 of 1"),
        ({"size": 2}, "ends in the middle of item 0 of 1"),
        ({"claimed": 2**32 - 1}, "ends in the middle of item 0 of 1"),
        ({"claimed": 1}, "2 bytes after its 1 items"),
        ({"shape": (2**60,)}, "ends in the middle of item 1"),
        ({"more": b"xyz"}, "3 bytes follow the last binary input"),
        ({"header": "-1"}, "inference-header-content-length is '-1'"),
        ({"header": "999999"}, "the body has"),
        ({"header": "9" * 5000}, "inference-header-content-length"),
        ({"header": "3"}, "the body"),
        ({"text": b"\xff"}, "not UTF-8"),
    ],
)
def test_binary_data_that_do_not_add_up_are_refused(http, changed, words):
    assert http.post("/v2/models/words/infer", **packed()).status_code == 200
    response = http.post("/v2/models/words/infer", **packed(**changed))
    assert response.status_code == 422, response.text
    assert words in response.json()["error"]


def test_prepared_rows_are_bound_like_items(http, triton):
    for changed, words in (
        ({"ids": np.ones((9, 2), int), "mask": np.ones((9, 2), int)}, "at most 8"),
        ({"ids": np.ones((1, 9), int), "mask": np.ones((1, 9), int)}, "takes 1 to 8"),
        ({"ids": np.ones((1, 0), int), "mask": np.ones((1, 0), int)}, "greater than or equal to 1"),
        ({"mask": MASK * 2}, "attention_mask is 1"),
        ({"mask": MASK * 0}, "attention_mask is 1"),
    ):
        with pytest.raises(InferenceServerException, match=words):
            triton.infer("words", prepared(**changed), headers=key())
    compressed = http.post("/v2/models/words/infer", content=b"x", headers={"content-encoding": "gzip"})
    assert compressed.status_code == 415
