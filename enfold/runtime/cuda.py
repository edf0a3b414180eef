"""ONNX Runtime on an NVIDIA GPU."""

from pathlib import Path
from typing import Any

from enfold.runtime.onnxruntime import OnnxSession

# TF32 would round the inputs of fp32 products to 10 bits. The search for the fastest convolution is made for every
# shape anew: with ragged batches it would never end.
PROVIDER: tuple[str, dict[str, Any]] = (
    "CUDAExecutionProvider",
    {"use_tf32": 0, "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"},
)


def load(path: Path, *, threads: int, variant: str) -> OnnxSession:
    return OnnxSession(path, threads, [PROVIDER])
