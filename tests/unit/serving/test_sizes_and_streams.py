"""A bundle of several sizes that writes texts: chosen by request, streamed, and stopped when nobody reads."""

import asyncio
import json
import time

import pytest

from enfold import wire
from enfold.client import AsyncClient
from enfold.errors import TooLarge, UnknownName, WrongUse
from tests import bundles
from tests.servers import start, stop, until


@pytest.fixture(scope="module")
def speaker(tmp_path_factory):
    home = tmp_path_factory.mktemp("speaker")
    bundles.speaker_bundle(home / "bundles")
    running = start(home, "speaker")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


@pytest.fixture
def client(speaker):
    with speaker.client() as client:
        yield client


def ask(client, text="a", **options):
    size = options.pop("size", None)
    [answer] = client.predict([text], modality="text", options=options, size=size)
    return answer


def test_the_models_facts_name_its_sizes_and_their_spaces(client):
    [facts] = client.models()
    assert facts.sizes == ["small", "large"]
    spaces = {size: found.space for size, found in facts.entries["text"].sizes.items()}
    assert len(set(spaces.values())) == 2
    assert facts.entries["text"].space == spaces["large"]


def test_a_request_chooses_the_size_that_writes_and_the_space_it_embeds_in(client):
    assert ask(client, max_tokens=3)["text"] == "cat dog sat"
    assert ask(client, max_tokens=3, size="small")["text"] == "cat sat ran"
    assert ask(client, max_tokens=2, size="small")["sizes"] == ["small", "small"]
    spaces = [client.embed(["a cat"], modality="text", size=size).space for size in ("small", "large", None)]
    assert spaces[0] != spaces[1] == spaces[2]


def test_a_size_that_the_bundle_does_not_have_is_named_with_the_known(client):
    with pytest.raises(UnknownName, match=r"size of speaker@1: 'huge'.*Known: large, small"):
        ask(client, size="huge")


def test_all_sizes_together_write_what_the_largest_would(client):
    plain = ask(client, max_tokens=12)
    drafted = ask(client, max_tokens=12, depth="speculative")
    assert drafted["text"] == plain["text"]
    assert 0 < drafted["accepted"] < drafted["proposed"]


def test_pieces_come_one_by_one_and_the_whole_answer_last(client):
    *pieces, whole = client.stream("a", modality="text", options={"max_tokens": 5})
    assert whole["text"] == "cat dog sat ran [PAD]" or whole["text"].startswith("cat dog sat ran")
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert len(pieces) >= 4


def test_an_asynchronous_client_reads_the_same_stream(speaker, client):
    async def read():
        async with AsyncClient(speaker.url) as other:
            return [piece async for piece in other.stream("a", modality="text", options={"max_tokens": 5})]

    assert asyncio.run(read()) == list(client.stream("a", modality="text", options={"max_tokens": 5}))


def test_what_is_wrong_with_a_stream_is_told_before_it_begins(client, speaker):
    with pytest.raises(WrongUse, match="set temperature to 0"):
        list(client.stream("a", modality="text", options={"depth": "speculative", "temperature": 1}))
    with pytest.raises(TooLarge, match="more than 4095 tokens"):
        list(client.stream("a cat " * 4000, modality="text"))
    with speaker.http() as http:
        answer = http.post("/predict", json={"items": [{"text": "a"}, {"text": "b"}], "stream": True})
        assert answer.status_code == 400
        assert "one item is answered at a time" in wire.Problem.model_validate_json(answer.content).detail


def test_the_work_stops_when_the_reader_leaves(speaker):
    def pieces() -> float:
        with speaker.http() as http:
            lines = http.get("/metrics").text.splitlines()
        return float(next((line.split()[-1] for line in lines if line.startswith("enfold_pieces_total{")), 0))

    before = pieces()
    with speaker.http() as http:
        asked = {"items": [{"text": "a"}], "options": {"max_tokens": 4000}, "stream": True}
        with http.stream("POST", "/predict", json=asked) as response:
            line = next(response.iter_lines())
            assert json.loads(line.removeprefix("data: "))["text"]
    time.sleep(0.3)
    soon = pieces()
    time.sleep(0.5)
    assert pieces() == soon
    assert soon - before < 3000
