"""Which cell answers for which thing, and how wrong its answer is."""

import numpy as np
import pytest
import torch

from enfold.tasks.detect import intersection_over_union
from training.blocks.anchor_free import apart, focal, targets

CELLS = np.stack(np.meshgrid(*(np.arange(8) + 0.5,) * 3, indexing="ij"), -1).reshape(-1, 3) * 2


def test_cells_near_the_middle_of_a_thing_answer_for_it():
    boxes = np.array([[8.0, 8, 8, 10, 4, 16]])
    label, box, central = targets(boxes, np.array([3]), CELLS, 2.0)
    own = label == 3
    away = np.abs(CELLS - boxes[0, :3])
    expected = (away[:, 0] <= 3) & (away[:, 1] <= 2) & (away[:, 2] <= 3)  # a cell and a half, or the thing's own half
    np.testing.assert_array_equal(own, expected)
    assert (label[~own] == -1).all()
    np.testing.assert_array_equal(box[own], np.repeat(boxes, own.sum(), 0))
    x, y, z = away[own].T
    by_hand = np.cbrt((5 - x) / (5 + x) * (2 - y) / (2 + y) * (8 - z) / (8 + z))
    np.testing.assert_allclose(central[own], by_hand, rtol=1e-5)
    assert not central[~own].any()


def test_the_smaller_of_two_things_takes_a_cell_that_both_want():
    boxes = np.array([[8.0, 8, 8, 2, 2, 2], [8, 8, 8, 9, 9, 9]])
    for order in ([0, 1], [1, 0]):
        label, _, _ = targets(boxes[order], np.array(order), CELLS, 2.0)
        assert (label == 0).sum() == 8  # the eight cells round the corner in which both have their middle
        assert (label == 1).sum() == 4**3 - 8


def test_a_thing_thinner_than_a_cell_has_a_cell_and_no_things_have_none():
    label, _, central = targets(np.array([[5.1, 5.1, 5.1, 0.1, 0.1, 0.1]]), np.array([0]), CELLS, 2.0)
    assert (label == 0).sum() == 1
    assert central.max() > 0
    label, _, _ = targets(np.zeros((0, 6)), np.zeros(0, int), CELLS, 2.0)
    assert (label == -1).all()


def test_easy_cells_count_little_and_every_label_is_asked():
    logits, labels = torch.tensor([[[2.0, -1.0], [-3.0, 0.5]]]), torch.tensor([[0, -1]])
    share = logits.sigmoid()
    wanted = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    right = torch.where(wanted > 0, share, 1 - share)
    weight = torch.where(wanted > 0, 0.25, 0.75)
    torch.testing.assert_close(focal(logits, labels), (-weight * (1 - right) ** 2 * right.log()).sum())


def test_boxes_lie_apart_by_what_they_do_not_share():
    rng = np.random.default_rng(0)
    one, other = (np.concatenate([rng.normal(0, 1, (50, 3)), rng.uniform(0.5, 3, (50, 3))], 1) for _ in range(2))
    found = apart(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    turned = [np.pad(boxes, ((0, 0), (0, 1))) for boxes in (one, other)]
    shared = intersection_over_union(*turned).diagonal()
    assert (found >= 1 - shared - 1e-6).all()  # and more by what lies between them
    same = apart(torch.from_numpy(one), torch.from_numpy(one)).numpy()
    np.testing.assert_allclose(same, 0, atol=1e-9)
    far = torch.tensor([[0.0, 0, 0, 1, 1, 1]]), torch.tensor([[1e4, 0, 0, 1, 1, 1]])
    assert apart(*far).item() == pytest.approx(2, abs=1e-3)
    inside = torch.tensor([[0.0, 0, 0, 2, 2, 2]]), torch.tensor([[0.0, 0, 0, 1, 2, 2]])
    assert apart(*inside).item() == pytest.approx(0.5)
