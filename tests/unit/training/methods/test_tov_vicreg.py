"""What makes it TOV-VICReg and no other: the card's invariants, on videos whose frames say their number."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.image import ImagePreprocess
from enfold.modalities.video import Frames, Video, VideoPreprocess
from training.blocks.vicreg import vicreg
from training.encoders import build
from training.methods import Batch, Item
from training.methods.tov_vicreg import ORDERS, TOVVICReg

PREPROCESS = VideoPreprocess(size=16, frames=3)
PLAIN = {"jitter_probability": 0.0, "gray_probability": 0.0}


def method(preprocess: VideoPreprocess = PREPROCESS, **config) -> TOVVICReg:
    torch.manual_seed(0)
    encoder = build("vit", {"patch": 4, "dim": 16, "depth": 2, "heads": 2, "pool": "class"}, 16)
    return TOVVICReg.build(encoder, {"projection": (32, 32, 32)} | config, preprocess)


def numbered(count: int) -> Frames:
    """A video whose frame i has shade 10 i."""
    return Video(None).read(np.stack([np.full((20, 20, 3), 10 * i, np.uint8) for i in range(count)]))


def numbers(clip: np.ndarray) -> list[int]:
    return np.rint(clip.mean((1, 2, 3)) / 10).astype(int).tolist()


def noise(count: int = 6) -> list[Item]:
    rng = np.random.default_rng(0)
    return [Item(Video(None).read(rng.integers(0, 256, (9, 20, 20, 3), np.uint8)), 0, i) for i in range(count)]


def batch(made: TOVVICReg) -> Batch:
    found: Batch = default_collate([made.example(item, np.random.default_rng(item.index)) for item in noise()])
    return found


def test_the_order_task_reads_the_encoders_output_before_the_projector():
    made = method()
    head = made.task_head.disorder
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (3 * made.encoder.dim, 1)
    made.projector.requires_grad_(False)
    three = torch.randn(4, 3, 16, requires_grad=True)
    torch.testing.assert_close(made.task_head(three), head(three.flatten(1))[:, 0])
    example, seen = batch(made), []
    head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    embedding = made.eval().encoder({"video": torch.cat([example[n] for n in ("first", "before", "after")])}).embedding
    made(example)
    rows = {tuple(np.round(row, 3)) for row in embedding.detach().numpy()}
    assert {tuple(np.round(row, 3)) for row in seen[0].detach().reshape(-1, 16).numpy()} == rows


def test_the_projector_is_two_layers_with_norm_and_relu_and_one_without_bias():
    kinds = [type(part) for part in method().projector]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear]
    assert [part.bias is not None for part in method().projector if isinstance(part, nn.Linear)] == [True, True, False]


def test_neighbours_are_never_cropped_nor_turned_over():
    """Whatever the draws, the left half of a picture that is dark on the left stays dark."""
    frame = np.zeros((16, 16, 3), np.uint8)
    frame[:, 8:] = 200
    half, made = Item(Video(None).read(np.stack([frame] * 9)), 0, 0), method()
    for seed in range(40):
        example = made.example(half, np.random.default_rng(seed))
        for name in ("before", "after"):
            assert (example[name][..., :7] < example[name][..., 9:].min()).all()
    crops = [made.example(half, np.random.default_rng(seed))["first"] for seed in range(40)]
    assert any((view[..., :7].mean() > view[..., 9:].mean()) for view in crops)


def test_neighbours_never_enter_vicregs_terms_and_exchanging_them_changes_the_order_alone():
    made = method()
    one = batch(made)
    other = one | {"before": one["after"], "after": one["before"]}
    third = one | {"before": torch.rand_like(one["before"]), "after": torch.rand_like(one["after"])}
    losses = []
    for example in (one, other, third):
        torch.manual_seed(0)
        losses.append(made(example))
    for changed in losses[1:]:
        for name in ("invariance", "variance", "covariance"):
            torch.testing.assert_close(changed[name], losses[0][name], rtol=1e-5, atol=1e-6)
        assert changed["order"] != losses[0]["order"]


def test_the_second_view_has_no_part_in_the_order():
    made = method()
    one, orders = batch(made), []
    for example in (one, one | {"second": torch.rand_like(one["second"])}):
        torch.manual_seed(0)
        orders.append(made(example)["order"])
    torch.testing.assert_close(*orders)


def test_the_label_is_nought_for_the_identity_alone():
    assert ORDERS.tolist() == [list(order) for order in permutations(range(3))]
    assert ORDERS[0].tolist() == [0, 1, 2]
    made, three = method(), torch.randn(6, 3, 16)
    logits = torch.stack([made.task_head(three[i : i + 1, order])[0] for i, order in enumerate(ORDERS)])
    by_hand = F.binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 1, 1, 1, 1, 1]))
    torch.testing.assert_close(made.order_loss(three, torch.arange(6)), by_hand)


def test_a_sixth_of_a_large_batch_is_in_order():
    """Read off the gradient of the head's bias at nothing: the mean of 1/2 less the label."""
    made, many = method(), 3000
    nn.init.zeros_(made.task_head.disorder.weight)
    nn.init.zeros_(made.task_head.disorder.bias)
    torch.manual_seed(0)
    made.order_loss(torch.randn(many, 3, 16), torch.randint(len(ORDERS), (many,))).backward()
    assert made.task_head.disorder.bias.grad is not None
    in_order = made.task_head.disorder.bias.grad.item() + 0.5
    assert in_order == pytest.approx(1 / 6, abs=0.02)


