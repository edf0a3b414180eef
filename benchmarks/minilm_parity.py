"""Does an imported MiniLM embed as sentence-transformers does? 500 real texts, the cosine of each pair of vectors.

sentence-transformers is installed into an environment of its own; torch, transformers and tokenizers are taken from the
environment that runs this, so that both sides compute with the same libraries and what differs is only what each makes
of the folder: prompt, truncation, pooling, length. enfold's side is ONNX Runtime.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

import enfold
from benchmarks.harness import items, peers
from benchmarks.harness.report import Result
from enfold import settings
from enfold.golden import cosine
from training.data.sources import open_dataset

TEXTS, QUICK_TEXTS, LIMIT = 500, 60, 0.9999
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


def run(quick: bool) -> Result:
    config = settings.load()
    folder = items.minilm(config)
    texts = real_texts(config.data, QUICK_TEXTS if quick else TEXTS)
    theirs = peer(config.home / "benchmarks", folder, texts)
    rows = []
    for variant in enfold.open("minilm").bundle.manifest.variants:
        model = enfold.open("minilm", variant=variant, threads=peers.THREADS)
        model.embed(texts[:8])
        started = time.perf_counter()
        ours = model.embed(texts).vectors
        seconds = time.perf_counter() - started
        rows += compared(variant, texts, ours, theirs["vectors"], seconds, float(theirs["seconds"]))
    lowest = min(row["cosine ≥"] for row in rows)
    return Result(
        {"all-MiniLM-L6-v2, enfold beside sentence-transformers:": rows},
        {"peer": f"sentence-transformers {theirs['version']}", "threads": peers.THREADS, "limit": LIMIT},
        "" if lowest >= LIMIT else f"The lowest cosine is {lowest:.6f}, at least {LIMIT} is asked.",
    )


def real_texts(data: Path, count: int) -> list[str]:
    """Whole documents, their first paragraphs and their first sentences, in equal parts."""
    documents = [record.value or "" for record in open_dataset("brown", data=data).records]
    third = count // 3
    sentences = [text.split(". ")[0] + "." for text in documents[: count - 2 * third]]
    paragraphs = [text.split("\n\n")[0] for text in documents[-third:]]
    return [*sentences, *paragraphs, *documents[third : 2 * third]]


def peer(cache: Path, folder: Path, texts: list[str]) -> dict[str, Any]:
    """Vectors of sentence-transformers, made in a process of its own environment."""
    python = peers.environment(cache, "sentence-transformers", "sentence-transformers>=5,<6", ours=True)
    written, out = cache / "texts.json", cache / "vectors.npz"
    written.write_text(json.dumps(texts))
    subprocess.run([python, "-c", PEER, folder, written, out, str(peers.THREADS)], check=True)
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
