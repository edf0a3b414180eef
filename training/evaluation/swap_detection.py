"""Are swapped tokens found in texts of the test split? As a server finds them, beside how rare a token is."""
# V vocabulary

import numpy as np
import torch

from enfold.errors import WrongUse
from enfold.modalities import Sample
from enfold.modalities.text import Text
from enfold.tasks.swaps import auc
from training.artefacts import needed_folder
from training.blocks.token_swaps import any_word, drawn
from training.evaluation import Subject
from training.heads import load_head, run_by

NEEDS_LABELS = False
TEXTS, SHARE = 300, 0.15


def evaluate(subject: Subject) -> dict[str, float]:
    """auc of the head and of rarity: 1/2 by chance."""
    assert subject.encoder is not None
    assert subject.stage is not None
    run, reader = subject.run, subject.modality
    assert isinstance(reader, Text)
    saved = load_head(needed_folder(subject.stage, run, "head.json"), subject.encoder)
    if saved.head.task != "swaps":
        raise WrongUse(
            f"stage '{subject.stage.name}' looks for swaps, and the head it needs is for '{saved.head.task}'"
        )
    graph = saved.spec["graph"]
    run_graph = run_by(saved.head.graphs(subject.encoder, subject.prepared("test", 2)))
    special = torch.tensor(sorted(reader.special))
    every = torch.arange(reader.input_size)
    words = every[~torch.isin(every, special)]
    seen = np.bincount(subject.prepared("train")["input_ids"].ravel(), minlength=len(every))  # [V]
    torch.manual_seed(0)
    found: dict[str, list[np.ndarray]] = {"auc": [], "rarity_auc": []}
    truth = []
    data = subject.data("test")
    for i in range(min(TEXTS, len(data))):
        (sample,) = reader.prepare(data.read(i, reader))
        ids = torch.from_numpy(sample.arrays["input_ids"])
        real = ~torch.isin(ids, special)
        at = drawn(real, SHARE)
        changed = torch.where(at, any_word(ids, words), ids).numpy()
        swapped = Sample(sample.arrays | {"input_ids": changed})
        logits = run_graph(graph, reader.collate([swapped]))["out_swaps"][0]
        found["auc"].append(logits[real.numpy()])
        found["rarity_auc"].append(-seen[changed[real.numpy()]])
        truth.append(at.numpy()[real.numpy()])
    return {name: auc(np.concatenate(scores), np.concatenate(truth)) for name, scores in found.items()}
