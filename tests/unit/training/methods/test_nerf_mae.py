"""What makes it NeRF-MAE and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.radiance import Radiance, RadiancePreprocess
from tests.examples import field, npz
from training import views
from training.encoders import build
from training.methods import Batch, Item
from training.methods.nerf_mae import SEEN, NeRFMAE, losses, voxels

PREPROCESS = RadiancePreprocess(size=32, voxel=0.1)


def method(size: int = 32, **config) -> NeRFMAE:
    torch.manual_seed(0)
    encoder = build("swin3d", {"dim": 12, "depths": [2, 2], "heads": [2, 4], "drop_path": 0.0}, size)
    return NeRFMAE.build(encoder, config, PREPROCESS.model_copy(update={"size": size}))


def batch(of: NeRFMAE, count: int = 3) -> Batch:
    reader = Radiance(of.preprocess)
    items = [Item(reader.read(npz(**field(12, 2.0 + 0.2 * i))), -1, i) for i in range(count)]
    found: Batch = default_collate([of.example(item, np.random.default_rng(item.index)) for item in items])
    return found


def test_the_input_is_a_grid_of_colour_and_alpha_and_the_output_has_its_resolution():
    made = method()
    found = batch(made)
    assert found["radiance"].shape == (3, 4, 32, 32, 32)
    assert 0 <= found["radiance"].min() < found["radiance"].max() <= 1
    rebuilt = made.rebuilt(found["radiance"], made.mask(3))
    assert rebuilt.shape == found["radiance"].shape
    assert rebuilt[:, 3].min() >= 0
    assert rebuilt[:, 3].max() <= 1  # alpha through a sigmoid


def test_three_quarters_of_the_patches_are_hidden_in_every_item_each_as_often():
    made = method()
    mask = made.mask(400)
    assert mask.shape == (400, 8, 8, 8)
    assert (mask.flatten(1).sum(1) == 384).all()
    assert mask.float().mean(0).sub(0.75).abs().max() < 0.12
    assert (mask[0] != mask[1]).any()
    side = voxels(mask[:2])
    torch.testing.assert_close(side[:, ::4, ::4, ::4], mask[:2])
    torch.testing.assert_close(side[:, 3::4, 3::4, 3::4], mask[:2])


def test_what_is_hidden_is_one_token_for_all_channels_and_never_seen():
    """Whatever a hidden patch holds, in any channel, what is rebuilt is the same; its token has no place either."""
    made, seen = method().eval(), []
    found = batch(made)
    mask = made.mask(3)
    made.encoder.net["stages"][0][0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    before = made.rebuilt(found["radiance"], mask)
    for channel in range(4):
        other = found["radiance"].clone()
        other[:, channel] = torch.where(voxels(mask), torch.rand_like(other[:, channel]), other[:, channel])
        torch.testing.assert_close(made.rebuilt(other, mask), before)
    assert seen[0].shape == (3, 8, 8, 8, 12)  # replaced, not dropped: windows stay whole
    torch.testing.assert_close(seen[0][mask], made.mask_token.expand(int(mask.sum()), -1))


def test_each_loss_looks_at_its_own_voxels_and_no_others():
    torch.manual_seed(0)
    wanted, found = torch.rand(2, 4, 8, 8, 8), torch.rand(2, 4, 8, 8, 8)
    wanted[:, 3, :, :, :3] = SEEN / 2  # empty
    hidden = torch.rand(2, 8, 8, 8) < 0.75
    valid = torch.ones(2, 8, 8, 8)
    valid[:, 6:] = 0
    before = losses(found, wanted, valid, hidden)

    def changed(where: torch.Tensor, channel: slice) -> list[bool]:
        other = wanted.clone()
        # Alpha changes without crossing the limit that gives a voxel its colour.
        other[:, channel] = torch.where(
            where[:, None], other[:, channel] * 0.5 + 0.4 * (other[:, channel] > SEEN), other[:, channel]
        )
        after = losses(found, other, valid, hidden)
        return [bool(a == b) for a, b in zip(before, after, strict=True)]

    empty, rgb, alpha = wanted[:, 3] <= SEEN, slice(0, 3), slice(3, 4)
    assert changed(empty, rgb) == [True, True]
    assert changed(~empty & hidden, rgb) == [False, True]
    assert changed(~empty & ~hidden, rgb) == [False, True]  # visible colour counts too
    assert changed(~hidden, alpha) == [True, True]  # by exactly 0
    assert changed(valid == 0, alpha) == [True, True]
    assert changed(hidden & (valid > 0), alpha) == [True, False]
    rgb_loss = (found - wanted)[:, :3].square().mean(1)[~empty].mean()
    alpha_loss = (found - wanted)[:, 3].square()[hidden & (valid > 0)].mean()
    torch.testing.assert_close(torch.stack(before), torch.stack([rgb_loss, alpha_loss]))


def test_the_loss_is_the_sum_of_both_and_nothing_where_there_is_nothing():
    made = method()
    found = made(batch(made))
    torch.testing.assert_close(found["loss"], found["rgb"] + found["alpha"])
    nothing = losses(
        torch.rand(1, 4, 8, 8, 8), torch.zeros(1, 4, 8, 8, 8), torch.zeros(1, 8, 8, 8), torch.ones(1, 8, 8, 8) > 0
    )
    assert [float(one) for one in nothing] == [0, 0]


def test_views_turn_the_place_and_keep_its_filling_at_the_end():
    made = method()
    [item] = [Item(Radiance(PREPROCESS).read(npz(**field())), -1, 0)]  # 24 of 32 voxels
    seen = [made.example(item, np.random.default_rng(i)) for i in range(12)]
    assert {tuple(one["valid"].sum((1, 2)) > 0) for one in seen} == {(True,) * 24 + (False,) * 8}
    floors = [one["radiance"][3, :24, :24, 0].mean() for one in seen]
    assert min(floors) > 0.9  # z stays upwards
    assert len({one["radiance"].tobytes() for one in seen}) > 6


def test_labels_are_trained_on_with_whole_turned_places():
    grid = Radiance(PREPROCESS).read(npz(**field()))
    [own] = Radiance(PREPROCESS).prepare(grid)
    seen = [views.plain(Radiance(PREPROCESS))(grid, np.random.default_rng(i)) for i in range(6)]
    for one in seen:
        assert {name: values.shape for name, values in one.items()} == {k: v.shape for k, v in own.arrays.items()}
        assert one["radiance"].sum() == pytest.approx(own.arrays["radiance"].sum(), rel=1e-5)
    assert len({one["radiance"].tobytes() for one in seen}) > 2


def test_a_mask_that_hides_nothing_and_another_encoder_are_refused():
    with pytest.raises(WrongUse, match=r"of 512 patches mask_ratio 0\.0001 hides 0"):
        method(mask_ratio=0.0001)
    with pytest.raises(WrongUse, match="needs encoder 'swin3d'"):
        NeRFMAE.build(build("stunet", {"widths": (4, 8)}, 32), {}, PREPROCESS)
