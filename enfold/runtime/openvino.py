"""OpenVINO on the CPU; on processors with bf16 it runs the fp32 graph in that precision as variant `bf16`."""

from collections.abc import Sequence
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any

import numpy as np

from enfold.errors import BundleInvalid, WrongUse, require
from enfold.modalities import Arrays
from enfold.runtime import enough_memory


class OpenVinoSession:
    def __init__(self, path: Path, threads: int, *, bf16: bool):
        core = _core()
        if bf16 and not _has_bf16(core):
            raise WrongUse("this processor has no bf16: ask for variant fp32, which is of the same space")
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,  # callers take turns with all threads, as in ONNX Runtime
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",  # by itself it takes bf16 where there is any
            "ENABLE_CPU_PINNING": False,  # several processes would pin their threads to the same cores
        }
        try:
            self._model = core.compile_model(path, "CPU", settings)
        except RuntimeError as error:
            raise BundleInvalid(f"{path.name} is no graph that OpenVINO can load: {_reason(error)}") from None
        self._graph = path.stem
        # A tensor goes by the names of all that was folded into it; its node keeps the graph's own.
        self.inputs = tuple(port.node.friendly_name for port in self._model.inputs)
        self.outputs = tuple(port.node.friendly_name.removesuffix("/sink_port_0") for port in self._model.outputs)
        self._idle: LifoQueue[Any] = LifoQueue()  # requests: each is of one call at a time

    def run(self, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        feed = {index: np.ascontiguousarray(inputs[name]) for index, name in enumerate(self.inputs)}
        wanted = only or self.outputs
        with enough_memory(self._graph):
            try:
                request = self._idle.get_nowait()
            except Empty:
                request = self._model.create_infer_request()
            # Not `infer`, which raises nothing when it fails, and leaves the outputs of the call before.
            request.start_async(feed, share_inputs=True)
            request.wait()
            # Copied, for the next call overwrites the request's own memory.
            found = {name: request.get_output_tensor(self.outputs.index(name)).data.copy() for name in wanted}
        self._idle.put(request)  # one that failed is thrown away
        return found


def load(path: Path, *, threads: int, variant: str) -> OpenVinoSession:
    return OpenVinoSession(path, threads, bf16=variant == "bf16")


def has_bf16() -> bool:
    """Whether this processor computes in bf16 itself. Raises MissingExtra without OpenVINO."""
    return _has_bf16(_core())


def _core() -> Any:
    return require("openvino", "cpu", "running a model with OpenVINO").Core()


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _reason(error: RuntimeError) -> str:
    """The last line that says something: those before it are places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
