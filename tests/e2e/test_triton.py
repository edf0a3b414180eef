"""A bundle served by the real Triton: what the process itself computes, over both protocols; gone, it is said so."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import enfold
from enfold import settings
from enfold.errors import Unavailable, WrongUse
from enfold.runtime import triton as runtime
from export.triton import write_repository
from tests import bundles
from tests.triton_server import Triton, installed

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the wheel's backend is built for Python 3.11")
TEXTS = ["red cat", "a dog sat", "blue", "green dog ran a cat sat"]


@pytest.fixture(scope="module")
def packages() -> Path:
    return installed(settings.load().home / "tests")  # before a test has a home of its own


@pytest.fixture
def triton(packages: Path, home: Path, tmp_path: Path) -> Iterator[Triton]:
    """With three bundles: texts, images with a head, and a state in two sizes."""
    for make in (bundles.text_bundle, bundles.image_bundle, bundles.speaker_bundle):
        write_repository(make(home / "bundles").manifest.name, tmp_path / "repository", "python")
    server = Triton(packages, tmp_path / "repository")
    server.start()
    yield server
    server.stop()


def seconds(call) -> float:
    started = time.monotonic()
    with pytest.raises(Unavailable) as error:
        call()
    assert "Triton at 127.0.0.1" in str(error.value)
    return time.monotonic() - started


def test_a_real_triton_serves_bundles_and_is_missed_when_it_is_gone(triton, monkeypatch):
    models = {}
    for protocol, url in triton.urls.items():
        monkeypatch.setenv("ENFOLD_TRITON_URL", url)
        texts = models[protocol] = enfold.open("words", runtime="triton")
        assert texts.check() > 0.999999
        here = enfold.open("words").embed(TEXTS).vectors
        np.testing.assert_allclose(texts.embed(TEXTS).vectors, here, atol=1e-6)

        picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
        answer = enfold.open("tiny", runtime="triton").predict([picture])[0]
        assert answer.label == enfold.open("tiny").predict([picture])[0].label

        for size in ("small", "large"):  # the cache begins with no length at all
            said = [
                enfold.open("speaker", size=size, runtime=name)
                .predict(["red a"], "generate", {"max_tokens": 5})[0]
                .text
                for name in ("triton", "onnxruntime")
            ]
            assert said[0] == said[1]

        with pytest.raises(Unavailable, match=r"does not serve words\.encode_text, version 7"):
            runtime.TritonSession(url, "words.encode_text", 7)
        with pytest.raises(Unavailable, match=r"could not run words\.encode_text"):
            texts.run("encode_text", {name: np.ones((1, 2), np.int32) for name in ("input_ids", "attention_mask")})

    with ThreadPoolExecutor(4) as pool:  # each thread speaks through a client of its own
        many = list(pool.map(lambda model: model.embed(TEXTS).vectors, [*models.values()] * 6))
    np.testing.assert_allclose(many, np.broadcast_to(here, (12, *here.shape)), atol=1e-6)

    triton.stop()
    for model in models.values():
        assert seconds(lambda model=model: model.embed(TEXTS)) < 10
    triton.start()
    for model in models.values():
        np.testing.assert_allclose(model.embed(TEXTS).vectors, here, atol=1e-6)


def test_a_triton_that_hangs_is_not_waited_for(triton, monkeypatch):
    monkeypatch.setattr(runtime, "_SECONDS", 1.0)
    for url in triton.urls.values():
        monkeypatch.setenv("ENFOLD_TRITON_URL", url)
        model = enfold.open("words", runtime="triton")
        model.check()
        with triton.frozen():
            assert 0.9 < seconds(lambda model=model: model.embed(TEXTS)) < 5
        model.check()


def test_a_url_that_is_none_says_how_to_write_one(text_bundle, monkeypatch):
    monkeypatch.setenv("ENFOLD_TRITON_URL", "127.0.0.1:8000")
    with pytest.raises(WrongUse, match=r"ENFOLD_TRITON_URL='127.0.0.1:8000': write http://host:8000 or grpc://"):
        enfold.open("words", runtime="triton").check()
