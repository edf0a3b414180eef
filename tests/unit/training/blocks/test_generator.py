"""The generator's graph and what reaches its images."""

import onnxruntime
import pytest
import torch

from enfold.errors import WrongUse
from training.blocks.generator import Generator

NAMES = ("noise", "sentence", "words", "word_mask")


def generator(size: int = 16) -> Generator:
    torch.manual_seed(0)
    return Generator(noise=5, text=6, condition=7, width=4, size=size)


def inputs(count: int = 3, length: int = 4) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(count)
    mask = torch.ones(count, length, dtype=torch.int64)
    mask[0, length // 2 :] = 0
    shapes = ((count, 5), (count, 6), (count, length, 6))
    return [*(torch.randn(shape, generator=chance) for shape in shapes), mask]


def test_images_have_the_asked_size_and_range():
    for size in (8, 16, 32):
        image = generator(size)(*inputs())
        assert image.shape == (3, 3, size, size)
        assert image.abs().max() <= 1


def test_a_size_that_no_doubling_reaches_is_refused():
    with pytest.raises(WrongUse, match="8, 16, 32, 64, … pixels a side, not 24"):
        generator(24)


@pytest.mark.parametrize("which", range(3))
def test_noise_sentence_and_words_all_count(which: int):
    model, given = generator().eval(), inputs()
    changed = [x.roll(1, 0) if place == which else x for place, x in enumerate(given)]
    assert (model(*given) - model(*changed)).abs().max() > 1e-4


def test_padding_says_nothing():
    model, (noise, sentence, words, mask) = generator().eval(), inputs()
    other = words.masked_fill(mask[..., None] == 0, 9.0)
    torch.testing.assert_close(model(noise, sentence, other, mask), model(noise, sentence, words, mask))


def test_it_is_one_graph_for_every_batch_and_length():
    model = generator(8).eval()
    axes = ({0: "batch"}, {0: "batch"}, {0: "batch", 1: "length"}, {0: "batch", 1: "length"})
    program = torch.onnx.export(
        model, tuple(inputs()), dynamo=True, verbose=False, input_names=NAMES, dynamic_shapes=axes
    )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    for count, length in ((1, 2), (5, 9)):
        given = inputs(count, length)
        [image] = session.run(None, {name: x.numpy() for name, x in zip(NAMES, given, strict=True)})
        torch.testing.assert_close(torch.from_numpy(image), model(*given), rtol=1e-4, atol=1e-4)
