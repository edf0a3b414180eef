"""CenterEMA: what every answer has in common is taken out."""

import torch

from training.blocks.center_ema import CenterEMA

SCORES = torch.rand(32, 6, generator=torch.Generator().manual_seed(0))


def test_the_first_answers_are_a_plain_softmax_and_each_batch_moves_the_center():
    center = CenterEMA(6, momentum=0.9)
    torch.testing.assert_close(center(SCORES, temperature=0.1), (SCORES / 0.1).softmax(1))
    torch.testing.assert_close(center.center, 0.1 * SCORES.mean(0))
    torch.testing.assert_close(center(SCORES, temperature=0.1), ((SCORES - 0.1 * SCORES.mean(0)) / 0.1).softmax(1))


def test_what_all_answers_share_does_not_count_once_it_is_known():
    plain, shifted = CenterEMA(6, momentum=0.0), CenterEMA(6, momentum=0.0)
    offset = torch.tensor([3.0, 0, 0, 0, 0, 0])
    for _ in range(2):
        answers = plain(SCORES, temperature=0.1), shifted(SCORES + offset, temperature=0.1)
    torch.testing.assert_close(*answers)


def test_the_center_is_part_of_the_state():
    assert set(CenterEMA(6, momentum=0.9).state_dict()) == {"center"}
