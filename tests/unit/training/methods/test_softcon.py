"""What makes it SoftCon and no other: the card's invariants."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.multispectral import Band, Multispectral, MultispectralPreprocess, Raster
from tests.unit.training import tiny
from training.blocks.stem import stem_for
from training.encoders import build
from training.loop import fit
from training.methods import Batch, Item
from training.methods.softcon import SoftCon
from training.schedule import TrainConfig

BANDS = ("nir", "red", "green", "blue", "night")
CLASSES = ("water", "forest", "town")
SMALL = {"classes": CLASSES, "hidden": 16, "projection": 8, "mask_patch": 4}
COVER = ("water", "water forest", "town", "", "forest", "town water")


def preprocess(names=BANDS) -> MultispectralPreprocess:
    return MultispectralPreprocess(bands=tuple(Band(name=name, mean=100, std=50) for name in names), size=16)


def resnet(channels=5):
    torch.manual_seed(1)
    return build("resnet", {"channels": channels, "layers": [1, 1, 1, 1], "width": 8, "stem": "small"}, 16)


def method(names=BANDS, **config) -> SoftCon:
    made = SoftCon.build(resnet(len(names)), SMALL | config, preprocess(names), {})
    made.double()
    return made


def items(count=6, names=BANDS, *, cover=COVER) -> list[Item]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        pictures = [Raster(rng.uniform(1, 220, (len(names), 20, 20)).astype(np.float32), names) for _ in range(2)]
        made.append(Item(pictures[0], -1, i, {"other": pictures[1], "cover": cover[i % len(cover)]}))
    return made


def one_batch(made: SoftCon, found: list[Item] | None = None) -> Batch:
    batch: Batch = default_collate([made.example(item, np.random.default_rng(item.index)) for item in found or items()])
    return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}


# --- labels ---------------------------------------------------------------------------------------------------------


def test_permuting_the_classes_leaves_the_loss_unchanged():
    batch = one_batch(method())
    turned = method(classes=("town", "water", "forest"))
    other = one_batch(turned)
    assert not torch.equal(batch["labels"], other["labels"])
    assert method()(batch)["loss"].item() == pytest.approx(turned(other)["loss"].item(), abs=1e-6)


def test_scenes_without_labels_add_nothing_to_the_soft_term_but_stay_in_the_contrast():
    made = method()
    batch = one_batch(made)
    without = batch["labels"].clone()
    without[2:] = 0
    few = {name: value[:2] for name, value in batch.items()}
    labels_of_two = made(batch | {"labels": without})
    assert labels_of_two["contrast"].item() == pytest.approx(made(batch)["contrast"].item())
    assert labels_of_two["contrast"].item() != pytest.approx(made(few)["contrast"].item(), rel=1e-3)
    assert made(batch | {"labels": torch.zeros_like(without)})["soft"] == 0


def test_labels_are_used_in_the_loss_alone():
    made = method()
    batch = one_batch(made)
    bare = one_batch(made, items(cover=("",)))
    torch.testing.assert_close(batch["views"], bare["views"])
    assert set(batch) == {"views", "hidden", "labels"}
    embedding = made.encoder({"image": batch["views"][:, 0]}).embedding
    assert embedding.shape == (6, made.encoder.dim)


def test_a_class_that_is_not_named_is_refused():
    made = method()
    with pytest.raises(WrongUse, match=r"'desert'.*water, forest, town"):
        made.example(items(1, cover=("desert",))[0], np.random.default_rng(0))


def test_labels_move_the_encoder_through_the_soft_term():
    made = method(soft_weight=1.0)
    batch = one_batch(made)
    found = []
    for labels in (batch["labels"], batch["labels"].roll(1, 0)):
        made.zero_grad()
        made(batch | {"labels": labels})["loss"].backward()
        found.append(next(made.encoder.parameters()).grad.clone())
    assert not torch.allclose(found[0], found[1])


# --- contrast -------------------------------------------------------------------------------------------------------


def test_without_the_soft_term_it_is_moco_v3():
    made = method(soft_weight=0.0)
    batch = one_batch(made)
    x1, x2 = (batch["views"][:, i] for i in (0, 1))
    h1, h2 = (~batch["hidden"][:, i, None] for i in (0, 1))
    q1, q2 = made.prediction(made.projection(made.encoder({"image": torch.cat([x1 * h1, x2 * h2])}).embedding)).chunk(2)
    k1, k2 = made.average_projection(made.average_encoder({"image": torch.cat([x1, x2])}).embedding).chunk(2)
    total = 0.0
    for q, k in ((q1, k2), (q2, k1)):  # algorithm 1: ctr(q, k) = 2 tau CE(q k^T / tau, own row)
        logits = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / 0.2
        total = total + 2 * 0.2 * F.cross_entropy(logits.float(), torch.arange(6))
    losses = made(batch)
    assert set(losses) == {"loss"}
    assert losses["loss"].item() == pytest.approx(total.item(), rel=1e-5)
    soft = method(soft_weight=0.3)
    assert soft(batch)["contrast"].item() == pytest.approx(total.item(), rel=1e-5)
    assert soft(batch)["loss"].item() == pytest.approx(total.item() + 0.3 * soft(batch)["soft"].item(), rel=1e-5)


def test_no_gradient_reaches_the_average():
    made = method()
    made(one_batch(made))["loss"].backward()
    averages = [weight for name, weight in made.named_parameters() if name.startswith("average")]
    assert averages
    assert all(weight.grad is None and not weight.requires_grad for weight in averages)
    assert all(weight.grad is not None for weight in made.encoder.parameters())


def test_the_average_follows_the_encoder():
    made = method(momentum=(0.9, 0.9))
    before = {name: value.clone() for name, value in made.average_encoder.state_dict().items()}
    with torch.no_grad():
        for weight in made.encoder.parameters():
            weight.add_(1.0)
    made.after_step(0.5)
    for name, weight in made.average_encoder.named_parameters():
        torch.testing.assert_close(weight, before[name] + 0.1)


# --- masking --------------------------------------------------------------------------------------------------------


def test_only_the_online_branch_sees_masked_input():
    made, seen = method(mask_ratio=(0.5, 0.5)), {"online": [], "average": []}
    made.encoder.net.conv1.register_forward_hook(lambda module, inputs, output: seen["online"].append(inputs[0]))
    made.average_encoder.net.conv1.register_forward_hook(lambda m, inputs, output: seen["average"].append(inputs[0]))
    batch = one_batch(made)
    made(batch)
    views, hidden = (torch.cat(batch[name].unbind(1)) for name in ("views", "hidden"))
    torch.testing.assert_close(seen["average"][0], views, rtol=0, atol=0)
    everywhere = hidden[:, None].expand_as(views)
    assert (seen["online"][0][everywhere] == 0).all()
    torch.testing.assert_close(seen["online"][0][~everywhere], views[~everywhere], rtol=0, atol=0)
    assert views[everywhere].mean() > 0.1


def test_masks_hide_whole_patches_in_their_share():
    made = method(mask_ratio=(0.25, 0.25))
    hidden = one_batch(made)["hidden"]  # [B, 2, 16, 16]
    assert (hidden.double().mean((2, 3)) == 0.25).all()
    patches = hidden.unflatten(3, (4, 4)).unflatten(2, (4, 4)).double().mean((3, 5))
    assert set(patches.unique().tolist()) == {0.0, 1.0}
    assert not method(mask_ratio=(0, 0)).example(items(1)[0], np.random.default_rng(0))["hidden"].any()


# --- the first layer ------------------------------------------------------------------------------------------------


def test_the_remade_first_layer_answers_as_the_rgb_encoder_where_other_bands_are_zero():
    colours, made = method(("red", "green", "blue")), method()
    made.carry(colours.state_dict())
    rgb = torch.rand(4, 3, 16, 16).double()
    zeros = torch.zeros(4, 1, 16, 16).double()
    both = [made.encoder.eval(), colours.encoder.eval()]
    torch.testing.assert_close(
        both[0]({"image": torch.cat([zeros, rgb, zeros], 1)}).embedding, both[1]({"image": rgb}).embedding
    )
    other = made.encoder.net.conv1.weight[:, [0, 4]]
    mean = colours.encoder.net.conv1.weight.mean(1, keepdim=True) * 3 / 5
    torch.testing.assert_close(other, mean.expand_as(other))


def test_the_average_starts_as_the_carried_encoder_and_heads_start_anew():
    colours, made = method(("red", "green", "blue")), method()
    with torch.no_grad():
        for weight in (*colours.projection.parameters(), *colours.average_encoder.parameters()):
            weight.add_(1.0)
    heads = {name: value.clone() for name, value in made.projection.state_dict().items()}
    made.carry(colours.state_dict())
    for name, value in made.average_encoder.state_dict().items():
        torch.testing.assert_close(value, made.encoder.state_dict()[name])
    for name, value in made.projection.state_dict().items():
        torch.testing.assert_close(value, heads[name])


def test_a_training_of_the_same_bands_goes_on_as_it_is():
    before, made = method(), method()
    with torch.no_grad():
        before.encoder.net.conv1.weight.add_(1.0)
    made.carry(before.state_dict())
    torch.testing.assert_close(made.encoder.net.conv1.weight, before.encoder.net.conv1.weight)


def test_the_remade_first_layer_keeps_the_scale_of_its_answers():
    rgb = torch.randn(32, 3, 3, 3)
    for bands in (BANDS, ("vv", "vh"), tuple(f"b{i}" for i in range(13))):
        made = stem_for(rgb, bands)
        assert made.shape == (32, len(bands), 3, 3)
        grey = torch.rand(8, 1, 16, 16)
        answers = [F.conv2d(grey.expand(-1, weight.shape[1], -1, -1), weight).std() for weight in (rgb, made)]
        assert 0.9 < answers[1] / answers[0] < 1.6


# --- items ----------------------------------------------------------------------------------------------------------


def test_the_second_view_is_of_the_other_picture_or_of_the_same_where_there_is_none():
    plain = {"crop_scale": (1.0, 1.0), "light_probability": 0.0, "mix_probability": 0.0, "blur_probability": 0.0}
    made, item = method(**plain), items(1)[0]
    reader = Multispectral(preprocess())
    views = made.example(item, np.random.default_rng(0))["views"]
    means = [reader.prepare(picture)[0].arrays["image"].mean((1, 2)) for picture in (item.value, item.side("other"))]
    np.testing.assert_allclose(views.mean((2, 3)), means, atol=0.02)
    alone = made.example(Item(item.value, -1, 0), np.random.default_rng(0))["views"]
    np.testing.assert_allclose(alone[0].mean((1, 2)), alone[1].mean((1, 2)), atol=0.02)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(WrongUse, match=r"3 channels.*5 bands"):
        SoftCon.build(resnet(3), SMALL, preprocess(), {})
    with pytest.raises(WrongUse, match="multispectral"):
        SoftCon.build(resnet(3), SMALL, tiny.PREPROCESS, {})
    with pytest.raises(WrongUse, match="does not divide"):
        SoftCon.build(resnet(), SMALL | {"mask_patch": 5}, preprocess(), {})


def test_it_learns_scenes(tmp_path: Path):
    made = SoftCon.build(resnet(), SMALL | {"soft_weight": 1.0, "mix_probability": 0.0}, preprocess(), {})
    rng, scenes = np.random.default_rng(0), []
    for i, colour in enumerate(rng.uniform(20, 200, (12, 5, 1, 1))):
        pictures = [Raster(np.clip(colour + rng.normal(0, 5, (5, 20, 20)), 0, 255), BANDS) for _ in range(2)]
        scenes.append(Item(pictures[0], -1, i, {"other": pictures[1], "cover": COVER[i % 6]}))
    config = TrainConfig(steps=80, batch=12, lr=5e-3, precision="fp32", probe_steps=100)
    fit(made, scenes, config, tmp_path, seed=0, probe=None, threads=1)
    lines = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]
