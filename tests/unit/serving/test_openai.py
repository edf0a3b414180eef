"""What is written for OpenAI's embeddings API, against a real server: its own clients, LangChain's, LlamaIndex's."""

import asyncio
import base64

import httpx
import numpy as np
import openai
import pytest

from enfold.errors import Busy
from serving import door
from serving.dialects import Dialects
from serving.openai import error as dialect
from tests.unit.serving.conftest import KEY
from tests.unit.serving.test_service import png

TEXTS = ["red cat", "a dog sat", "blue"]


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def embedded(http, *items, model="words"):
    """What /embed gives."""
    answer = http.post("/embed", json={"model": model, "items": items}).json()
    return np.array([row["vector"] for row in answer["vectors"]], np.float32)


def vectors(response):
    assert [row.index for row in response.data] == list(range(len(response.data)))
    return np.array([row.embedding for row in response.data], np.float32)


@pytest.fixture
def expected(http):
    return embedded(http, *({"text": text} for text in TEXTS))


# --- embeddings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_vectors_are_those_of_embed_in_every_encoding(client, expected, encoding):
    response = client.embeddings.create(model="words", input=TEXTS, **encoding)
    assert response.model == "words@1"
    assert response.usage.prompt_tokens == response.usage.total_tokens == 6
    found = [row.embedding for row in response.data]
    if encoding.get("encoding_format") == "base64":  # asked for by the caller, the client leaves it as it is
        found = [np.frombuffer(base64.b64decode(row), "<f4") for row in found]
    np.testing.assert_array_equal(np.array(found, np.float32), expected)


def test_one_text_is_a_list_of_one(client, expected):
    np.testing.assert_array_equal(vectors(client.embeddings.create(model="words@1", input=TEXTS[0])), expected[:1])


def test_the_asynchronous_client_gets_the_same(server, expected):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY) as client:
            return await asyncio.gather(*(client.embeddings.create(model="words", input=text) for text in TEXTS))

    for row, response in zip(expected, asyncio.run(ask()), strict=True):
        np.testing.assert_allclose(vectors(response)[0], row, atol=1e-6)


def test_token_ids_of_the_models_tokenizer_are_the_text_they_stand_for(client, expected):
    ids = [[2, 6], [5, 7, 8], [4]]  # of WORDS
    np.testing.assert_array_equal(vectors(client.embeddings.create(model="words", input=ids)), expected)
    np.testing.assert_array_equal(vectors(client.embeddings.create(model="words", input=ids[0])), expected[:1])


def test_a_data_uri_is_an_image(client, http):
    data = base64.b64encode(png()).decode()
    response = client.embeddings.create(model="tiny", input=f"data:image/png;base64,{data}")
    np.testing.assert_array_equal(vectors(response), embedded(http, {"image": data}, model="tiny"))


def test_a_text_that_begins_like_a_data_uri_is_a_text(client, http):
    response = client.embeddings.create(model="words", input="data: red cat")
    np.testing.assert_array_equal(vectors(response), embedded(http, {"text": "data: red cat"}))


def test_the_models_own_dimensions_may_be_named(client, expected):
    assert vectors(client.embeddings.create(model="words", input=TEXTS, dimensions=8)).shape == (3, 8)
    with pytest.raises(openai.BadRequestError, match=r"words@1 gives vectors of 8 numbers, not of 4"):
        client.embeddings.create(model="words", input=TEXTS, dimensions=4)


def test_models_are_listed_and_found_by_every_name(client):
    assert {model.id for model in client.models.list()} == {"tiny@1", "words@1"}
    assert client.models.retrieve("words").id == client.models.retrieve("words@1").id == "words@1"
    assert client.models.retrieve("words").created > 1_700_000_000


# --- what others build on it ----------------------------------------------------------------------------------------


