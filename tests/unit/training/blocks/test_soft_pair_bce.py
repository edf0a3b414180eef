"""Graded targets: what labels say of a pair, and which pairs count."""

import math

import pytest
import torch

from training.blocks.soft_pair_bce import label_similarity, soft_pair_bce


def test_similarity_is_symmetric_1_with_itself_and_0_only_without_a_shared_class():
    labels = (torch.rand(40, 6, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    labels[labels.sum(1) == 0, 0] = 1
    found = label_similarity(labels)
    torch.testing.assert_close(found, found.T)
    torch.testing.assert_close(found.diagonal(), torch.ones(40))
    shared = labels @ labels.T
    assert ((found == 0) == (shared == 0)).all()
    sizes = labels.sum(1)
    torch.testing.assert_close(found, (shared / (sizes[:, None] * sizes).sqrt()).clamp(0, 1))


def test_it_is_the_mean_cross_entropy_over_pairs_of_labelled_items():
    queries, keys = torch.randn(4, 5), torch.randn(4, 5)
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]])
    total, pairs = 0.0, 0
    for i in (0, 1, 3):
        for j in (0, 1, 3):
            logit = torch.cosine_similarity(queries[i], keys[j], dim=0).item() / 0.2
            p = 1 / (1 + math.exp(-logit))
            s = torch.cosine_similarity(labels[i].float(), labels[j].float(), dim=0).item()
            total -= s * math.log(p) + (1 - s) * math.log(1 - p)
            pairs += 1
    assert pairs == 9
    assert soft_pair_bce(queries, keys, labels, temperature=0.2).item() == pytest.approx(total / 9, rel=1e-4)


def test_items_without_labels_are_in_no_pair():
    queries, keys = torch.randn(4, 5, requires_grad=True), torch.randn(4, 5)
    labels = torch.tensor([[1, 0], [0, 1], [0, 0], [0, 0]])
    loss = soft_pair_bce(queries, keys, labels, temperature=0.2)
    assert loss.item() == pytest.approx(soft_pair_bce(queries[:2], keys[:2], labels[:2], temperature=0.2).item())
    loss.backward()
    assert (queries.grad[2:] == 0).all()
    assert soft_pair_bce(queries, keys, labels * 0, temperature=0.2).item() == 0


def test_it_is_least_where_likeness_follows_the_labels():
    axes, labels = torch.eye(4)[:2], torch.tensor([[1, 0], [0, 1]])
    assert soft_pair_bce(axes, axes, labels, temperature=0.2) < soft_pair_bce(
        axes, axes.flip(0), labels, temperature=0.2
    )
