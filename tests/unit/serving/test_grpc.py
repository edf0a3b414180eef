"""The Open Inference Protocol over gRPC, by Triton's own client against a real server."""

import asyncio
import json
import subprocess

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2
from tritonclient.utils import InferenceServerException

from enfold import ports
from tests import bundles
from tests.servers import enfold, start, stop, until
from tests.unit.serving.conftest import KEY
from tests.unit.serving.test_oip import IDS, MASK, TEXTS
from tests.unit.serving.test_openai import embedded

HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home, port = tmp_path_factory.mktemp("grpc"), ports.free()
    bundles.text_bundle(home / "bundles")
    limits = {"ENFOLD_MAX_ITEMS": "8", "ENFOLD_MAX_BODY_BYTES": "400000"}
    running = start(home, "words", ENFOLD_API_KEY=KEY, ENFOLD_GRPC_PORT=str(port), **limits)
    with running.client() as client:
        until(client.ready)
    yield running, f"127.0.0.1:{port}"
    stop(running)


@pytest.fixture
def triton(server):
    with tritonclient.grpc.InferenceServerClient(server[1]) as client:
        yield client


@pytest.fixture
def expected(server):
    with server[0].http() as http:
        return embedded(http, *({"text": text} for text in TEXTS))


def texts(*values, shape=None):
    tensor = InferInput("text", shape or [len(values)], "BYTES")
    return tensor.set_data_from_numpy(np.array([value.encode() for value in values], object).reshape(shape or -1))


def prepared(ids=IDS, mask=MASK):
    return [
        InferInput(name, list(values.shape), "INT64").set_data_from_numpy(values)
        for name, values in (("input_ids", ids), ("attention_mask", mask))
    ]


def refused(triton, inputs, model="words", headers=HEADERS, **options):
    """Status code and sentence of a refusal."""
    with pytest.raises(InferenceServerException) as error:
        triton.infer(model, inputs, headers=headers, **options)
    return error.value.status().removeprefix("StatusCode."), error.value.message()


def test_the_server_and_its_models_live_and_are_ready(triton):
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("words", headers=HEADERS)
    assert not triton.is_model_ready("words", "9", headers=HEADERS)
    assert triton.get_server_metadata(headers=HEADERS).name == "enfold"
    words = triton.get_model_metadata("words", headers=HEADERS)
    assert {(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in words.inputs} == {
        ("text", "BYTES", (-1,)),
        ("input_ids", "INT64", (-1, -1)),
        ("attention_mask", "INT64", (-1, -1)),
    }


@pytest.mark.parametrize("inputs", [[texts(*TEXTS)], [texts(*TEXTS, shape=[3, 1])], prepared()])
def test_vectors_are_those_of_embed(triton, expected, inputs):
    wanted = [InferRequestedOutput("out_embedding")]
    answer = triton.infer("words", inputs, model_version="1", outputs=wanted, request_id="7", headers=HEADERS)
    np.testing.assert_allclose(answer.as_numpy("out_embedding"), expected, atol=1e-6)
    about = answer.get_response()
    assert (about.model_name, about.model_version, about.id) == ("words", "1", "7")


def test_many_at_once(server, expected):
    async def ask():
        async with tritonclient.grpc.aio.InferenceServerClient(server[1]) as client:
            return await asyncio.gather(*(client.infer("words", [texts(*TEXTS)], headers=HEADERS) for _ in range(8)))

    for answer in asyncio.run(ask()):
        np.testing.assert_allclose(answer.as_numpy("out_embedding"), expected, atol=1e-6)


def test_contents_that_are_not_raw_are_read_too(server, expected):
    import grpc
    from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

    shaped = [("input_ids", IDS), ("attention_mask", MASK)]
    tensors = [
        {"name": name, "datatype": "INT64", "shape": values.shape, "contents": {"int64_contents": values.ravel()}}
        for name, values in shaped
    ]
    with grpc.insecure_channel(server[1]) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        for inputs in (
            tensors,
            [
                {
                    "name": "text",
                    "datatype": "BYTES",
                    "shape": [3],
                    "contents": {"bytes_contents": map(str.encode, TEXTS)},
                }
            ],
        ):
            request = service_pb2.ModelInferRequest(model_name="words", inputs=inputs)
            answer = infer(request, metadata=list(HEADERS.items()))
            found = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(3, 8)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        for shape in ([-1, -9], [1] * 9, [], [0, 2**62]):
            request = service_pb2.ModelInferRequest(model_name="words", inputs=[tensors[0] | {"shape": shape}])
            with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
                infer(request, metadata=list(HEADERS.items()))


def test_what_cannot_be_answered_has_a_code_and_a_sentence(triton):
    assert refused(triton, [texts("red")], headers=None)[0] == "UNAUTHENTICATED"
    assert refused(triton, [texts("red")], headers={"authorization": "Bearer no"})[0] == "UNAUTHENTICATED"
    assert refused(triton, [texts("red")], model="nobody") == (
        "NOT_FOUND",
        "unknown model 'nobody'. Known: words@1. The server opens what 'enfold serve' names.",
    )
    for inputs, words in (
        ([texts(" ")], "the text is empty"),
        ([texts(*["red"] * 9)], "at most 8"),
        (prepared(ids=IDS + 9), "the vocabulary has 10 tokens"),
        (prepared()[:1], "takes text (BYTES) or input_ids, attention_mask"),
        ([texts("red"), texts("red")], "comes twice"),
    ):
        code, sentence = refused(triton, inputs)
        assert code == "INVALID_ARGUMENT"
        assert words in sentence
    assert refused(triton, [texts("x" * 500_000)])[0] == "RESOURCE_EXHAUSTED"  # more than a body may have
    assert refused(triton, [texts("red")], client_timeout=1e-9)[0] in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    assert triton.is_server_live()


def test_every_call_is_counted_and_logged_as_over_http(server, triton):
    triton.infer("words", [texts("a line in the log")], headers=HEADERS)
    refused(triton, [texts("x")], model="nothing")
    route, log = "/inference.GRPCInferenceService/ModelInfer", server[0].log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{") and route in line]
    assert [line["status"] for line in lines[-2:]] == [200, 404]
    assert lines[-1]["method"] == "gRPC"
    assert "a line in the log" not in log
    with server[0].http() as http:
        counted = http.get("/metrics").text
    assert f'enfold_requests_total{{method="gRPC",route="{route}",status="404"}}' in counted


def test_a_port_that_is_taken_is_told_before_the_server_starts(server, tmp_path):
    bundles.text_bundle(tmp_path / "bundles")
    port = server[1].partition(":")[2]
    done: subprocess.CompletedProcess[str] = enfold(
        "serve", "words", "--port", ports.free(), home=tmp_path, ENFOLD_GRPC_PORT=port
    )
    assert done.returncode != 0
    assert f"port {port}" in done.stderr
