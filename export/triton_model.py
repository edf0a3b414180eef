"""Runs the graph beside it with ONNX Runtime, in Triton's Python backend; a model repository holds it as model.py."""

from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as triton

_PREFERRED = ("CUDAExecutionProvider", "CPUExecutionProvider")


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        graph = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        known = onnxruntime.get_available_providers()
        self._session = onnxruntime.InferenceSession(graph, providers=[name for name in _PREFERRED if name in known])
        self._inputs = [node.name for node in self._session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        feed = {name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        names = list(request.requested_output_names())
        try:
            values = self._session.run(names, feed)
        except Exception as error:  # ONNX Runtime's classes; one request must not end the others
            return triton.InferenceResponse(error=triton.TritonError(str(error)))
        return triton.InferenceResponse([triton.Tensor(*pair) for pair in zip(names, values, strict=True)])
