"""Perplexity of test answers after each exit of a language model, and how far its chances are from the last one's."""

import numpy as np
import torch
from torch.nn import functional as F

from enfold.errors import WrongUse
from training.evaluation import Subject
from training.methods.soft_sorted import SoFT

NEEDS_LABELS = False
ITEMS, BATCH = 1000, 50


@torch.inference_mode()
def evaluate(subject: Subject) -> dict[str, float]:
    """exit<n>: exp of the mean cross-entropy of a token; kl_exit<n>: divergence of its chances from the last one's."""
    method = subject.method
    if not isinstance(method, SoFT):
        raise WrongUse("evaluation 'perplexity' reads a language model's exits: let its stage need a 'soft_sorted' one")
    data, modality = subject.data("test"), subject.run.modality
    prompts = subject.side("test", "prompt")
    count = min(ITEMS, len(data))
    made = [method.sequence(prompts[i], data.read(i, modality)) for i in range(count)]
    summed = {exit: np.zeros(3) for exit in method.exits}  # cross-entropy, divergence, tokens
    for at in range(0, count, BATCH):
        batch = {name: torch.from_numpy(np.stack([one[name] for one in made[at : at + BATCH]])) for name in made[0]}
        features, real = method.encoder(batch).features, batch["targets"] >= 0
        last = method.logits(features, method.exits[-1])[real].log_softmax(1)
        for exit, total in summed.items():
            chances = method.logits(features, exit)[real].log_softmax(1)
            loss = F.nll_loss(chances, batch["targets"][real], reduction="sum")
            apart = F.kl_div(last, chances, log_target=True, reduction="sum")
            total += np.array([loss.item(), apart.item(), int(real.sum())])
    found = {f"exit{exit}": float(np.exp(loss / tokens)) for exit, (loss, _, tokens) in summed.items()}
    return found | {f"kl_exit{exit}": float(apart / tokens) for exit, (_, apart, tokens) in summed.items()}
