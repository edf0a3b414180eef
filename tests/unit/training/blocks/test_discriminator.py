"""The discriminator's answer, its loss and its penalty."""

import pytest
import torch
from torch import Tensor, nn

from training.blocks.discriminator import Discriminator, hinge, matching_gradient_penalty


def pairs(count: int = 4) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, 16, 16, generator=chance), torch.randn(count, 6, generator=chance)


def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(text=6, width=4, size=16)


def test_no_image_of_a_batch_sees_another():
    model, (image, sentence) = discriminator().train(), pairs()
    torch.testing.assert_close(model(image, sentence)[:2], model(image[:2], sentence[:2]))


def test_image_and_sentence_both_count():
    model, (image, sentence) = discriminator(), pairs()
    answer = model(image, sentence)
    assert answer.shape == (4,)
    assert (model(image.roll(1, 0), sentence) - answer).abs().min() > 0
    assert (model(image, sentence.roll(1, 0)) - answer).abs().min() > 0


def test_an_answer_that_is_sure_and_right_costs_nothing():
    yes, no = torch.full((3,), 1.5), torch.full((3,), -1.5)
    assert hinge(yes, no, no) == 0
    assert hinge(no, yes, yes).item() == pytest.approx(5.0)
    # A fake and a wrong text weigh half as much as a real pair each.
    assert hinge(yes, yes, no).item() == pytest.approx(1.25)


def test_the_penalty_is_that_of_a_slope_known_beforehand():
    """An answer of 3 times a pixel and 4 times a feature is 3 and 4 steep."""

    class Slope(nn.Module):
        def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
            return 3 * image[:, 0, 0, 0] + 4 * sentence[:, 0]

    found = matching_gradient_penalty(Slope(), *pairs(), weight=2.0, power=6.0)
    assert found.item() == pytest.approx(2 * 7**6)


def test_the_penalty_teaches_the_discriminator():
    model = discriminator()
    matching_gradient_penalty(model, *pairs(), weight=2.0, power=6.0).backward()
    assert model.first.weight.grad.abs().sum() > 0
