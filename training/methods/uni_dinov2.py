"""UNI: DINOv2 on tissue. A student sees crops with hidden patches and answers, crop by crop and patch by patch, as its
own average answers from whole ones.

Chen et al., "A General-Purpose Self-Supervised Model for Computational Pathology", 2023, arXiv:2308.15474 (Nature
Medicine 2024); the objective is of Oquab et al. 2023 (DINOv2), arXiv:2304.07193.
Our reading where the paper is silent: of an item's two large crops one, drawn evenly, has hidden patches, in it the
student answers for the crop too; patches have a head of their own; answers are centred by their moving average.
"""
# B items, V crops, N patches, D features, K prototypes, M hidden patches, C H W channels, height, width

from copy import deepcopy
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.image import ImagePreprocess
from training.blocks.block_mask import block_mask
from training.blocks.center_ema import CenterEMA
from training.blocks.dino_head import DINOHead
from training.blocks.ema_teacher import EMATeacher
from training.blocks.koleo import koleo
from training.blocks.sinkhorn import sinkhorn
from training.encoders import Encoder
from training.encoders.vit import ViT
from training.methods import Batch, Item, Losses, Method
from training.views.image import MultiCrop

Share = Annotated[float, Field(ge=0, le=1)]


class UNIConfig(BaseModel, frozen=True, extra="forbid"):
    views: MultiCrop = MultiCrop()
    mask_ratio: tuple[Share, Share] = (0.1, 0.5)  # of the patches of a crop that hides any; (0, 0) is DINO without iBOT
    koleo_weight: float = Field(0.1, ge=0)
    hidden: int = Field(2048, ge=1)  # width of the heads' inner layers
    projection: int = Field(256, ge=1)  # width of what is compared with prototypes
    prototypes: int = Field(65_536, ge=2)
    shared_head: bool = False  # patches answer through the crops' head
    centring: Literal["average", "sinkhorn"] = "average"
    center_momentum: Share = 0.9
    student_temperature: float = Field(0.1, gt=0)
    teacher_temperature: tuple[float, float] = (0.04, 0.07)  # at the start, and once warm
    warm_up: Share = 0.3  # of the training
    momentum: tuple[Share, Share] = (0.992, 1.0)  # of the teacher, at the start and at the end


class UNI(Method):
    """`encoder` is the teacher's, the average that is exported; `student` is what learns."""

    Config = UNIConfig
    config: UNIConfig
    encoder: ViT
    progress: Tensor

    def __init__(self, encoder: Encoder, config: UNIConfig, preprocess: ImagePreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, ViT) or encoder.config.pool != "class":
            raise WrongUse(
                "method 'uni_dinov2' hides patches and compares class tokens: it needs encoder 'vit', pool = 'class'"
            )
        if config.views.local_size % encoder.config.patch:
            raise WrongUse(
                f"uni_dinov2: views.local_size {config.views.local_size} is no multiple of the encoder's patch, "
                f"{encoder.config.patch}"
            )
        names = ("crop",) if config.shared_head else ("crop", "patch")
        sizes = {"hidden": config.hidden, "projection": config.projection, "prototypes": config.prototypes}
        self.student, self.mask_token = deepcopy(encoder), nn.Parameter(torch.zeros(encoder.dim))
        self.student_heads = nn.ModuleDict({name: DINOHead(encoder.dim, **sizes) for name in names})
        self.heads = deepcopy(self.student_heads)
        self.teacher = EMATeacher([(encoder, self.student), (self.heads, self.student_heads)], config.momentum)
        self.centers = nn.ModuleDict(
            {n: CenterEMA(config.prototypes, config.center_momentum) for n in ("crop", "patch")}
        )
        self.register_buffer("progress", torch.zeros(()))

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """large [2, 3, H, W], small [V - 2, 3, h, w]; mask [2, N], True = hidden from the student."""
        large, small = self.config.views(item.value, rng, self.preprocess)
        side = self.preprocess.size // self.encoder.config.patch
        mask = np.zeros((2, side, side), bool)
        mask[rng.integers(2)] = block_mask(side, side, rng.uniform(*self.config.mask_ratio), rng)
        return {"large": large, "small": small, "mask": mask.reshape(2, -1)}

    def forward(self, batch: Batch) -> Losses:
        large, small, mask = (
            batch[name].flatten(0, 1) for name in ("large", "small", "mask")
        )  # [2B, …], [(V - 2)B, …]
        B = len(batch["large"])
        with torch.no_grad():
            taught = self.encoder({"image": large})
            answers = self._answers("crop", taught.embedding)  # [2B, K]
        seen = self.student({"image": large}, mask=mask, mask_token=self.mask_token)
        glimpsed = self.student({"image": small})
        crops = [encoded.embedding.unflatten(0, (B, -1)) for encoded in (seen, glimpsed)]  # [B, 2, D], [B, V - 2, D]
        dino = crop_loss(answers.unflatten(0, (B, 2)), self._logits("crop", torch.cat(crops, 1)))
        ibot = self._patch_loss(taught.tokens, seen.tokens, mask)
        spread = koleo(crops[0][:, 0]) + koleo(crops[0][:, 1])
        loss = dino + ibot + self.config.koleo_weight * spread
        return {"loss": loss, "dino": dino, "ibot": ibot, "koleo": spread}

    def after_step(self, progress: float) -> None:
        self.teacher.update(progress)
        self.progress.fill_(progress)

    def _patch_loss(self, taught: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
        """Over the hidden patches of each crop, then over the crops that hide any; tokens [2B, N, D], mask [2B, N]."""
        if not mask.any():
            return seen.new_zeros(())
        losses = F.cross_entropy(
            self._logits("patch", seen[mask]), self._answers("patch", taught[mask]), reduction="none"
        )  # [M]
        hidden = mask.sum(1, keepdim=True).expand_as(mask)[mask]  # [M], in the crop that a patch is of
        return (losses / hidden).sum() / mask.any(1).sum()

    def _logits(self, kind: str, tokens: Tensor) -> Tensor:
        """The student's, […, D] -> […, K]."""
        logits: Tensor = self.student_heads[self._head(kind)](tokens).float() / self.config.student_temperature
        return logits

    @torch.no_grad()
    def _answers(self, kind: str, tokens: Tensor) -> Tensor:
        """The teacher's probabilities, [B, D] -> [B, K]."""
        scores = self.heads[self._head(kind)](tokens)
        start, end = self.config.teacher_temperature
        temperature = start + (end - start) * min(1.0, self.progress.item() / max(self.config.warm_up, 1e-12))
        if self.config.centring == "sinkhorn":
            return sinkhorn(scores, epsilon=temperature)
        answers: Tensor = self.centers[kind](scores, temperature=temperature)
        return answers

    def _head(self, kind: str) -> str:
        return "crop" if self.config.shared_head else kind


def crop_loss(answers: Tensor, logits: Tensor) -> Tensor:
    """Mean cross-entropy of pairs of a teacher's crop and another crop of the student.

    answers   [B, 2, K]  probabilities; crop i is the student's crop i too
    logits    [B, V, K]
    """
    pairs = -torch.einsum("bik,bjk->ij", answers, logits.log_softmax(2)) / len(answers)  # [2, V]
    different = ~torch.eye(*pairs.shape, dtype=torch.bool, device=pairs.device)
    return pairs[different].mean()


METHOD = UNI