def test_langchain_embeds_documents_and_queries(server, expected):
    from langchain_openai import OpenAIEmbeddings

    # Else it would send tokens of OpenAI's own vocabulary.
    own = {"check_embedding_ctx_length": False, "chunk_size": 2}
    found = OpenAIEmbeddings(model="words", base_url=f"{server.url}/v1", api_key=KEY, **own)
    np.testing.assert_allclose(found.embed_documents(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(asyncio.run(found.aembed_query(TEXTS[0])), expected[0], atol=1e-6)


def test_llama_index_embeds_documents_and_queries(server, expected):
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    found = OpenAILikeEmbedding(model_name="words", api_base=f"{server.url}/v1", api_key=KEY, embed_batch_size=2)
    np.testing.assert_allclose(found.get_text_embedding_batch(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(asyncio.run(found.aget_query_embedding(TEXTS[0])), expected[0], atol=1e-6)


# --- errors ---------------------------------------------------------------------------------------------------------


def told(response, status):
    """The error of a response in OpenAI's shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("body", "status", "param", "code", "words"),
    [
        ({"model": "nobody", "input": "cat"}, 404, None, "model_not_found", "unknown model 'nobody'"),
        ({"model": "words@9", "input": "cat"}, 404, None, "model_not_found", "words@1"),
        ({"input": "cat"}, 400, "model", "wrong_use", "Field required"),
        ({"model": "words"}, 400, "input", "wrong_use", "Field required"),
        ({"model": "words", "input": []}, 400, "input", "wrong_use", "a list of strings"),
        ({"model": "words", "input": {}}, 400, "input", "wrong_use", "a list of strings"),
        ({"model": "words", "input": ["cat", 5]}, 400, "input", "wrong_use", "valid string"),
        ({"model": "words", "input": [2, True]}, 400, "input", "wrong_use", "valid integer"),
        ({"model": "words", "input": [[2], []]}, 400, None, "bad_item", "item 1: the text is empty"),
        ({"model": "words", "input": ""}, 400, None, "bad_item", "the text is empty"),
        ({"model": "words", "input": [10]}, 400, None, "bad_item", "token 10 is not in this model's vocabulary of 10"),
        ({"model": "words", "input": [-1]}, 400, None, "bad_item", "token -1"),
        ({"model": "words", "input": [2**63]}, 400, None, "bad_item", "token 9223372036854775808"),
        ({"model": "words", "input": ["cat"] * 9}, 413, None, "too_large", "at most 8"),
        ({"model": "words", "input": "cat", "encoding_format": "hex"}, 400, "encoding_format", "wrong_use", "float"),
        ({"model": "words", "input": "cat", "dimensions": 0}, 400, None, "wrong_use", "not of 0"),
        ({"model": "words", "input": "cat", "colour": 1}, 400, None, "wrong_use", "colour"),
        ({"model": "tiny", "input": "cat"}, 400, None, "wrong_use", "takes image items, not text"),
        ({"model": "tiny", "input": [5]}, 400, None, "wrong_use", "takes image items, not text"),
        ({"model": "tiny", "input": "data:image/png;base64,!!"}, 400, "input", "bad_item", "not base64"),
        ({"model": "tiny", "input": "data:image/png;base64,aGk="}, 400, None, "bad_item", "no PNG"),
        ({"model": "tiny", "input": "data:text/x-none;base64,aGk="}, 400, "input", "bad_item", "no modality reads"),
        ({"model": "words", "input": ["a", "data:image/png;base64,aGk="]}, 400, "input", "wrong_use", "image and text"),
    ],
)
def test_what_cannot_be_answered_is_told_as_openai_would(http, body, status, param, code, words):
    error = told(http.post("/v1/embeddings", json=body), status)
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]


def test_bodies_that_are_no_requests_are_refused(http):
    told(http.post("/v1/embeddings", content=b"{"), 400)
    told(http.post("/v1/embeddings", content=b"\xff\xfe"), 400)
    told(http.post("/v1/embeddings", content=b"cat", headers={"content-type": "text/plain"}), 415)
    told(http.post("/v1/embeddings", content=b"x" * 500_000), 413)
    assert told(http.get("/v1/models/nobody"), 404)["code"] == "model_not_found"
    assert "there is no POST /v1/completions" in told(http.post("/v1/completions"), 404)["message"]


def test_a_full_queue_is_told_with_the_time_to_wait():
    busy = Busy("too much is waiting: ask again later")
    busy.retry_after_seconds = 7

    async def full(scope, receive, send):
        await door.problem(busy, "abc")(scope, receive, send)

    async def ask(path):
        app = Dialects(full, {"v1": dialect})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
            return await http.get(path)

    response = asyncio.run(ask("/v1/embeddings"))
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert asyncio.run(ask("/v10/embeddings")).headers["content-type"] == "application/problem+json"


def test_the_door_speaks_the_same_language(server):
    error = told(httpx.get(f"{server.url}/v1/models"), 401)
    assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
