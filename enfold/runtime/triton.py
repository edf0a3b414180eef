"""A graph on a Triton Inference Server (ENFOLD_TRITON_URL, over HTTP or gRPC), from a repository that
`enfold bundle triton` wrote.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np

from enfold import settings
from enfold.bundle import read_manifest
from enfold.errors import Unavailable, WrongUse, require
from enfold.modalities import Arrays
from enfold.runtime import enough_memory

T = TypeVar("T")
_SECONDS = 30.0  # that one answer may take
_PAUSES = (0.1, 0.4, 1.6)  # seconds before each further try of a server that cannot be reached or is not ready


def served_as(file: Path) -> tuple[str, int]:
    """Name and version under which a model repository holds a bundle's graph file."""
    manifest = read_manifest(file.parents[1])
    return f"{manifest.name}.{file.stem}", manifest.version


class TritonSession:
    def __init__(self, url: str, name: str, version: int):
        """Raises WrongUse for a URL of another scheme, Unavailable if the server cannot be reached or lacks the model.

        url   http://host:8000 or grpc://host:8001; https and grpcs speak TLS
        """
        address = urlsplit(url)
        if address.scheme not in ("http", "https", "grpc", "grpcs") or not address.netloc:
            raise WrongUse(f"ENFOLD_TRITON_URL={url!r}: write http://host:8000 or grpc://host:8001 (https, grpcs)")
        self._where, self._tls = address.netloc, address.scheme.endswith("s")
        self._grpc = address.scheme.startswith("grpc")
        protocol = "grpc" if self._grpc else "http"
        self._triton = require(f"tritonclient.{protocol}", "triton", "running a model on Triton")
        self._name, self._version = name, str(version)
        self._own = threading.local()  # a client over HTTP works only in the thread that made it
        facts = self._asked(
            lambda client: client.get_model_metadata(name, self._version, **self._options(as_json=True))
        )
        self.inputs = tuple(tensor["name"] for tensor in facts["inputs"])
        self.outputs = tuple(tensor["name"] for tensor in facts["outputs"])

    def run(self, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        sent = [self._tensor(name, inputs[name]) for name in self.inputs]
        wanted = [self._triton.InferRequestedOutput(name) for name in only or self.outputs]
        with enough_memory(self._name):
            found = self._asked(
                lambda client: client.infer(self._name, sent, self._version, outputs=wanted, **self._options())
            )
        return {name: np.array(found.as_numpy(name)) for name in only or self.outputs}

    def _tensor(self, name: str, array: np.ndarray) -> Any:
        from tritonclient.utils import np_to_triton_dtype

        tensor = self._triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(np.ascontiguousarray(array))
        return tensor

    def _asked(self, ask: Callable[[Any], T]) -> T:
        """What a client answers, asked a few times if need be. Raises Unavailable."""
        reason = ""
        for pause in (0, *_PAUSES):
            time.sleep(pause)
            try:
                return ask(self._client())
            except self._triton.InferenceServerException as error:
                reason = error.message() or "no reason given"
                if error.status() == "StatusCode.DEADLINE_EXCEEDED":
                    raise self._too_slow() from None
                if error.status() not in ("503", "StatusCode.UNAVAILABLE"):
                    raise self._refused(reason) from None
            except TimeoutError:
                raise self._too_slow() from None
            except Exception as error:  # no connection, or one that was closed: geventhttpclient has classes of its own
                reason = str(error) or type(error).__name__
        raise Unavailable(f"Triton at {self._where} cannot be reached ({reason}): start it, or see ENFOLD_TRITON_URL")

    def _client(self) -> Any:
        if not hasattr(self._own, "client"):
            self._own.client = self._triton.InferenceServerClient(self._where, **self._connection())
        return self._own.client

    def _connection(self) -> dict[str, Any]:
        if not self._grpc:
            return {"ssl": self._tls, "connection_timeout": _SECONDS, "network_timeout": _SECONDS}
        # By itself gRPC waits up to two minutes before it looks again for a server that was away.
        unlimited = {"grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1}
        return {"ssl": self._tls, "channel_args": [*unlimited.items(), ("grpc.max_reconnect_backoff_ms", 500)]}

    def _options(self, **of_grpc: Any) -> dict[str, Any]:
        """Of one call: over gRPC a deadline is the call's, over HTTP the connection's."""
        return {"client_timeout": _SECONDS, **of_grpc} if self._grpc else {}

    def _refused(self, reason: str) -> Unavailable:
        if "unknown model" in reason:
            bundle = self._name.partition(".")[0]
            return Unavailable(
                f"Triton at {self._where} does not serve {self._name}, version {self._version}: write it into its "
                f"model repository (enfold bundle triton {bundle}@{self._version} --to FOLDER) and load it"
            )
        return Unavailable(f"Triton at {self._where} could not run {self._name}: {reason}")

    def _too_slow(self) -> Unavailable:
        return Unavailable(f"Triton at {self._where} gave no answer in {_SECONDS:g} s: it has too much to do, or hangs")


def load(path: Path, *, threads: int, variant: str) -> TritonSession:
    return TritonSession(settings.load().triton_url, *served_as(path))
