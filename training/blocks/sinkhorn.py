"""Sinkhorn-Knopp: assignments that use every prototype equally."""
# B embeddings, K prototypes

import torch
from torch import Tensor


@torch.no_grad()
def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Share out B embeddings over K prototypes so that every prototype is used about equally.

    scores    [B, K]  cosine similarities, in [-1, 1]
    epsilon           smoothness; below 0.02 the smallest terms underflow in float32
    returns   [B, K]  each row sums to 1, each column to about B / K; carries no gradient

    Caron et al. 2020 (SwAV), arXiv:2006.09882, appendix A. Computed in float32 whatever comes in.
    """
    scores = scores.float()
    shares = ((scores - scores.max()) / epsilon).exp()
    for _ in range(iterations):
        shares = shares / shares.sum(0).clamp_min(1e-12)
        shares = shares / shares.sum(1, keepdim=True)
    return shares
