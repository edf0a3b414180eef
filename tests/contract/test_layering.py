"""The arrows between rooms, checked in a fresh interpreter."""

import subprocess
import sys

import pytest

WALK = """
import importlib, pkgutil, sys
for room in {rooms}:
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        importlib.import_module(module.name)
print(sorted({{name.partition(".")[0] for name in sys.modules}} & set({banned})))
"""


@pytest.mark.parametrize(
    ("rooms", "banned"),
    [
        (["enfold"], ["torch", "training", "export", "serving", "app", "bentoml", "streamlit"]),
        (["enfold", "serving"], ["torch", "training", "export", "app"]),
    ],
)
def test_importing_a_room_brings_in_nothing_it_must_not_know(rooms, banned):
    script = WALK.format(rooms=rooms, banned=banned)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
