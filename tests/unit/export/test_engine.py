"""What TensorRT is given to compile, and what is said where there is nothing to compile it with."""

import sys

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_structure

from enfold.errors import MissingExtra, Unavailable
from enfold.runtime import load
from export import variants
from export.engine import MOST_ITEMS, program, shapes
from export.onnx import OUTPUTS
from export.publish import publish
from tests.unit.export.drafts import image_draft, vit
from training.encoders import build

TEXT = build("bert", {"dim": 32, "depth": 2, "heads": 2, "positions": 64, "pool": "mean", "special": 5}, 40).eval()


def pixels(count: int) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).normal(size=(count, 3, 16, 16)).astype(np.float32)}


def words(count: int, length: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ids, lengths = rng.integers(5, 40, (count, length)), rng.integers(1, length + 1, count)
    return {"input_ids": ids, "attention_mask": (np.arange(length) < lengths[:, None]).astype(np.int64)}


@pytest.mark.parametrize(
    ("encoder", "example", "longest", "batches"),
    [
        (vit(), pixels(3), None, [pixels(1), pixels(2), pixels(MOST_ITEMS)]),
        (TEXT, words(3, 9), 60, [words(1, 1), words(2, 5), words(MOST_ITEMS, 60)]),
    ],
)
def test_the_narrow_encoder_is_one_program_for_all_that_fits(encoder, example, longest, batches):
    narrow = program(encoder, example, longest, "cpu")
    # How torch-tensorrt takes names: in the form of what the program takes and gives.
    assert narrow.call_spec.in_spec == tree_structure((tuple(example), {}))
    assert narrow.call_spec.out_spec == tree_structure(OUTPUTS)
    assert {weight.dtype for weight in narrow.state_dict.values() if weight.is_floating_point()} == {torch.float16}
    for batch in batches:
        tokens, embedding = narrow.module()(*(torch.from_numpy(array) for array in batch.values()))
        want = encoder({name: torch.from_numpy(array) for name, array in batch.items()})
        assert tokens.dtype == embedding.dtype == torch.float32
        torch.testing.assert_close(embedding, want.embedding, atol=5e-3, rtol=5e-3)
        assert torch.cosine_similarity(embedding, want.embedding).min() > 0.9999
    assert next(encoder.parameters()).dtype == torch.float32


def test_an_engine_is_built_for_one_item_to_a_full_batch():
    assert shapes(pixels(2)["image"], None) == {
        "min_shape": (1, 3, 16, 16),
        "opt_shape": (16, 3, 16, 16),
        "max_shape": (MOST_ITEMS, 3, 16, 16),
    }
    assert list(shapes(words(2, 9)["input_ids"], 256).values()) == [(1, 1), (16, 64), (MOST_ITEMS, 256)]
    assert list(shapes(words(2, 9)["input_ids"], 30).values()) == [(1, 1), (16, 30), (MOST_ITEMS, 30)]


def test_without_a_gpu_nobody_thinks_of_engines(tmp_path):
    assert "trt_fp16" not in variants.candidates()
    (tmp_path / "encode.trt_fp16.engine").write_bytes(b"an engine")
    with pytest.raises((MissingExtra, Unavailable), match=r"enfold\[gpu\]|no NVIDIA GPU here"):
        load("tensorrt", tmp_path / "encode.trt_fp16.engine", threads=1, variant="trt_fp16")


def test_with_a_gpu_and_no_compiler_the_report_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(variants, "candidates", lambda: {"trt_fp16": variants.trt_fp16})
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    published = publish([image_draft(vit())], "photos", tmp_path)
    assert "enfold[gpu]" in published.report.dropped["trt_fp16"]
    assert published.manifest.variants == ("fp32",)
