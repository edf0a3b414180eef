"""Perplexity of masked residues of families that training has not seen, beside that of how common each residue is."""
# V vocabulary

import numpy as np
import torch
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities.protein import FIRST, MASK
from training.blocks.token_swaps import drawn, masked
from training.evaluation import Subject
from training.methods.tape import Tape

NEEDS_LABELS = False
PROTEINS, BATCH = 500, 25


@torch.inference_mode()
def evaluate(subject: Subject) -> dict[str, float]:
    """residue_perplexity: exp of the mean cross-entropy of a chosen residue; frequency: by how common each is."""
    method = subject.method
    if not isinstance(method, Tape):
        raise WrongUse("evaluation 'residue_perplexity' reads masked residues: let its stage need a 'tape' pretraining")
    inputs = {name: torch.from_numpy(values) for name, values in subject.prepared("test", PROTEINS).items()}
    seen = subject.prepared("train")["input_ids"]
    counts = np.bincount(seen[seen >= FIRST], minlength=subject.modality.input_size) + 1.0
    frequency = torch.from_numpy(np.log(counts / counts.sum()))  # [V]
    torch.manual_seed(0)
    losses = {"residue_perplexity": 0.0, "frequency": 0.0}
    chosen = 0
    for ids, mask in zip(*(inputs[name].split(BATCH) for name in ("input_ids", "attention_mask")), strict=True):
        at = drawn(ids >= FIRST, method.config.share)
        logits = method.logits(masked(ids, at, MASK, method.standard), mask, at)
        losses["residue_perplexity"] += float(F.cross_entropy(logits, ids[at], reduction="sum"))
        losses["frequency"] -= float(frequency[ids[at]].sum())
        chosen += int(at.sum())
    return {name: float(np.exp(loss / chosen)) for name, loss in losses.items()}
