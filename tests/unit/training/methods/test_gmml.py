"""What makes it GMML and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from tests.unit.training import tiny
from training.encoders import build
from training.methods import Batch
from training.methods.gmml import GMML, GMMLConfig


def one_batch(method: GMML, count: int = 6) -> Batch:
    found: Batch = default_collate(
        [method.example(item, np.random.default_rng(item.index)) for item in tiny.images(count)]
    )
    return found


def masks(method: GMML, *, replace: bool, count: int = 60) -> np.ndarray:
    """Masks [M, 32, 32] of one kind of corruption."""
    clean = np.zeros((3, 32, 32), np.float32)
    made = [method.corrupt(clean, np.random.default_rng(seed)) for seed in range(count)]
    return np.stack([mask for _, mask, foreign in made if foreign == replace])


def test_the_encoder_always_sees_every_patch():
    method = tiny.gmml()
    seen: list[int] = []
    method.encoder.net.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    method(one_batch(method))
    assert seen == [1 + method.encoder.num_tokens]


def test_rectangles_cut_through_patches():
    """In most masks some patch is neither wholly altered nor wholly clean."""
    found = masks(tiny.gmml(), replace=False)
    share = found.reshape(len(found), 8, 4, 8, 4).mean((2, 4))
    assert (((share > 0) & (share < 1)).sum((1, 2)) >= 3).all()


def test_masked_pixels_form_groups():
    """A masked pixel's right neighbour is masked far more often than any pixel is."""
    found = masks(tiny.gmml(), replace=False)
    neighbour = found[:, :, 1:][found[:, :, :-1]].mean()
    assert neighbour > found.mean() + 0.15


def test_clean_pixels_are_untouched_and_altered_ones_are_marked():
    method = tiny.gmml()
    torch.manual_seed(0)
    batch = one_batch(method)
    corrupted = method.replaced(batch)
    mask = batch["mask"].expand_as(corrupted)
    assert torch.equal(corrupted[~mask], batch["clean"][~mask])
    assert (corrupted[mask] != batch["clean"][mask]).float().mean() > 0.95


def test_clean_pixels_get_no_gradient():
    method = tiny.gmml()
    batch = one_batch(method)
    predictions: list[torch.Tensor] = []
    method.to_pixels.register_forward_hook(
        lambda module, inputs, output: output.retain_grad() or predictions.append(output)
    )
    method(batch)["loss"].backward()
    gradient, mask = predictions[0].grad, batch["mask"].flatten(0, 1).expand_as(predictions[0])
    assert gradient is not None
    assert gradient[~mask].abs().sum() == 0
    assert (gradient[mask] != 0).all()


def test_the_loss_is_the_mean_distance_over_altered_pixels():
    method = tiny.gmml()
    batch = one_batch(method)
    torch.manual_seed(5)
    loss = method(batch)["loss"].item()
    torch.manual_seed(5)
    corrupted = method.replaced(batch).flatten(0, 1)
    restored, clean = method.restore(corrupted).detach().numpy(), batch["clean"].flatten(0, 1).numpy()
    mask = np.broadcast_to(batch["mask"].flatten(0, 1).numpy(), clean.shape)
    assert loss == pytest.approx(np.abs(restored - clean)[mask].mean(), rel=1e-5)


def test_half_to_three_quarters_are_corrupted_by_noise():
    area = masks(tiny.gmml(), replace=False).mean((1, 2))
    overshoot = (9 / 32) ** 2  # one rectangle
    assert area.min() >= 0.5
    assert area.max() <= 0.75 + overshoot
    assert area.std() > 0.05


def test_about_three_tenths_are_replaced_by_another_image():
    area = masks(tiny.gmml(), replace=True).mean((1, 2))
    assert area.min() >= 0.3
    assert area.max() <= 0.3 + (9 / 32) ** 2


@pytest.mark.parametrize(("fills", "share"), [(("noise",), 1 / 2), (("noise", "zeros", "copy"), 1 / 4)])
def test_replacement_is_as_likely_as_each_fill(fills: tuple[str, ...], share: float):
    method = tiny.gmml(fills=fills)
    clean = np.zeros((3, 16, 16), np.float32)
    foreign = [method.corrupt(clean, np.random.default_rng(seed))[2] for seed in range(800)]
    assert np.mean(foreign) == pytest.approx(share, abs=0.05)


