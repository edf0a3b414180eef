"""InfoNCE within a batch: which of its keys belongs to a query?

van den Oord et al. 2018 (CPC), arXiv:1807.03748.
"""
# B items, P features of a projection

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """Mean cross-entropy of finding a query's key among the batch's.

    queries, keys   [B, P]  row i of both of the same item; need not be of unit length
    """
    scores = F.normalize(queries.float(), dim=1) @ F.normalize(keys.float(), dim=1).T / temperature  # [B, B]
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
