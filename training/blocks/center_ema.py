"""CenterEMA: a teacher's answers, sharpened, less what it answers on average, so that no prototype takes all.

Caron et al. 2021 (DINO), arXiv:2104.14294, section 3.1.
"""
# B embeddings, K prototypes

import torch
from torch import Tensor, nn


class CenterEMA(nn.Module):
    center: Tensor

    def __init__(self, prototypes: int, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, scores: Tensor, *, temperature: float) -> Tensor:
        """Scores [B, K] as probabilities [B, K], centred on earlier batches; this one counts from the next on."""
        scores = scores.float()
        answers = ((scores - self.center) / temperature).softmax(1)
        self.center.lerp_(scores.mean(0), 1 - self.momentum)
        return answers
