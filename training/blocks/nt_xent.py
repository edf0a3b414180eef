"""NT-Xent: of all other views in the batch, which one shows the same item?

Chen et al. 2020 (SimCLR), arXiv:2002.05709, equation 1.
"""
# B items, P features of a projection

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Mean over 2B views of the cross-entropy of finding an item's other view among the 2B - 1 others.

    first, second   [B, P]  projections of two views, row i of both of the same item; need not be of unit length
    """
    views = F.normalize(torch.cat([first, second]).float(), dim=1)  # [2B, P]
    scores = views @ views.T / temperature  # [2B, 2B]
    scores.fill_diagonal_(-torch.inf)  # a view is not its own neighbour
    B = len(first)
    other = torch.arange(2 * B, device=views.device).roll(B)
    return F.cross_entropy(scores, other)
