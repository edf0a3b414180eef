"""SSAST: at masked patches of a spectrogram, tell which patch of the sound belongs there, and draw it.

Gong, Lai, Chung and Glass, "SSAST: Self-Supervised Audio Spectrogram Transformer", AAAI 2022, arXiv:2110.09784.
Our reading where the paper is silent: a longer sound gives a window from anywhere in it; patches of a sound that are
equal (silence, padding) are no wrong answers for each other.
"""
# B sounds, M mel bands, T frames, N patches, n masked ones, P values of a patch, D features

from typing import Annotated

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.audio import AudioPreprocess
from training.blocks.cluster_mask import cluster_mask
from training.encoders import Encoder
from training.encoders.ast import AST
from training.methods import Batch, Item, Losses, Method
from training.views.audio import random_window


class SSASTConfig(BaseModel, frozen=True, extra="forbid"):
    masked: int = Field(400, ge=2)  # patches of a sound, of 512
    clusters: tuple[Annotated[int, Field(ge=1)], ...] = Field((3, 4, 5), min_length=1)  # patches a side; (1,): uniform
    shared_mask: bool = False  # one forward pass for both losses instead of one each, with a mask of its own
    discriminative_weight: float = Field(1.0, ge=0)
    generative_weight: float = Field(10.0, ge=0)


class SSAST(Method):
    Config = SSASTConfig
    config: SSASTConfig
    encoder: AST

    def __init__(self, encoder: Encoder, config: SSASTConfig, preprocess: AudioPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, AST) or encoder.config.mels != preprocess.mels:
            raise WrongUse(
                "method 'ssast' masks patches of a spectrogram: it needs encoder 'ast' with "
                f"mels = {preprocess.mels}, as preprocess has them"
            )
        if config.masked > encoder.num_tokens:
            raise WrongUse(f"ssast: masked = {config.masked} of a sound that has {encoder.num_tokens} patches")
        D, mels, frames = encoder.dim, *encoder.config.patch
        self.mask_token = nn.Parameter(torch.empty(D).normal_(std=0.02))
        self.classify, self.reconstruct = (
            nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, mels * frames)) for _ in range(2)
        )

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """audio [M, T]; masks [1 or 2, N], True = hidden, one per pass; alike [N], one number for equal patches."""
        spectrum = random_window(item.value, rng, self.preprocess)
        masks = [self._mask(rng) for _ in range(1 if self.config.shared_mask else 2)]
        return {"audio": spectrum, "masks": np.stack(masks), "alike": self._alike(spectrum)}

    def forward(self, batch: Batch) -> Losses:
        patches = self.patches(batch["audio"])  # [B, N, P]
        masks = batch["masks"].unbind(1)  # [B, N]
        tokens = [self.at_masked(batch["audio"], mask) for mask in masks]  # [B, n, D]
        discriminative = info_nce(self.classify(tokens[0]), chosen(patches, masks[0]), chosen(batch["alike"], masks[0]))
        generative = F.mse_loss(self.reconstruct(tokens[-1]), chosen(patches, masks[-1]))
        weights = self.config.discriminative_weight, self.config.generative_weight
        return {
            "loss": weights[0] * discriminative + weights[1] * generative,
            "discriminative": discriminative,
            "generative": generative,
        }

    def patches(self, audio: Tensor) -> Tensor:
        """Spectrograms [B, M, T] in patches [B, N, P], in the order of the encoder's tokens."""
        mels, frames = self.encoder.config.patch
        return F.unfold(audio[:, None], (mels, frames), stride=(mels, frames)).transpose(1, 2)

    def at_masked(self, audio: Tensor, mask: Tensor) -> Tensor:
        """What the encoder says at the patches that are hidden from it, [B, n, D]."""
        return chosen(self.encoder({"audio": audio}, mask=mask, mask_token=self.mask_token).tokens, mask)

    def _mask(self, rng: np.random.Generator) -> np.ndarray:
        cluster = int(rng.choice(self.config.clusters))
        return cluster_mask(self.encoder.grid, self.config.masked, cluster, rng)

    def _alike(self, spectrum: np.ndarray) -> np.ndarray:
        numbers: dict[bytes, int] = {}
        patches = self.patches(torch.from_numpy(spectrum[None]))[0].numpy()
        return np.array([numbers.setdefault(patch.tobytes(), len(numbers)) for patch in patches])


def chosen(values: Tensor, mask: Tensor) -> Tensor:
    """[B, N, …] where mask [B, N] is True, which is equally often in every row: [B, n, …]."""
    return values[mask].unflatten(0, (len(mask), -1))


def info_nce(answers: Tensor, patches: Tensor, alike: Tensor) -> Tensor:
    """Cross-entropy of picking its own among the masked patches of the same sound, by plain dot products.

    answers   [B, n, P]
    patches   [B, n, P]  that were hidden; they carry no gradient
    alike     [B, n]     equal numbers for equal patches, which do not count against each other

    Row i of the [n, n] logits holds answer i against every patch, as the paper writes it.
    """
    logits = answers @ patches.detach().transpose(1, 2)  # [B, n, n]
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    equal = (alike[:, :, None] == alike[:, None, :]) & ~own
    logits = logits.masked_fill(equal, -torch.inf)
    right = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return F.cross_entropy(logits.flatten(0, 1), right.flatten())


METHOD = SSAST
