"""KoLeo: the entropy of a batch of directions, by the distance of each to its nearest neighbour.

Sablayrolles et al. 2019, arXiv:1806.03198; after Kozachenko and Leonenko 1987.
"""
# B items, D features

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST = 1e-8  # a distance: two equal embeddings cost much, but not without end


def koleo(embedding: Tensor) -> Tensor:
    """Mean over items of -log of the distance to the nearest other one, at length 1; least where all spread evenly.

    embedding   [B, D]  of different items: the views of one item belong together and must not push each other away
    """
    with torch.autocast(embedding.device.type, enabled=False):
        points = F.normalize(embedding.float(), dim=1)
        with torch.no_grad():
            scores = points @ points.T
            nearest = scores.fill_diagonal_(-torch.inf).argmax(1)  # [B]
        return -(F.pairwise_distance(points, points[nearest], eps=_LEAST) + _LEAST).log().mean()
