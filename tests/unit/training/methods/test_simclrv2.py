"""What makes it SimCLRv2 and no other: the card's invariants of the first of its three steps."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import default_collate

from tests.unit.training import tiny
from training.encoders import build
from training.methods.simclrv2 import SimCLRv2


def method(**config) -> SimCLRv2:
    torch.manual_seed(0)
    encoder = build("resnet", {"layers": (1, 1, 1, 1), "width": 16, "stem": "small"}, 16)
    return SimCLRv2.build(encoder, {"projection": 8} | config, tiny.PREPROCESS)


def test_the_projection_head_has_three_linear_layers_and_relu_after_the_first_two():
    made = method()
    kinds = [[type(part) for part in layer] for layer in made.projection]
    assert kinds == [
        [nn.Linear, nn.BatchNorm1d, nn.ReLU],
        [nn.Linear, nn.BatchNorm1d, nn.ReLU],
        [nn.Linear, nn.BatchNorm1d, nn.Identity],
    ]
    widths = [(layer[0].in_features, layer[0].out_features) for layer in made.projection]
    assert widths == [(128, 128), (128, 128), (128, 8)]
    assert all(layer[0].bias is None for layer in made.projection)


def test_both_views_pass_the_encoder_in_one_batch():
    made, seen = method(), []
    made.encoder.net.conv1.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    made(default_collate([made.example(item, np.random.default_rng(item.index)) for item in tiny.images(6)]))
    assert seen == [12]


def test_the_views_of_an_item_differ_and_need_no_label():
    made = method()
    item = tiny.images(1)[0]
    example = made.example(item, np.random.default_rng(0))
    assert set(example) == {"first", "second"}
    assert not np.array_equal(example["first"], example["second"])


def test_without_chance_the_views_are_equal():
    made = method(crop_scale=(1.0, 1.0), jitter_probability=0, gray_probability=0, blur_probability=0)
    image = np.full((24, 24, 3), 90, np.uint8)
    example = made.example(tiny.images(1)[0].__class__(image, 0, 0), np.random.default_rng(0))
    np.testing.assert_array_equal(example["first"], example["second"])
