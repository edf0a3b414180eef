"""What makes it Uni4Eye and no other: the card's invariants."""

import hashlib
from itertools import islice

import numpy as np
import onnx
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.image import Image, ImagePreprocess
from enfold.modalities.volume import Volume, VolumePreprocess, Voxels
from export.onnx import encoder_graph, share
from export.onnx import save as save_graph
from training.blocks.patches import patchify, positions
from training.encoders import Encoder, build
from training.methods import Batch, Item
from training.methods.uni4eye import Uni4Eye, edges

PREPROCESS = VolumePreprocess(spacing=1.0, patch=16)
MIXED = {"image": Image(ImagePreprocess(size=24))}
TOKENS = {"image": 9, "volume": 8}
KINDS = pytest.mark.parametrize("kind", TOKENS)


def encoder(**config) -> Encoder:
    torch.manual_seed(0)
    return build("unified_vit", {"image_patch": 8, "volume_patch": 8, "dim": 24, "depth": 2, "heads": 2} | config, 16)


def method(**config) -> Uni4Eye:
    small = {"width": 12, "depth": 1, "heads": 2}
    return Uni4Eye.build(encoder(), small | config, PREPROCESS, mixed=MIXED)


def items(count: int = 6) -> list[Item]:
    """Images and volumes in turn."""
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        if i % 2:
            made.append(
                Item(Voxels(rng.normal(60, 9, (20, 18, 22)).astype(np.float32), np.eye(4)), -1, i, {}, "volume")
            )
        else:
            made.append(Item(rng.integers(0, 256, (40, 32, 3), np.uint8), -1, i, {}, "image"))
    return made


def batch(made: Uni4Eye, kind: str) -> Batch:
    examples = [made.example(item, np.random.default_rng(item.index)) for item in items() if item.modality == kind]
    found: Batch = default_collate(examples)
    return found


def gradients(made: Uni4Eye, kind: str) -> dict[str, float]:
    """What one batch asks of each weight: nothing at all counts as 0."""
    made.zero_grad()
    torch.manual_seed(0)
    made(batch(made, kind))["loss"].backward()
    return {
        name: 0.0 if weight.grad is None else weight.grad.abs().sum().item() for name, weight in made.named_parameters()
    }


@KINDS
def test_only_what_depends_on_the_dimension_is_left_alone_by_the_other(kind: str):
    other = {"image": "volume", "volume": "image"}[kind]
    found = gradients(method(), kind)
    assert found[f"encoder.embed.{kind}.weight"] > 0
    assert found[f"encoder.embed.{other}.weight"] == 0
    idle = {name for name, asked in found.items() if asked == 0}
    assert idle == {name for name in found if f"embed.{other}" in name or f"_{other}." in name}
    assert all(asked > 0 for name, asked in found.items() if "blocks" in name)


