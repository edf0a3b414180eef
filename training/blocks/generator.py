"""A text-to-image generator in one stage: noise grows to an image, and a text says at every size what shall be where.

Liao et al., "Text to Image Generation with Semantic-Spatial Aware GAN", CVPR 2022, arXiv:2104.00567: normalisation that
is shifted by the sentence under a mask read off the features. Words join by attention, as in Xu et al. 2018 (AttnGAN),
arXiv:1711.10485; the sentence is blurred into a condition, as in Zhang et al. 2017 (StackGAN), arXiv:1612.03242.
"""
# B images, C H W channels, height and width of a map, T words, D features of a text

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse

FIRST = 4  # cells a side of the first map


class Generator(nn.Module):
    """Noise and an encoded text to an image in [-1, 1]."""

    def __init__(self, *, noise: int, text: int, condition: int, width: int, size: int):
        """noise, text, condition: widths of inputs and of the blurred sentence; width: channels of the last map."""
        super().__init__()
        doublings = (size // FIRST).bit_length() - 1
        if size != FIRST << doublings or not doublings:
            raise WrongUse(f"a generator's images are 8, 16, 32, 64, … pixels a side, not {size}")
        channels = [width << i for i in range(doublings, -1, -1)]
        self.first = nn.Linear(noise + condition, channels[0] * FIRST**2)
        self.condition_statistics = nn.Linear(text, 2 * condition)
        self.blocks = nn.ModuleList(_Block(a, b, condition) for a, b in pairwise(channels))
        self.words = nn.Linear(text, channels[-2])
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """noise [B, Z], sentence [B, D], words [B, T, D], word_mask [B, T], True or 1 = real -> image [B, 3, H, W]"""
        return self.paint(noise, self.condition(sentence)[0], words, word_mask)

    def condition(self, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of what a sentence [B, D] may mean."""
        mean, log_variance = self.condition_statistics(sentence).chunk(2, 1)
        return mean, log_variance

    def paint(self, noise: Tensor, condition: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """The image for one draw of the condition."""
        x = self.first(torch.cat([noise, condition], 1)).unflatten(1, (-1, FIRST, FIRST))
        for block in self.blocks[:-1]:
            x = block(x, condition)
        x = x + self._told(x, words, word_mask)
        return torch.tanh(self.last(F.relu(self.blocks[-1](x, condition))))

    def _told(self, x: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """What the words say to each cell of [B, C, H, W]."""
        values = self.words(words)  # [B, T, C]
        cells = x.flatten(2).transpose(1, 2)  # [B, HW, C]
        scores = cells @ values.transpose(1, 2) / values.shape[2] ** 0.5  # [B, HW, T]
        shares = scores.masked_fill(~word_mask.bool()[:, None], -torch.inf).softmax(2)
        return (shares @ values).transpose(1, 2).unflatten(2, x.shape[2:])


class _Block(nn.Module):
    """Twice the height and width; two convolutions behind normalisations that the condition shifts."""

    def __init__(self, inside: int, outside: int, condition: int):
        super().__init__()
        self.mask = nn.Conv2d(inside, 1, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for width in (inside, outside))
        self.shifts = nn.ModuleList(nn.Linear(condition, 2 * width) for width in (inside, outside))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, outside, 3, padding=1) for width in (inside, outside))
        self.skip = nn.Conv2d(inside, outside, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0)
        mask, changed = torch.sigmoid(self.mask(x)), x
        for norm, shift, convolution in zip(self.norms, self.shifts, self.convolutions, strict=True):
            scale, offset = shift(condition)[:, :, None, None].chunk(2, 1)  # [B, C, 1, 1]
            changed = convolution(F.relu(mask * ((1 + scale) * norm(changed) + offset)))
        return self.skip(x) + changed
