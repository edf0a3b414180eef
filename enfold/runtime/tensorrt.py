"""ONNX Runtime with TensorRT's engines for what it can compile, CUDA for the rest.

An engine is built when a graph first meets a shape, which takes seconds to minutes: for batches of few shapes.
"""

from pathlib import Path

from enfold.runtime import cuda
from enfold.runtime.onnxruntime import OnnxSession


def load(path: Path, *, threads: int, variant: str) -> OnnxSession:
    return OnnxSession(
        path, threads, [("TensorrtExecutionProvider", {"trt_engine_cache_enable": False}), cuda.PROVIDER]
    )
