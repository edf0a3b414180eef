"""The DINO head scores directions."""

import torch

from training.blocks.dino_head import DINOHead


def head() -> DINOHead:
    torch.manual_seed(0)
    return DINOHead(6, hidden=16, projection=8, prototypes=10)


def test_scores_are_cosines_with_prototypes_for_any_leading_axes():
    made = head()
    scores = made(torch.randn(3, 5, 6))
    assert scores.shape == (3, 5, 10)
    assert scores.abs().max() <= 1 + 1e-6


def test_the_length_of_a_prototype_does_not_count():
    made, x = head(), torch.randn(4, 6)
    before = made(x)
    with torch.no_grad():
        made.prototypes *= torch.rand(10, 1) + 0.5
    torch.testing.assert_close(made(x), before)


def test_a_prototype_in_the_direction_of_the_projection_scores_one():
    made, x = head(), torch.randn(1, 6)
    with torch.no_grad():
        made.prototypes[3] = 2 * made.mlp(x)[0]
    torch.testing.assert_close(made(x)[0, 3], torch.tensor(1.0))