@KINDS
@pytest.mark.parametrize("ratio", [0.5, 0.75])
def test_the_encoder_sees_what_is_not_hidden_and_no_more(kind: str, ratio: float):
    made, seen = method(mask_ratio=ratio), []
    made.encoder.net["blocks"][0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    made(batch(made, kind))
    assert seen == [1 + TOKENS[kind] - int(ratio * TOKENS[kind])]


@KINDS
def test_the_encoder_cannot_know_what_is_hidden(kind: str):
    """Other values under the mask change no token."""
    made = encoder().eval()
    x = batch(method(), kind)[kind]
    visible = torch.tensor([[1, 4, 6]]).expand(len(x), -1)
    other = x.clone()
    patches = patchify(torch.arange(x[0, 0].numel()).reshape(1, 1, *x.shape[2:]).float(), 8).long()[0]  # [N, P]
    other[:, 0].flatten(1)[:, patches[0]] = 9.0
    with torch.no_grad():
        torch.testing.assert_close(
            made({kind: other}, visible=visible).tokens, made({kind: x}, visible=visible).tokens, rtol=0, atol=0
        )
        assert not torch.allclose(made({kind: other}).tokens, made({kind: x}).tokens)


@KINDS
def test_both_losses_are_over_hidden_patches_alone(kind: str, monkeypatch: pytest.MonkeyPatch):
    """A decoder that is right where patches are hidden, and wrong everywhere else, has no loss."""
    made = method()
    x = batch(made, kind)[kind]
    visible = torch.tensor([[0, 3]]).expand(len(x), -1)
    monkeypatch.setattr("training.methods.uni4eye.some", lambda count, keep, size: visible)
    truths = {"shade": patchify(x, 8), "edge": patchify(edges(x), 8)}
    for branch, truth in truths.items():
        answer = truth.clone()
        answer[:, [0, 3]] += 5
        monkeypatch.setattr(made.heads[f"{branch}_{kind}"], "forward", lambda decoded, answer=answer: answer)
    losses = made({kind: x})
    assert losses[f"{kind}_shade"].item() == losses[f"{kind}_edge"].item() == losses["loss"].item() == 0
    wrong = truths["edge"].clone()
    wrong[:, 1] += 2  # hidden: one patch of all that are
    monkeypatch.setattr(made.heads[f"edge_{kind}"], "forward", lambda decoded: wrong)
    assert made({kind: x})[f"{kind}_edge"].item() == pytest.approx(4 / (TOKENS[kind] - 2), rel=1e-4)


@KINDS
def test_edges_of_a_plain_item_are_nothing_and_borders_are_none(kind: str):
    shape = {"image": (2, 3, 8, 8), "volume": (2, 1, 8, 8, 8)}[kind]
    assert edges(torch.full(shape, 7.0)).abs().max() == 0
    step = torch.zeros(shape)
    step[..., 4:] = 3.0
    found = edges(step)
    assert found[..., 3:5].min() == found.max() == 1
    assert found[..., :3].abs().max() == found[..., 5:].abs().max() == 0


def test_edges_are_the_length_of_sobels_slopes():
    x = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")[0, 0].numpy()
    sobel = np.outer([1, 2, 1], [-1, 0, 1])
    by_hand = np.array(
        [
            [
                np.hypot((padded[r : r + 3, c : c + 3] * sobel).sum(), (padded[r : r + 3, c : c + 3] * sobel.T).sum())
                for c in range(6)
            ]
            for r in range(6)
        ]
    )
    np.testing.assert_allclose(edges(x)[0, 0].numpy(), by_hand / by_hand.max(), atol=1e-5)


@KINDS
def test_edges_are_rebuilt_from_the_unmasked_item(kind: str, monkeypatch: pytest.MonkeyPatch):
    made, given = method(), []
    monkeypatch.setattr("training.methods.uni4eye.edges", lambda x: given.append(x) or edges(x))
    one = batch(made, kind)
    made(one)
    assert given[0] is one[kind]


@KINDS
def test_without_weight_the_edge_decoder_learns_nothing(kind: str):
    found = gradients(method(edge_weight=0.0), kind)
    assert all(asked == 0 for name, asked in found.items() if "edge" in name)
    assert any(asked > 0 for name, asked in gradients(method(), kind).items() if name.startswith("decoders.edge"))


def test_both_graphs_end_in_one_space_and_hold_the_same_blocks(tmp_path):
    made = encoder().eval()
    graphs = {kind: encoder_graph(made, {kind: batch(method(), kind)[kind].numpy()}) for kind in TOKENS}
    widths = {
        kind: [out.type.tensor_type.shape.dim[-1].dim_value for out in graph.graph.output]
        for kind, graph in graphs.items()
    }
    assert widths == {"image": [24, 24], "volume": [24, 24]}
    held = {
        kind: {hashlib.sha256(tensor.raw_data).hexdigest() for tensor in graph.graph.initializer}
        for kind, graph in graphs.items()
    }
    for name, weight in made.net["blocks"].named_parameters():
        if weight.ndim == 2:  # some exporters turn these over, both graphs alike
            own = {hashlib.sha256(w.detach().contiguous().numpy().tobytes()).hexdigest() for w in (weight, weight.T)}
            assert own & held["image"] & held["volume"], name
    for kind, graph in graphs.items():
        save_graph(graph, tmp_path / f"encode_{kind}.onnx")
    share(tmp_path)  # what both hold is written once
    assert (tmp_path / "weights.data").stat().st_size > 0.5 * sum(w.numel() * 4 for w in made.net.parameters())
    assert onnx.load(tmp_path / "encode_image.onnx").graph.output[0].name == "out_tokens"


def test_positions_tell_every_axis_of_a_volume_apart():
    found = positions((3, 4, 5), 30, torch.zeros(1)).reshape(3, 4, 5, 30)
    assert torch.unique(found.reshape(-1, 30), dim=0).shape[0] == 60
    along = [(found.narrow(axis, 1, 1) - found.narrow(axis, 0, 1)).abs().sum((0, 1, 2)) > 1e-6 for axis in range(3)]
    assert all(axis.any() for axis in along)
    assert not (along[0] & along[1]).any()
    assert not (along[1] & along[2]).any()


@KINDS
def test_patches_come_in_the_order_in_which_the_convolution_gives_them(kind: str):
    made = encoder()
    x = batch(method(), kind)[kind]
    convolution = made.embed[kind]
    by_hand = patchify(x, 8) @ convolution.weight.flatten(1).T + convolution.bias
    torch.testing.assert_close(by_hand, convolution(x).flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_batches_are_of_one_kind_and_take_turns():
    made, given = method(), items(12)
    kinds = [[given[i].modality for _, i in one] for one in islice(made.sampler(given, 3, 0, 0), 6)]
    assert kinds == [["image"] * 3, ["volume"] * 3] * 3


def test_a_kind_alone_gives_the_batches_that_it_gives_among_others_and_resumes_anywhere():
    given = items(12)
    joint = list(islice(method().sampler(given, 3, 7, 0), 12))
    for turn, kind in enumerate(("image", "volume")):
        alone = list(islice(method(kinds=(kind,)).sampler(given, 3, 7, 0), 6))
        assert alone == joint[turn::2]
    for start in range(5):
        assert list(islice(method().sampler(given, 3, 7, start), 5)) == joint[start : start + 5]


def test_a_batch_larger_than_a_kind_is_refused():
    with pytest.raises(WrongUse, match="only 3 image items to train on"):
        method().sampler(items(), 4, 0, 0)


def test_another_encoder_or_no_images_are_refused():
    vit = build("vit", {"patch": 4, "dim": 16, "depth": 1, "heads": 2}, 16)
    with pytest.raises(WrongUse, match="it needs encoder 'unified_vit'"):
        Uni4Eye.build(vit, {}, PREPROCESS, mixed=MIXED)
    for mixed in ({}, {"image": Image(ImagePreprocess(size=20))}, {"image": Volume(PREPROCESS)}):
        with pytest.raises(WrongUse, match=r"in \[mixed.image\] whose preprocess has a size that is a multiple"):
            Uni4Eye.build(encoder(), {}, PREPROCESS, mixed=mixed)
    with pytest.raises(WrongUse, match=r"of 9 patches of an image mask_ratio 0.1 hides none"):
        method(mask_ratio=0.1)
