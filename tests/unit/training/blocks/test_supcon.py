"""Supervised contrast against its formula written out, and its laws."""

import math

import pytest
import torch

from training.blocks.nt_xent import nt_xent
from training.blocks.supcon import supcon


def features(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_formula_of_the_paper():
    rows, labels = features(6), [0, 0, 0, 1, 1, 2]
    units = [row / row.norm() for row in rows]
    total = 0.0
    for i in range(6):
        others = sum(math.exp(float(units[i] @ units[k]) / 0.3) for k in range(6) if k != i)
        positives = [p for p in range(6) if p != i and labels[p] == labels[i]]
        for p in positives:
            total -= math.log(math.exp(float(units[i] @ units[p]) / 0.3) / others) / len(positives)
    assert supcon(rows, torch.tensor(labels), temperature=0.3).item() == pytest.approx(total / 6, rel=1e-5)


def test_two_views_of_items_of_different_labels_are_nt_xent():
    first, second, labels = features(5), features(5, seed=1), torch.arange(5)
    found = supcon(torch.cat([first, second]), labels.repeat(2), temperature=0.2)
    torch.testing.assert_close(found, nt_xent(first, second, temperature=0.2))


def test_an_item_without_positives_adds_nothing_and_is_never_nan():
    rows = features(5).requires_grad_()
    alone = supcon(rows, torch.arange(5), temperature=0.1)
    alone.backward()
    assert alone.item() == 0
    assert torch.isfinite(rows.grad).all()
    pair = torch.tensor([0, 0, 1, 2, 3])
    units = torch.nn.functional.normalize(rows.detach(), dim=1)
    scores = (units @ units.T / 0.1).fill_diagonal_(-torch.inf).log_softmax(1)
    expected = -(scores[0, 1] + scores[1, 0]) / 5
    torch.testing.assert_close(supcon(rows.detach(), pair, temperature=0.1), expected)


def test_names_of_labels_and_lengths_do_not_count():
    rows, labels = features(6), torch.tensor([0, 1, 0, 1, 2, 2])
    torch.testing.assert_close(supcon(rows * 7, 10 - labels, temperature=0.5), supcon(rows, labels, temperature=0.5))
