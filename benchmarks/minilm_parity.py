"""Does an imported MiniLM embed as sentence-transformers does? 500 real texts, the cosine of each pair of vectors.

    .venv/bin/python benchmarks/minilm_parity.py

sentence-transformers is installed into an environment of its own under ENFOLD_HOME/benchmarks; torch, transformers and
tokenizers are taken from the environment that runs this script, so that both sides compute with the same libraries and
what differs is only what each makes of the folder: prompt, truncation, pooling, length. enfold's side is ONNX Runtime.
"""

import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import enfold
from enfold import settings, store
from enfold.golden import cosine
from enfold.tables import table
from export.commands import import_model
from training.data.fetch import fetch
from training.data.sources import open_dataset

TEXTS, LIMIT = 500, 0.9999
LENGTHS = {"a sentence": (0, 40), "a paragraph": (40, 200), "cut at 256 tokens": (200, 10**6)}  # words
PEER = """
import json, sys, time
import numpy as np
from sentence_transformers import SentenceTransformer, __version__
folder, texts, out, threads = sys.argv[1:]
import torch
torch.set_num_threads(int(threads))
model = SentenceTransformer(folder, device="cpu", local_files_only=True)
texts = json.load(open(texts))
model.encode(texts[:8])
started = time.perf_counter()
vectors = model.encode(texts, batch_size=32)
np.savez(out, vectors=vectors, seconds=time.perf_counter() - started, version=__version__)
"""


def main(out: Annotated[Path, typer.Option(help="where the figures go")] = Path("minilm_parity.json")) -> None:
    config = settings.load()
    folder = fetch("minilm", data=config.data)
    fetch("brown", data=config.data)
    if not store.versions(config.bundles, "minilm"):
        import_model(folder, "minilm")
    texts = real_texts(config.data)
    cache = config.home / "benchmarks"
    cache.mkdir(parents=True, exist_ok=True)
    theirs = peer(cache, folder, texts, config.threads)
    rows = []
    for variant in enfold.open("minilm").bundle.manifest.variants:
        model = enfold.open("minilm", variant=variant)
        model.embed(texts[:8])
        started = time.perf_counter()
        ours = model.embed(texts).vectors
        seconds = time.perf_counter() - started
        rows += compared(variant, texts, ours, theirs["vectors"], seconds, float(theirs["seconds"]))
    figures = {
        "peer": f"sentence-transformers {theirs['version']}",
        "texts": len(texts),
        "threads": config.threads,
        "limit": LIMIT,
        "lowest_cosine": min(row["cosine ≥"] for row in rows),
        "rows": rows,
    }
    out.write_text(json.dumps(figures, indent=1) + "\n")
    Console().print(table(rows))
    sys.exit(0 if figures["lowest_cosine"] >= LIMIT else 1)


def real_texts(data: Path) -> list[str]:
    """Whole documents, their first paragraphs and their first sentences, in equal parts."""
    documents = [record.value or "" for record in open_dataset("brown", data=data).records]
    third = TEXTS // 3
    sentences = [text.split(". ")[0] + "." for text in documents[: TEXTS - 2 * third]]
    paragraphs = [text.split("\n\n")[0] for text in documents[-third:]]
    return [*sentences, *paragraphs, *documents[third : 2 * third]]


def peer(cache: Path, folder: Path, texts: list[str], threads: int) -> dict[str, Any]:
    """Vectors of sentence-transformers, made in a process of its own environment."""
    home = cache / "sentence-transformers"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        # Ours behind theirs on the path: what pip finds there it does not install again.
        site = next(home.glob("lib/python*/site-packages"))
        (site / "enfold_environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "sentence-transformers>=5,<6"], check=True)
        (home / "ready").touch()
    written, out = cache / "texts.json", cache / "vectors.npz"
    written.write_text(json.dumps(texts))
    subprocess.run([python, "-c", PEER, folder, written, out, str(threads)], check=True)
    with np.load(out) as found:
        return dict(found)


def compared(
    variant: str, texts: list[str], ours: np.ndarray, theirs: np.ndarray, seconds: float, peer_seconds: float
) -> list[dict[str, Any]]:
    """One row per length of text, and one over all with the speed of both."""
    similar, words = cosine(ours, theirs), np.array([len(text.split()) for text in texts])
    groups = {name: (words >= low) & (words < high) for name, (low, high) in LENGTHS.items()}
    rows = []
    for name, chosen in {**groups, "all": np.ones(len(texts), bool)}.items():
        row = {
            "variant": variant,
            "texts": name,
            "count": int(chosen.sum()),
            "cosine ≥": float(similar[chosen].min()),
            "difference ≤": float(np.abs(ours[chosen] - theirs[chosen]).max()),
            "texts/s": None,
            "peer's": None,
        }
        rows.append(row)
    rows[-1] |= {"texts/s": len(texts) / seconds, "peer's": len(texts) / peer_seconds}
    return rows


if __name__ == "__main__":
    typer.run(main)
