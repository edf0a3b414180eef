"""DAMSM against its formulas written out, and its laws."""

import math

import pytest
import torch
from torch.nn import functional as F

from training.blocks.damsm import damsm, word_scores
from training.encoders import Encoded

GAMMAS = (4.0, 5.0, 10.0)


def encoded(count: int, tokens: int, seed: int, lengths: list[int] | None = None) -> Encoded:
    chance = torch.Generator().manual_seed(seed)
    made = torch.randn(count, tokens, 6, generator=chance)
    mask = None if lengths is None else torch.arange(tokens) < torch.tensor(lengths)[:, None]
    return Encoded(made, torch.randn(count, 6, generator=chance), token_mask=mask)


def test_a_word_score_is_the_formula_of_the_paper():
    image, text = encoded(2, 4, seed=0), encoded(2, 3, seed=1, lengths=[3, 2])
    words, regions = text.tokens[1, :2], image.tokens[0]  # text 1 has two words
    products = words @ regions.T  # [T, N]
    looks = (GAMMAS[0] * products.softmax(0)).softmax(1)
    fits = F.cosine_similarity(looks @ regions, words, dim=1)
    expected = math.log(sum(math.exp(GAMMAS[1] * fit) for fit in fits.tolist())) / GAMMAS[1]
    assert word_scores(image, text, GAMMAS)[1, 0].item() == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_four_cross_entropies_of_pairs():
    image, text = encoded(3, 4, seed=0), encoded(3, 5, seed=1, lengths=[5, 3, 1])
    whole = F.normalize(text.embedding, dim=1) @ F.normalize(image.embedding, dim=1).T
    expected = 0.0
    for scores in (word_scores(image, text, GAMMAS), whole):
        for one in (scores, scores.T):
            expected -= (10 * one).log_softmax(1).diagonal().mean().item()
    assert damsm(image, text, torch.arange(3)).item() == pytest.approx(expected, rel=1e-5)


def test_items_of_ones_own_class_are_no_wrong_answers():
    image, text = encoded(2, 4, seed=0), encoded(2, 5, seed=1)
    assert damsm(image, text, torch.tensor([7, 7])).item() == pytest.approx(0, abs=1e-6)
    assert damsm(image, text, torch.tensor([7, 8])).item() > 0.1


def test_padding_says_nothing():
    image, text = encoded(3, 4, seed=0), encoded(3, 5, seed=1, lengths=[4, 3, 1])
    noisy = text.tokens.clone()
    noisy[~text.token_mask] = 50.0
    other = Encoded(noisy, text.embedding, token_mask=text.token_mask)
    labels = torch.arange(3)
    torch.testing.assert_close(damsm(image, other, labels), damsm(image, text, labels))


def test_pairs_that_match_lose_less_than_pairs_exchanged():
    tokens = torch.eye(4)[:, None].repeat(1, 3, 1)  # four things, each seen and said in one direction of its own
    image, text = Encoded(tokens, tokens[:, 0]), Encoded(tokens, tokens[:, 0])
    exchanged = Encoded(tokens.roll(1, 0), tokens[:, 0].roll(1, 0))
    assert damsm(image, text, torch.arange(4)) < 0.1 * damsm(image, exchanged, torch.arange(4))
