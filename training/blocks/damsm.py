"""DAMSM: which text belongs to which image, by its words and as a whole.

Xu et al. 2018 (AttnGAN), arXiv:1711.10485, section 3.2 and equations 7 to 13.
"""
# B pairs of image and text, N regions of an image, T words of a text, D features

import torch
from torch import Tensor
from torch.nn import functional as F

from training.blocks.clip_loss import matching
from training.encoders import Encoded


def damsm(
    image: Encoded, text: Encoded, labels: Tensor, *, gammas: tuple[float, float, float] = (4.0, 5.0, 10.0)
) -> Tensor:
    """Sum of four cross-entropies: a pair's text among all texts and its image among all images, by words and whole.

    image     tokens [B, N, D] are regions
    text      tokens [B, T, D] are words, where token_mask [B, T]
    labels    [B]  another item of one's own class is no wrong answer, and stays out of the comparison
    gammas    sharpness of a word's look at regions, of the vote of words, of matching scores
    """
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    excluded = (labels[:, None] == labels) & ~own  # [B, B]
    whole = F.normalize(text.embedding.float(), dim=1) @ F.normalize(image.embedding.float(), dim=1).T
    by_words = word_scores(image, text, gammas)
    matched = [2 * matching((gammas[2] * scores).masked_fill(excluded, -torch.inf)) for scores in (by_words, whole)]
    return torch.stack(matched).sum()


def word_scores(image: Encoded, text: Encoded, gammas: tuple[float, float, float]) -> Tensor:
    """How well each text fits each image word by word [B texts, B images], about -1 to 1."""
    regions, words = image.tokens.float(), text.tokens.float()
    mask = text.token_mask if text.token_mask is not None else words.new_ones(words.shape[:2], dtype=torch.bool)
    padding = ~mask[:, None, :, None]  # [B, 1, T, 1]
    products = torch.einsum("itd,jnd->ijtn", words, regions)  # [B texts, B images, T, N]
    # First the words compete for a region, then the regions for a word.
    shares = products.masked_fill(padding, -torch.inf).softmax(2)
    looks = (gammas[0] * shares).softmax(3)
    # Cosine of a word and what it sees, sum_n looks_n region_n, without ever writing that down: it is [B, B, T, D].
    lengths = (looks * torch.einsum("ijtn,jnm->ijtm", looks, regions @ regions.transpose(1, 2))).sum(3)  # squared
    among = lengths.clamp(min=1e-12).sqrt() * words.norm(dim=2).clamp(min=1e-6)[:, None]
    fits = (looks * products).sum(3) / among  # [B texts, B images, T]
    return (gammas[1] * fits).masked_fill(padding[..., 0], -torch.inf).logsumexp(2) / gammas[1]
