"""Which word stands here? A layer on a token, then the encoder's own word embeddings (Devlin et al. 2019, BERT)."""
# D features, V words

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WordHead(nn.Module):
    def __init__(self, dim: int, vocabulary: int):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, tokens: Tensor, words: Tensor) -> Tensor:
        """tokens [..., D], embeddings of words [V, D] -> logits [..., V]"""
        return F.linear(self.layer(tokens), words, self.bias)
