"""What two atoms are to each other, from the outer product of both (Yu et al. 2024, MoleBLEND, arXiv:2307.06235)."""
# B molecules, N atoms, D features, R relations

import torch
from torch import Tensor, nn


class PairHead(nn.Module):
    """[B, N, D] -> [B, N, N, R]."""

    def __init__(self, dim: int, narrow: int, relations: int):
        super().__init__()
        self.left, self.right = nn.Linear(dim, narrow), nn.Linear(dim, narrow)
        self.out = nn.Linear(narrow * narrow, relations)

    def forward(self, atoms: Tensor) -> Tensor:
        left, right = self.left(atoms), self.right(atoms)
        weight = self.out.weight.unflatten(1, (left.shape[2], right.shape[2]))
        # The layer on the outer product, which is never there as a whole: it would be N x N x narrow x narrow.
        found: Tensor = torch.einsum("bip,rpq,bjq->bijr", left, weight, right) + self.out.bias
        return found
