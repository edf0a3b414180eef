"""Tests that need an NVIDIA GPU: without one they are skipped, and the last line of the run says so."""

from pathlib import Path

import pytest

from enfold.errors import require

HERE = Path(__file__).parent


def missing() -> str | None:
    """Why nothing here can run, None if it can."""
    known = require("onnxruntime", "gpu", "a GPU test").get_available_providers()
    if "CUDAExecutionProvider" not in known:
        return (
            f"this ONNX Runtime has no CUDA provider ({', '.join(known)}): pip install 'enfold[gpu]' on a GPU machine"
        )
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := missing():
        for item in items:
            if item.path.is_relative_to(HERE):
                item.add_marker(pytest.mark.skip(reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ours = [report for report in terminalreporter.getreports("skipped") if report.nodeid.startswith("tests/gpu/")]
    if ours:
        terminalreporter.write_line(f"NOTHING ON A GPU WAS TESTED: {len(ours)} skipped. {missing()}", red=True)
