"""ONNX Runtime on the CPU: the default runtime."""

from pathlib import Path

from enfold.errors import BundleInvalid, require
from enfold.modalities import Arrays


class OnnxSession:
    def __init__(self, path: Path, threads: int):
        ort = require("onnxruntime", "cpu", "running a model")
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Memory patterns are planned per input shape; with ragged batches they only grow.
        options.enable_mem_pattern = False
        # Idle threads would spin on the cores that decode the next batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a dozen unrelated classes here
            raise BundleInvalid(f"{path.name} is no graph that ONNX Runtime can load: {error}") from None
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.outputs = tuple(node.name for node in self._session.get_outputs())

    def run(self, inputs: Arrays) -> Arrays:
        values = self._session.run(self.outputs, {name: inputs[name] for name in self.inputs})
        return dict(zip(self.outputs, values, strict=True))


def load(path: Path, *, threads: int) -> OnnxSession:
    return OnnxSession(path, threads)
