"""ONNX Runtime on the CPU: the default runtime. Its providers for NVIDIA GPUs are cuda.py and tensorrt.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from enfold.errors import BundleInvalid, MissingExtra, Unavailable, require
from enfold.modalities import Arrays
from enfold.runtime import enough_memory

CPU = "CPUExecutionProvider"


class OnnxSession:
    def __init__(self, path: Path, threads: int, providers: Sequence[tuple[str, dict[str, Any]]] = ()):
        """providers   those that shall run the graph, with their options; the CPU takes what they leave

        Raises MissingExtra if this ONNX Runtime was built without the first of them, Unavailable if it finds no GPU.
        """
        first = providers[0][0] if providers else CPU
        ort = require("onnxruntime", "gpu" if providers else "cpu", "running a model")
        if first not in ort.get_available_providers():
            raise MissingExtra(
                f"this ONNX Runtime knows {', '.join(ort.get_available_providers())}, not {first}: "
                "pip uninstall onnxruntime, then pip install 'enfold[gpu]'"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # The arena keeps the most that one batch has needed, and does not grow beyond with ragged ones; without it long
        # batches cost a fifth more (docs/performance.md).
        options.enable_cpu_mem_arena = True
        # Memory patterns are planned per input shape; with ragged batches they only grow.
        options.enable_mem_pattern = False
        # Idle threads would spin on the cores that decode the next batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._graph = path.stem
        try:
            self._session = ort.InferenceSession(path, options, providers=[*providers, CPU])
            self.inputs = tuple(node.name for node in self._session.get_inputs())
            self.outputs = tuple(node.name for node in self._session.get_outputs())
        except Exception as error:  # onnxruntime raises a dozen unrelated classes here
            raise BundleInvalid(f"{path.name} is no graph that ONNX Runtime can load: {error}") from None
        if first not in self._session.get_providers():  # it falls back to the CPU and only logs why
            raise Unavailable(f"{first} found no GPU, driver or library that it can use here: take runtime onnxruntime")

    def run(self, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        wanted = only or self.outputs
        with enough_memory(self._graph):
            values = self._session.run(wanted, {name: inputs[name] for name in self.inputs})
        return dict(zip(wanted, values, strict=True))


def load(path: Path, *, threads: int, variant: str) -> OnnxSession:
    return OnnxSession(path, threads)
