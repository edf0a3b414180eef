"""What became of the mutants of a target: told on the terminal, and kept as a line of JSON where FUZZ_TALLY names a
file (`enfold bench fuzz`).
"""

import json
import os
from pathlib import Path
from typing import Any


def tell(target: str, **facts: Any) -> None:
    print(f"{target}: {facts}")
    if file := os.environ.get("FUZZ_TALLY"):
        with Path(file).open("a") as kept:
            kept.write(json.dumps({"target": target, **facts}) + "\n")
