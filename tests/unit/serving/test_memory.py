"""Memory that is not there: batches go in halves, what does not fit by itself is told so, and the next is answered."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest

import enfold
from enfold.errors import OutOfMemory
from serving.door import answer_to
from serving.jobs import pipeline
from serving.jobs.embed import embed
from tests import bundles, memory
from tests.servers import start, stop, until

SMALL, LARGE = ["red"] * 16, "red green blue a cat dog"  # 16 MiB each, and 36 times as much
LEFT_MIB = 200  # some of the small ones fit, all of them do not, the large one does not


@pytest.fixture
def hungry(home):
    return bundles.hungry_bundle(home / "bundles")


def narrowed(runtime):
    """In a process of its own: vectors of the small ones with memory and without, and what is said of the large one."""
    model = enfold.open("hungry", runtime=runtime)
    expected = model.embed(SMALL[:1]).vectors
    memory.leave(LEFT_MIB)
    found = model.embed(SMALL).vectors
    with pytest.raises(OutOfMemory) as told:
        model.embed([*SMALL, LARGE])
    return expected, found, str(told.value), model.embed(SMALL[:1]).vectors


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_batch_goes_in_halves_and_an_item_that_does_not_fit_is_told_so(hungry, runtime):
    expected, found, told, after = memory.alone(narrowed, runtime)
    np.testing.assert_allclose(found, np.repeat(expected, len(SMALL), 0), atol=1e-6)
    np.testing.assert_array_equal(after, expected)
    assert told.startswith("there is not the memory that graph encode_text needs: ask again later")


def test_a_server_answers_what_fits_and_stays_well(hungry, home):
    server = start(home, "hungry", ENFOLD_RUNTIME="onnxruntime")
    try:
        with server.client() as client:
            until(client.ready)
            expected = client.embed(SMALL[:1], modality="text").vectors
            for process in psutil.Process(server.process.pid).children(recursive=True):
                memory.leave(LEFT_MIB, process.pid)
            found = client.embed(SMALL, modality="text").vectors
            np.testing.assert_allclose(found, np.repeat(expected, len(SMALL), 0), atol=1e-6)
            with server.http() as http:
                refused = http.post("/embed", json={"items": [{"text": LARGE}]})
            assert (refused.status_code, refused.json()["code"]) == (503, "out_of_memory")
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) >= 1
            assert "there is not the memory" in refused.json()["detail"]
            np.testing.assert_array_equal(client.embed(SMALL[:1], modality="text").vectors, expected)
            assert client.ready()
    finally:
        stop(server)


def test_a_decoder_without_memory_is_no_failure_of_the_server():
    told = answer_to(MemoryError(), "1", {"method": "POST", "path": "/embed"})
    assert (told.status_code, told.headers["retry-after"]) == (503, "1")


def narrow_job(source, to):
    """A job in a process of its own that is given little memory once it has begun."""
    carry_out = pipeline.Pipeline.carry_out

    def narrowly(self):
        memory.leave(LEFT_MIB)
        return carry_out(self)

    pipeline.Pipeline.carry_out = narrowly
    return embed(source, model="hungry", to=to)


def test_a_job_notes_what_does_not_fit_and_does_it_when_there_is_memory(hungry, home, tmp_path):
    lines = [*SMALL, LARGE, *SMALL]
    (tmp_path / "texts.csv").write_text("id,text\n" + "\n".join(f"{i},{line}" for i, line in enumerate(lines)) + "\n")
    to = f"parquet://{tmp_path}/out"
    done = memory.alone(narrow_job, str(tmp_path / "texts.csv"), to)
    assert (done["items"], done["failed"], done["vectors"]) == (len(lines) - 1, 1, len(lines) - 1)
    [letter] = map(json.loads, Path(done["dead_letters"]).read_text().splitlines())
    assert letter["item"] == str(len(SMALL))
    assert "there is not the memory" in letter["reason"]
    again = embed(str(tmp_path / "texts.csv"), model="hungry", to=to)
    assert (again["items"], again["failed"], again["skipped"]) == (len(lines), 0, len(lines) - 1)
