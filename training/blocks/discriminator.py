"""A text-conditional discriminator: is an image real, and is it what the sentence says? One answer for both.

Tao et al., "DF-GAN: A Simple and Effective Baseline for Text-to-Image Synthesis", CVPR 2022, arXiv:2008.05865.
"""
# B images, C H W channels, height and width, D features of a sentence

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAST = 4  # cells a side of the map that meets the sentence
SLOPE = 0.2  # of leaky ReLU below 0


class Discriminator(nn.Module):
    """Convolutions without any norm, so that no image of a batch sees another."""

    def __init__(self, *, text: int, width: int, size: int):
        """text: width of a sentence; width: channels of the first map."""
        super().__init__()
        channels = [width << i for i in range((size // LAST).bit_length())]
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in pairwise(channels))
        self.joint = nn.Conv2d(channels[-1] + text, channels[-1], 3, padding=1)
        self.answer = nn.Conv2d(channels[-1], 1, LAST)

    def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
        """image [B, 3, H, W], sentence [B, D] -> [B], above 0 for real and fitting"""
        return self.judge(self.look(image), sentence)

    def look(self, image: Tensor) -> Tensor:
        """What an image [B, 3, H, W] shows, whatever the sentence: [B, C, 4, 4]."""
        x = self.first(image)
        for block in self.blocks:
            x = block(x)
        return x

    def judge(self, shown: Tensor, sentence: Tensor) -> Tensor:
        """The answer [B] to what an image shows and a sentence [B, D]."""
        told = sentence[:, :, None, None].expand(-1, -1, LAST, LAST)
        joint = F.leaky_relu(self.joint(torch.cat([shown, told], 1)), SLOPE)
        return self.answer(joint).flatten()


class _Block(nn.Module):
    """Half the height and width."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.down = nn.Conv2d(inside, outside, 4, stride=2, padding=1)
        self.refine = nn.Conv2d(outside, outside, 3, padding=1)
        self.skip = nn.Conv2d(inside, outside, 1)
        self.gain = nn.Parameter(torch.zeros(()))  # of what the convolutions add: they come in slowly

    def forward(self, x: Tensor) -> Tensor:
        refined = F.leaky_relu(self.refine(F.leaky_relu(self.down(x), SLOPE)), SLOPE)
        return self.skip(F.avg_pool2d(x, 2)) + self.gain * refined


def hinge(real: Tensor, fake: Tensor, mismatched: Tensor) -> Tensor:
    """Loss of answers [B] to real images with their text, to fakes, and to real images with another's text."""
    return F.relu(1 - real).mean() + (F.relu(1 + fake).mean() + F.relu(1 + mismatched).mean()) / 2


def matching_gradient_penalty(
    discriminator: nn.Module, image: Tensor, sentence: Tensor, *, weight: float, power: float
) -> Tensor:
    """How steep the answer is at real images with their own text, to keep it smooth there and nowhere else."""
    image, sentence = image.detach().requires_grad_(), sentence.detach().requires_grad_()
    answer = discriminator(image, sentence).sum()
    slopes = torch.autograd.grad(answer, (image, sentence), create_graph=True)
    steepness = sum(slope.flatten(1).norm(dim=1) for slope in slopes)  # [B]
    return weight * (steepness**power).mean()
