"""What makes it STU-Net and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities.volume import Volume, VolumePreprocess, Voxels
from training.blocks.dice_ce import dice_ce, soft_dice
from training.encoders import Encoder, build
from training.heads import build as build_head
from training.methods import Item
from training.methods.stunet import STUNet, level_weights, nearest
from training.views import volume as views

PREPROCESS = VolumePreprocess(spacing=2.0, patch=16)
SIDES = {"labels": Volume(PREPROCESS)}
LABELS = ("background", "one", "two")
SIZES = {  # as the paper prints them
    "S": (1, (16, 32, 64, 128, 256, 256), 14_596_941),
    "B": (1, (32, 64, 128, 256, 512, 512), 58_262_669),
    "L": (2, (64, 128, 256, 512, 1024, 1024), 440_302_605),
    "H": (3, (96, 192, 384, 768, 1536, 1536), 1_457_326_221),
}


def encoder(**config) -> Encoder:
    torch.manual_seed(0)
    return build("stunet", {"widths": (4, 8, 8)} | config, 16)


def method(**config) -> STUNet:
    return STUNet.build(encoder(), {"labels": LABELS} | config, PREPROCESS, SIDES)


def scan(seed: int = 0) -> Item:
    rng = np.random.default_rng(seed)
    labels = np.zeros((30, 28, 26), np.float32)
    labels[5:15, 5:15, 5:15], labels[18:25, 10:20, 8:20] = 1, 2
    values = 40 + 30 * labels + rng.normal(0, 3, labels.shape).astype(np.float32)
    return Item(Voxels(values, np.eye(4)), -1, seed, {"labels": Voxels(labels, np.eye(4))})


@pytest.mark.parametrize(("depth", "widths", "count"), SIZES.values(), ids=SIZES)
def test_sizes_have_as_many_parameters_as_the_paper_says(depth, widths, count):
    with torch.device("meta"):
        made = build("stunet", {"widths": widths, "depth": depth}, 128)
        head = build_head("unet", made, {"labels": [str(k) for k in range(105)]})
    assert sum(weight.numel() for part in (made, head) for weight in part.parameters()) == count


def test_depth_and_width_grow_together():
    grown = [(depth, widths[0]) for depth, widths, _ in SIZES.values()]
    assert grown == sorted(grown)


def test_no_weight_depends_on_the_strides_and_none_upsamples():
    flat = encoder(strides=((1, 2, 2), (2, 2, 2)))
    flat.load_state_dict(encoder().state_dict())
    head = build_head("unet", flat, {"labels": LABELS})
    head.load_state_dict(build_head("unet", encoder(), {"labels": LABELS}).state_dict())
    assert not any(isinstance(part, nn.ConvTranspose3d) for made in (flat, head) for part in made.modules())
    volume = torch.randn(1, 1, 16, 16, 16)
    [logits] = head(flat({"volume": volume}).features)
    assert logits.shape == (1, 3, 16, 16, 16)


def test_training_sees_a_map_at_every_level_and_export_the_finest_alone():
    made = method()
    features = made.encoder({"volume": torch.randn(2, 1, 16, 16, 16)}).features
    maps = made.task_head(features, all_maps=True)
    assert [tuple(one.shape[2:]) for one in maps] == [(16, 16, 16), (8, 8, 8)]
    torch.testing.assert_close(made.task_head(features)[0], maps[0])
    assert len(made.task_head(features)) == 1


def test_the_coarsest_map_weighs_nothing_and_the_others_half_of_the_finer_one():
    weights = level_weights(5)
    assert weights[-1] == 0
    assert weights.sum() == pytest.approx(1)
    torch.testing.assert_close(weights[1:4] / weights[:3], torch.full((3,), 0.5))
    assert level_weights(1).tolist() == [1]


def test_going_on_takes_over_everything_but_the_maps():
    before, other = method(), STUNet.build(encoder(), {"labels": ("background", "only")}, PREPROCESS, SIDES)
    with torch.no_grad():
        for weight in before.parameters():
            weight.normal_()
    kept = {name: tensor.clone() for name, tensor in other.state_dict().items() if ".maps." in name}
    other.carry(before.state_dict())
    for name, tensor in other.state_dict().items():
        wanted = kept[name] if ".maps." in name else before.state_dict()[name]
        torch.testing.assert_close(tensor, wanted)


def test_labels_are_brought_to_a_level_by_their_nearest_voxel():
    labels = torch.randint(0, 3, (1, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nearest(labels, torch.zeros(1, 3, 4, 4, 4)), labels[:, ::2, ::2, ::2])


def test_dice_is_over_the_batch_without_background():
    labels = torch.tensor([0, 1, 1, 2]).reshape(1, 4, 1, 1)
    sure = 50 * F.one_hot(labels, 3).movedim(-1, 1).float()
    assert soft_dice(sure, labels).item() == pytest.approx(-1, abs=1e-4)
    chance = torch.zeros(1, 3, 4, 1, 1)
    by_hand = -np.mean([2 * (2 / 3) / (4 / 3 + 2), 2 * (1 / 3) / (4 / 3 + 1)])
    assert soft_dice(chance, labels).item() == pytest.approx(by_hand, abs=1e-4)
    assert dice_ce(chance, labels).item() == pytest.approx(by_hand + np.log(3), abs=1e-4)


def test_an_example_is_a_cube_of_scan_and_labels_that_lie_upon_each_other():
    made = method(mirror=True, on_label=1.0)
    for seed in range(8):
        example = made.example(scan(), np.random.default_rng(seed))
        assert example["volume"].shape == (1, 16, 16, 16)
        view, truth = example["volume"][0], example["labels"]
        assert truth.any()
        if len(np.unique(truth)) == 3:
            assert view[truth == 2].mean() > view[truth == 0].mean()


def test_a_cube_without_chance_is_a_piece_of_the_scan():
    class Still:
        """Draws that neither turn, scale nor look for a label."""

        def random(self, *_):
            return 1.0

        def uniform(self, low, high):
            return (np.array(low) + np.array(high)) / 2

    item = scan()
    view, truth = views.random_cube(
        item.value.values,
        item.sides["labels"].values,
        Still(),
        side=10,
        on_label=0.0,  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(view, item.value.values[10:20, 9:19, 8:18], atol=1e-4)
    np.testing.assert_array_equal(truth, item.sides["labels"].values[10:20, 9:19, 8:18])


def test_a_map_on_another_grid_or_with_unknown_classes_is_refused():
    item = scan()
    moved = Voxels(item.sides["labels"].values, np.diag([2.0, 1, 1, 1]))
    with pytest.raises(WrongUse, match="lie on one grid"):
        method().example(Item(item.value, -1, 0, {"labels": moved}), np.random.default_rng(0))
    with pytest.raises(WrongUse, match=r"has class 2; config\.labels names 2 classes"):
        method(labels=("background", "one")).example(item, np.random.default_rng(0))
    with pytest.raises(WrongUse, match="nothing in column 'labels'"):
        method().example(Item(item.value, -1, 0), np.random.default_rng(0))


def test_another_encoder_or_maps_at_another_spacing_are_refused():
    vit = build("vit", {"patch": 4, "dim": 16, "depth": 1, "heads": 2}, 16)
    with pytest.raises(WrongUse, match="it needs encoder 'stunet'"):
        STUNet.build(vit, {"labels": LABELS}, PREPROCESS, SIDES)
    coarse = {"labels": Volume(PREPROCESS.model_copy(update={"spacing": 4.0}))}
    with pytest.raises(
        WrongUse, match=r"a volume column \[sides.labels\] whose preprocess has the scans' spacing, 2.0"
    ):
        STUNet.build(encoder(), {"labels": LABELS}, PREPROCESS, coarse)
