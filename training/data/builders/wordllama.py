"""wordllama: WordLlama l2_supercat_256, a vector for each of 32,000 tokens, trained so that their mean tells what a
text is about (Miller 2024, github.com/dleemiller/WordLlama).

Not a data set but a model with real weights, to be imported: enfold import wordllama --name wordllama.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from training.data.builders import Facts, Package, seal

FACTS = Facts(
    name="wordllama",
    modality="text",
    title="Model WordLlama: texts to 256 numbers by a table of token vectors, very fast; for enfold import",
    licence="MIT",
    packages=(
        Package(
            registry="pypi",
            name="wordllama",
            version="0.4.0.post1",
            file="wordllama-0.4.0.post1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            size_bytes=19_155_170,
            sha256="42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
            wanted=("wordllama/weights/", "wordllama/tokenizers/"),
        ),
    ),
    holds="model.safetensors",
)
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"},
    {"idx": 1, "name": "1", "path": "1_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def build(packages: Mapping[str, Path], target: Path) -> None:
    """The table and the tokenizer as a folder of sentence-transformers."""
    source = packages["wordllama"] / "wordllama"
    shutil.copy(source / "weights" / "l2_supercat_256.safetensors", target / "model.safetensors")
    shutil.copy(source / "tokenizers" / "l2_supercat_tokenizer_config.json", target / "tokenizer.json")
    (target / "modules.json").write_text(json.dumps(_MODULES, indent=1))
    (target / "README.md").write_text(f"---\nlicense: {FACTS.licence}\n---\n")
    seal(FACTS, target)
