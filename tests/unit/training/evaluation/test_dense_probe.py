"""A linear head on frozen tokens: what it learns, and how its maps are counted."""

import numpy as np
import pytest
import torch

from training.evaluation.dense_probe import fit, miou, shares_of


def test_a_patch_has_the_share_of_each_class():
    mask = torch.zeros(4, 4, dtype=torch.uint8)
    mask[:2, :2] = 1  # the first patch whole
    mask[3, 2:] = 2  # half of the last one
    assert shares_of(mask, 3, 2).tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0.5, 0, 0.5]]


def test_overlap_is_counted_over_all_pixels_class_by_class():
    """One item of four patches on two by two pixels."""
    said = torch.tensor([[0, 0, 1, 1]])
    logits = torch.nn.functional.one_hot(said, 3).float()
    truth = torch.tensor([[[0, 1], [1, 1]]], dtype=torch.uint8)
    # Class 0: 1 of {0, 1}; class 1: 2 of {1, 2, 3}; class 2 is never shown and does not count.
    assert miou(logits, truth, 3) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_maps_are_as_large_as_masks():
    chance = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 3, (5, 4, 4), generator=chance)
    logits = 9 * torch.nn.functional.one_hot(coarse.flatten(1), 3).float()
    assert miou(logits, coarse.to(torch.uint8), 3) == 1
    constant = torch.zeros(5, 16, 3)
    constant[..., 2] = 1
    assert miou(constant, torch.full((5, 10, 10), 2, dtype=torch.uint8), 3) == 1


def test_the_head_finds_what_tokens_tell_linearly():
    chance = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 4, (40, 9), generator=chance)
    features = torch.nn.functional.one_hot(classes, 4) + 0.1 * torch.randn(40, 9, 4, generator=chance)
    head = fit(features, torch.nn.functional.one_hot(classes, 4).float(), 1e-4)
    assert (head(features).argmax(2) == classes).float().mean() > 0.99


def test_a_rare_class_is_not_given_up():
    """Where nothing tells two classes apart, odds are those of the roots of their shares."""
    wanted = torch.tensor([0.96, 0.04]).expand(50, 4, 2)
    head = fit(torch.zeros(50, 4, 3), wanted, 1e-3)
    odds = np.exp(float(head.bias[0] - head.bias[1]))
    assert odds == pytest.approx((0.96 / 0.04) ** 0.5, rel=1e-2)
