"""The GPU's runtimes give what the CPU gives, and are faster at what they are for."""

import time

import numpy as np
import pytest

from enfold.bundle import open_bundle
from enfold.golden import cosine
from enfold.model import Model
from export.publish import publish
from tests.unit.export.drafts import image_draft, vit

ON_GPU = ("cuda", "tensorrt")
BATCH = 32


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A ViT of two blocks, through the gate."""
    store = tmp_path_factory.mktemp("home") / "bundles"
    return open_bundle(publish([image_draft(vit())], "photos", store).path)


def pixels(rows: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).normal(size=(rows, 3, 16, 16)).astype(np.float32)}


@pytest.mark.parametrize("name", ON_GPU)
@pytest.mark.parametrize("variant", ["fp32", "fp16"])
def test_vectors_are_those_of_the_cpu(photos, name, variant):
    model, here = Model(photos, variant=variant, runtime=name), Model(photos, variant=variant)
    assert model.check() > 0.9999
    for rows in (1, 2, 7, BATCH):
        found, want = (one.run("encode_image", pixels(rows))["out_embedding"] for one in (model, here))
        np.testing.assert_allclose(found, want, atol=1e-3 * np.abs(want).max())


def test_an_engine_of_torch_tensorrt_is_a_variant_that_the_gate_has_judged(photos):
    pytest.importorskip("torch_tensorrt")
    assert "trt_fp16" in photos.manifest.variants, photos.path.joinpath("export_report.json").read_text()
    model, here = Model(photos, variant="trt_fp16"), Model(photos)
    assert model.check() > 0.999
    for rows in (1, 7, 200):  # more than it was built for, too
        found, want = (one.run("encode_image", pixels(rows))["out_embedding"] for one in (model, here))
        assert cosine(found, want).min() > 0.999


def test_auto_tries_the_gpu_too(photos):
    assert "cuda" in Model(photos, runtime="auto").why


@pytest.mark.parametrize("name", ON_GPU)
def test_throughput_is_told(photos, name, capsys):
    """Too small a model to promise anything; the figures are for whoever runs this."""
    rates = {}
    for runtime in (name, "onnxruntime"):
        session, batch = Model(photos, runtime=runtime).session("encode_image"), pixels(BATCH)
        session.run(batch)
        started = time.perf_counter()
        for _ in range(50):
            session.run(batch)
        rates[runtime] = 50 * BATCH / (time.perf_counter() - started)
    with capsys.disabled():
        print(f"\nitems/s: {', '.join(f'{runtime} {rate:,.0f}' for runtime, rate in rates.items())}")
    assert all(rate > 0 for rate in rates.values())