def test_noise_is_standard_normal():
    method = tiny.gmml()
    clean = np.full((3, 64, 64), 7.0, np.float32)
    noise = [
        c[:, m]
        for seed in range(20)
        for c, m, foreign in [method.corrupt(clean, np.random.default_rng(seed))]
        if not foreign
    ]
    values = np.concatenate([pixels.ravel() for pixels in noise])
    assert values.mean() == pytest.approx(0.0, abs=0.02)
    assert values.std() == pytest.approx(1.0, abs=0.02)


def test_replacement_shows_the_same_place_of_another_item():
    method = tiny.gmml()
    B, V = 5, 2
    clean = torch.arange(B, dtype=torch.float32)[:, None, None, None, None].expand(B, V, 3, 16, 16)  # item i is all i
    batch = {
        "clean": clean,
        "corrupted": clean,
        "mask": torch.ones(B, V, 1, 16, 16, dtype=torch.bool),
        "replace": torch.ones(B, V, dtype=torch.bool),
    }
    for seed in range(20):
        torch.manual_seed(seed)
        assert (method.replaced(batch) != clean).all()


def test_the_head_is_small_at_the_papers_size():
    """ViT-S/16 at 224 pixels with the paper's settings."""
    encoder = build("vit", {}, 224)
    preprocess = tiny.PREPROCESS.model_copy(update={"size": 224})
    method = GMML(encoder, GMMLConfig(), preprocess)
    outside = sum(w.numel() for w in method.parameters()) - sum(w.numel() for w in encoder.parameters())
    assert outside < 0.1 * sum(w.numel() for w in method.parameters())


def test_there_is_one_encoder_and_no_average():
    assert [name for name, _ in tiny.gmml().named_children()] == ["encoder", "head", "to_pixels"]


def test_the_reconstruction_feature_is_the_normalised_mean_of_the_named_blocks():
    method = tiny.gmml().eval()
    image = torch.randn(2, 3, 16, 16)
    blocks = method.encoder({"image": image}).features
    feature = method.encoder.net.norm((blocks["block1"] + blocks["block2"]) / 2)
    by_hand = method.to_pixels(method.head(feature).transpose(1, 2).reshape(2, 16, 4, 4))
    torch.testing.assert_close(method.restore(image), by_hand)


def test_isolated_patches_are_aligned_and_cover_the_same_area():
    found = masks(tiny.gmml(shape="patches"), replace=False)
    share = found.reshape(len(found), 8, 4, 8, 4).mean((2, 4))
    assert set(np.unique(share)) == {0.0, 1.0}
    assert found.mean((1, 2)).mean() == pytest.approx(masks(tiny.gmml(), replace=False).mean(), abs=0.03)


@pytest.mark.parametrize("fill", ["zeros", "copy"])
def test_other_fills_mark_what_they_alter(fill: str):
    method = tiny.gmml(fills=(fill,))
    clean = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    corrupted, mask, _ = next(
        made for s in range(9) if not (made := method.corrupt(clean, np.random.default_rng(s)))[2]
    )
    assert np.array_equal(corrupted[:, ~mask], clean[:, ~mask])
    if fill == "zeros":
        assert (corrupted[:, mask] == 0).all()
    else:
        assert np.isin(corrupted[:, mask], clean).all()


def test_wrong_uses_are_told():
    with pytest.raises(WrongUse, match=r"gmml: blocks \(1, 9\) of an encoder that has 2"):
        tiny.gmml(blocks=(1, 9))
    with pytest.raises(WrongUse, match=r"area runs from 0.8 to 0.5"):
        tiny.gmml(area=(0.8, 0.5))
    resnet = build("resnet", {"layers": (1, 1, 1, 1), "width": 16}, 32)
    with pytest.raises(WrongUse, match=r"needs encoder 'vit'"):
        GMML(resnet, GMMLConfig(), tiny.PREPROCESS)
