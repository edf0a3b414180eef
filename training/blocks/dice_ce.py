"""Cross-entropy and soft Dice of voxel classes (Isensee et al. 2021, nnU-Net)."""
# B batch, K classes, X Y Z voxels

from torch import Tensor
from torch.nn import functional as F


def dice_ce(logits: Tensor, labels: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """Their sum: Dice over the whole batch, averaged over the classes without background (class 0), and negative.

    logits   [B, K, X, Y, Z]
    labels   [B, X, Y, Z]   int64
    """
    return F.cross_entropy(logits, labels) + soft_dice(logits, labels, smooth=smooth)


def soft_dice(logits: Tensor, labels: Tensor, *, smooth: float = 1e-5) -> Tensor:
    """-mean over classes of (2 sum p g + s) / (sum p + sum g + s): -1 at best."""
    chance = logits.softmax(1)[:, 1:]
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, 1:].to(chance.dtype)
    over = (0, 2, 3, 4)
    both, sizes = (chance * truth).sum(over), chance.sum(over) + truth.sum(over)  # [K - 1]
    return -((2 * both + smooth) / (sizes + smooth)).mean()
