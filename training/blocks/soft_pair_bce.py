"""How alike two items are is a matter of degree: pairs of a batch are as near as the classes they share say.

Wang, Albrecht and Zhu 2024 (SoftCon), arXiv:2405.20462.
"""
# B items, K classes, P features of a projection

from torch import Tensor
from torch.nn import functional as F


def label_similarity(labels: Tensor) -> Tensor:
    """Cosines [B, B] between rows of labels [B, K] of 0 and 1; 0 to a row of zeros."""
    unit = F.normalize(labels.float(), dim=1)
    return (unit @ unit.T).clamp(0, 1)


def soft_pair_bce(queries: Tensor, keys: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Mean cross-entropy, over all pairs of labelled items, of labels' similarity and sigmoid(cosine / temperature).

    queries, keys   [B, P]  row i of both of the same item; need not be of unit length
    labels          [B, K]  0 or 1; an item without any is in no pair
    """
    scores = F.normalize(queries.float(), dim=1) @ F.normalize(keys.float(), dim=1).T / temperature  # [B, B]
    labelled = labels.any(1)
    pairs = (labelled[:, None] & labelled).float()
    losses = F.binary_cross_entropy_with_logits(scores, label_similarity(labels), reduction="none")
    return (losses * pairs).sum() / pairs.sum().clamp(min=1)
