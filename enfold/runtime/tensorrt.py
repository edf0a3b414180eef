"""TensorRT on an NVIDIA GPU: engines that were compiled at export, and graphs by ONNX Runtime.

ONNX Runtime has TensorRT build an engine for what it can of a graph when that first meets a shape, which takes seconds
to minutes: for batches of few shapes. CUDA runs the rest.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from enfold.errors import Unavailable, WrongUse, require
from enfold.modalities import Arrays
from enfold.runtime import Session, cuda, enough_memory
from enfold.runtime.onnxruntime import OnnxSession


class EngineSession:
    """An engine of one GPU and one version of TensorRT. Batches beyond what it was built for run in parts."""

    def __init__(self, path: Path):
        engines = require("tensorrt", "gpu", "running a TensorRT engine")
        self._torch = require("torch", "gpu", "running a TensorRT engine")  # for memory on the GPU
        if not self._torch.cuda.is_available():
            raise Unavailable("there is no NVIDIA GPU here: ask for variant fp32, which is of the same space")
        runtime = engines.Runtime(engines.Logger(engines.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise Unavailable(
                f"{path.name} was made on another GPU, or for another TensorRT than {engines.__version__}: ask for "
                "variant fp32, which is of the same space, or export again here"
            )
        self._graph, self._context = path.stem, self._engine.create_execution_context()
        self._stream, self._turn = self._torch.cuda.Stream(), threading.Lock()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        taken = {name for name in names if self._engine.get_tensor_mode(name) == engines.TensorIOMode.INPUT}
        self.inputs = tuple(name for name in names if name in taken)
        self.outputs = tuple(name for name in names if name not in taken)
        self._bounds = {name: self._engine.get_tensor_profile_shape(name, 0) for name in self.inputs}

    def run(self, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        wanted, most = only or self.outputs, self._bounds[self.inputs[0]][2][0]
        count = len(inputs[self.inputs[0]])
        parts = [
            self._part({name: inputs[name][at : at + most] for name in self.inputs}, wanted)
            for at in range(0, count, most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

    def _part(self, inputs: Arrays, wanted: Sequence[str]) -> Arrays:
        """Of at most as many items as the engine takes."""
        with enough_memory(self._graph), self._turn, self._torch.cuda.stream(self._stream):
            placed = {name: self._torch.from_numpy(np.ascontiguousarray(one)).cuda() for name, one in inputs.items()}
            for name, tensor in placed.items():
                if not self._context.set_input_shape(name, tuple(tensor.shape)):
                    least, _, most = map(tuple, self._bounds[name])
                    raise WrongUse(
                        f"input '{name}' has shape {tuple(tensor.shape)}, and the engine takes {least} to {most}: ask "
                        "for variant fp32, which is of the same space"
                    )
                self._context.set_tensor_address(name, tensor.data_ptr())
            found = {
                name: self._torch.empty(tuple(self._context.get_tensor_shape(name)), device="cuda")
                for name in self.outputs
            }
            for name, tensor in found.items():
                self._context.set_tensor_address(name, tensor.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise RuntimeError(f"TensorRT could not run {self._graph}")
            return {name: found[name].cpu().numpy() for name in wanted}


def load(path: Path, *, threads: int, variant: str) -> Session:
    if path.suffix == ".engine":
        return EngineSession(path)
    return OnnxSession(
        path, threads, [("TensorrtExecutionProvider", {"trt_engine_cache_enable": False}), cuda.PROVIDER]
    )
