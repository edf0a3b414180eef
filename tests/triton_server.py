"""A real Triton Inference Server for tests: NVIDIA's own program, from the wheel of nvidia-pytriton.

It has the Python backend alone, which ignores PYTHONPATH: every model.py is told where ONNX Runtime lies, and a NumPy
that is old enough for the backend.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from enfold import ports
from tests.servers import answers, until

_WHEEL, _WITH = "nvidia-pytriton==0.5.4", ("numpy<2", "onnxruntime>=1.20,<1.24")
_START_SECONDS = 60


def installed(cache: Path) -> Path:
    """The site-packages of an environment with the program; made once."""
    home, python = cache / "triton", cache / "triton" / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        for words in (("--no-deps", _WHEEL), _WITH):  # its other dependencies are those of its Python interface
            subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)
        (home / "ready").touch()
    return next(home.glob("lib/python3.11/site-packages"))


@dataclass
class Triton:
    """One server of a repository, on free ports that it keeps when it is started again."""

    packages: Path
    repository: Path
    http: int = field(default_factory=ports.free)
    grpc: int = field(default_factory=ports.free)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def urls(self) -> dict[str, str]:
        return {"http": f"http://127.0.0.1:{self.http}", "grpc": f"grpc://127.0.0.1:{self.grpc}"}

    def start(self) -> None:
        program = self.packages / "pytriton" / "tritonserver"
        libraries = [str(self.packages / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
        options = {
            "model-repository": self.repository,
            "backend-directory": self._backends(program),
            "http-port": self.http,
            "grpc-port": self.grpc,
            "allow-metrics": "false",
        }
        for script in self.repository.rglob("model.py"):
            script.write_text(f"import sys\nsys.path.insert(0, {str(self.packages)!r})\n{script.read_text()}")
        with (self.repository.parent / "triton.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program / "bin" / "tritonserver", *(f"--{name}={value}" for name, value in options.items())],
                env=os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(libraries)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            until(lambda: answers(f"{self.urls['http']}/v2/health/ready"), seconds=_START_SECONDS)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """At once, as a machine that fails."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nothing."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)

    def _backends(self, program: Path) -> Path:
        folder = self.repository.parent / "backends"
        if not folder.exists():
            shutil.copytree(program / "backends" / "python", folder / "python")
            shutil.copy(program / "python_backend_stubs" / "3.11" / "triton_python_backend_stub", folder / "python")
        return folder
