"""Audio spectrogram transformer: patches of a log-mel spectrogram through pre-norm blocks (timm's distilled DeiT).

Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021, arXiv:2104.01778.
"""
# B batch, M mel bands, T frames, N patches, D features

from pydantic import BaseModel, Field
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, cat
from torch.nn import functional as F

from enfold.errors import WrongUse
from training.encoders import Encoded, Encoder, Inputs

_EXTRA = 2  # class and distillation token: they stand first


class ASTConfig(BaseModel, frozen=True, extra="forbid"):
    """AST base by default."""

    mels: int = Field(128, ge=1)  # of preprocess
    patch: tuple[int, int] = (16, 16)  # mel bands and frames; all bands and two frames make the paper's "frame"
    dim: int = Field(768, ge=1)
    depth: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)


class AST(Encoder):
    """Patches are counted band by band from the lowest: those of one moment lie `grid[1]` apart.

    The embedding is the mean of the patch tokens; the two extra ones get no signal from pretraining and stay inside.
    Sounds of other lengths pass too: position embeddings are cut out of the middle, or stretched.
    """

    Config = ASTConfig

    def __init__(self, config: ASTConfig, size: int):
        super().__init__()
        mels, frames = config.patch
        if config.mels % mels or size % frames or config.dim % config.heads:
            raise WrongUse(
                f"encoder 'ast': {config.mels} mel bands and {size} frames must be multiples of patch "
                f"{list(config.patch)}, and dim {config.dim} of heads {config.heads}"
            )
        self.config, self.dim = config, config.dim
        self.grid = (config.mels // mels, size // frames)
        self.num_tokens = self.grid[0] * self.grid[1]
        self.pooling = "mean of patch tokens"
        self.net = VisionTransformerDistilled(
            img_size=(config.mels, size),
            patch_size=config.patch,
            in_chans=1,
            embed_dim=config.dim,
            depth=config.depth,
            num_heads=config.heads,
            num_classes=0,
            dynamic_img_size=True,
        )

    def forward(self, inputs: Inputs, *, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Encoded:
        """mask [B, N], True = `mask_token` [D] stands there instead of the patch; only training hides anything."""
        patches = self.net.patch_embed(inputs["audio"].unsqueeze(1))  # [B, M / patch, T / patch, D]
        positions = self.positions((patches.shape[1], patches.shape[2]))
        x = patches.flatten(1, 2)
        if mask is not None and mask_token is not None:
            x = mask_token.to(x.dtype).where(mask.unsqueeze(-1), x)
        extra = [token.expand(len(x), -1, -1) for token in (self.net.cls_token, self.net.dist_token)]
        x = cat([*extra, x], 1) + positions  # [B, 2 + N, D]
        for block in self.net.blocks:
            x = block(x)
        tokens = self.net.norm(x)[:, _EXTRA:]
        return Encoded(tokens, tokens.mean(1))

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings of a grid of patches [1, 2 + N, D]; the encoder's own are taken as they are."""
        own: Tensor = self.net.pos_embed
        if grid == self.grid:  # so that an exported graph resamples nothing
            return own
        found = own[:, _EXTRA:].transpose(1, 2).unflatten(2, self.grid)  # [1, D, M / patch, T / patch]
        for axis, (wanted, count) in enumerate(zip(grid, self.grid, strict=True), start=2):
            if wanted < count:
                found = found.narrow(axis, (count - wanted) // 2, wanted)
        found = F.interpolate(found, size=grid, mode="bilinear")
        return cat([own[:, :_EXTRA], found.flatten(2).transpose(1, 2)], 1)


ENCODER = AST