def test_every_term_reaches_the_encoder():
    for name in ("invariance", "variance", "covariance", "order"):
        made = method()
        made(batch(made))[name].backward()
        assert sum(w.grad.abs().sum() for w in made.encoder.parameters() if w.grad is not None) > 0


def test_without_the_order_it_is_vicreg():
    made = method(order_weight=0.0)
    example = batch(made)
    assert set(example) == {"first", "second"}
    assert not hasattr(made, "task_head")
    losses = made(example)
    terms = vicreg(*(made.projector(made.encoder({"video": example[name]}).embedding) for name in ("first", "second")))
    by_hand = 10 * terms.invariance + 10 * terms.variance + 10 * terms.covariance
    torch.testing.assert_close(losses["loss"], by_hand)
    whole = method()
    torch.manual_seed(0)
    both = whole(batch(whole))
    torch.testing.assert_close(both["loss"] - 0.1 * both["order"], losses["loss"])


def test_neighbours_lie_a_stacks_length_away_in_the_same_video():
    made = method(**PLAIN)
    for seed in range(20):
        before, now, after = map(numbers, made.observations(numbered(20), np.random.default_rng(seed)))
        assert before == [number - 3 for number in now]
        assert after == [number + 3 for number in now]
        assert now == list(range(now[0], now[0] + 3))


def test_of_nine_frames_the_middle_three_are_the_observation():
    made = method()
    found = made.observations(numbered(9), np.random.default_rng(0))
    assert [numbers(clip) for clip in found] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_a_stride_moves_neighbours_further():
    made = method(VideoPreprocess(size=16, frames=3, stride=2))
    before, now, after = map(numbers, made.observations(numbered(17), np.random.default_rng(0)))
    assert (before, now, after) == ([0, 2, 4], [6, 8, 10], [12, 14, 16])


@pytest.mark.parametrize(("count", "first", "last"), [(7, [0, 1, 2], [4, 5, 6]), (4, [0, 1, 2], [1, 2, 3])])
def test_neighbours_are_clipped_at_the_ends_of_a_short_video(count, first, last):
    before, _, after = method().observations(numbered(count), np.random.default_rng(0))
    assert numbers(before) == first
    assert numbers(after) == last


def test_the_frames_of_an_observation_are_changed_alike():
    """Of a video that stands still, every view stands still."""
    still = Item(Video(None).read(np.stack([noise(1)[0].value.pick([0]).__next__()] * 9)), 0, 0)
    for seed in range(10):
        for view in method().example(still, np.random.default_rng(seed)).values():
            np.testing.assert_array_equal(view, np.broadcast_to(view[:1], view.shape))


def test_frames_are_no_colours():
    """With three shades for its frames, what would change hue or take colours away keeps them apart."""
    made = method(jitter=(0.0, 0.0, 0.2, 0.1), jitter_probability=1.0, gray_probability=1.0)
    _, now, _ = made.observations(numbered(9), np.random.default_rng(0))
    np.testing.assert_array_equal(made.weak(now, np.random.default_rng(0)), now)


def test_it_needs_videos():
    with pytest.raises(WrongUse, match="it needs modality 'video'"):
        TOVVICReg.build(method().encoder, {}, ImagePreprocess(size=16))


def test_it_needs_an_encoder_that_takes_all_frames_of_an_observation():
    with pytest.raises(WrongUse, match=r"needs encoder 'vit' with config.channels = 12"):
        method(VideoPreprocess(size=16, frames=4, colour=True))
    with pytest.raises(WrongUse, match=r"needs encoder 'vit'"):
        TOVVICReg.build(build("resnet", {}, 16), {}, PREPROCESS)
