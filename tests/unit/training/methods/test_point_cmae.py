"""What makes it Point-CMAE and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.points import PointsPreprocess
from training.encoders import build
from training.methods import Batch, Item
from training.methods.point_cmae import PointCMAE, all_patches, hidden_of, same_patch

PREPROCESS = PointsPreprocess(points=128, patches=20, neighbours=8)


def method(**config) -> PointCMAE:
    torch.manual_seed(0)
    small = {"dim": 16, "depth": 2, "heads": 2, "point_widths": [8, 8], "patch_width": 16, "drop_path": 0.0}
    encoder = build("point_transformer", small, PREPROCESS.neighbours)
    return PointCMAE.build(encoder, {"decoder_depth": 1, "decoder_heads": 2} | config, PREPROCESS)


def batch(of: PointCMAE, count: int = 4) -> Batch:
    items = [Item(np.random.default_rng(i).normal(size=(200, 3)) * (3, 2, 1), -1, i) for i in range(count)]
    found: Batch = default_collate([of.example(item, np.random.default_rng(item.index)) for item in items])
    return found


def test_one_encoder_runs_twice_and_each_branch_has_a_decoder_of_its_own():
    made, seen = method(), []
    made.encoder.net["norm"].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    made(batch(made))
    assert seen == [8, 8]  # the visible 40 % of 20 patches, once for each mask
    first, second = (dict(decoder.named_parameters()) for decoder in made.decoders)
    assert first.keys() == second.keys()
    assert not {id(weight) for weight in first.values()} & {id(weight) for weight in second.values()}


def test_both_masks_hide_exactly_the_share_and_differ():
    made = method()
    one, two = made.mask(200), made.mask(200)
    assert hidden_of(20, 0.6) == 12
    assert (one.sum(1) == 12).all()
    assert (two.sum(1) == 12).all()
    assert (one != two).any(1).float().mean() > 0.99
    assert one.float().mean(0) == pytest.approx(0.6, abs=0.12)  # any patch as likely as another


def test_agreement_is_nothing_where_features_are_equal_and_counts_what_both_masks_hide():
    torch.manual_seed(0)
    first, second = torch.randn(3, 20, 16), torch.randn(3, 20, 16)
    masks = [torch.rand(3, 20) < 0.6 for _ in range(2)]
    both, once = masks[0] & masks[1], masks[0] ^ masks[1]
    assert same_patch(first, first, both).abs() < 1e-6
    assert all_patches(first, first, both) > 0.5  # the released code's form is not
    for agreement in (same_patch, all_patches):
        before = agreement(first, second, both)
        changed = torch.where(once[..., None], torch.randn_like(first), first)
        torch.testing.assert_close(agreement(changed, second, both), before)
    changed = torch.where(once[..., None], torch.randn_like(second), second)
    torch.testing.assert_close(same_patch(first, changed, both), same_patch(first, second, both))
    assert same_patch(first, second, torch.zeros_like(both)) == 0  # masks that have nothing in common
    cosine = torch.nn.functional.cosine_similarity(first, second, dim=2)
    torch.testing.assert_close(same_patch(first, second, both), (1 - cosine)[both].mean())


def test_both_branches_see_the_same_points_and_both_take_the_gradient():
    made, tokenized = method(), []
    made.encoder.patch.register_forward_hook(lambda module, inputs, output: tokenized.append(len(output)))
    found = batch(made)
    assert found["centres"].shape == (4, 1, 20, 3)
    losses = made(found)
    assert tokenized == [4 * 20]  # once for both
    losses["contrast"].backward()
    for decoder in made.decoders:
        assert decoder.mask_token.grad.abs().sum() > 0
    torch.testing.assert_close(losses["loss"], 1000 * 2 * losses["chamfer"] + losses["contrast"])


def test_with_nothing_to_compare_it_is_point_mae():
    made = method(contrast="nothing")
    losses = made(batch(made))
    assert len(made.decoders) == 1
    assert "contrast" not in losses
    torch.testing.assert_close(losses["loss"], 1000 * losses["chamfer"])


def test_what_is_hidden_never_reaches_the_encoder():
    made = method(contrast="nothing").eval()
    found = batch(made)
    torch.manual_seed(3)
    hidden = made.mask(4)
    changed = torch.where(hidden[..., None, None], torch.randn_like(found["patches"][:, 0]), found["patches"][:, 0])
    seen = []
    for patches in (found["patches"][:, 0], changed):
        tokens = made.encoder.tokens(patches)
        centres = found["centres"][:, 0]
        seen.append(made.rebuilt(tokens, centres, patches, hidden, made.decoders[0])[1])
    torch.testing.assert_close(*seen)


def test_views_are_augmented_each_in_its_own_way():
    made = method(contrast="views")
    found = batch(made)
    assert found["centres"].shape == (4, 2, 20, 3)
    assert (found["centres"][:, 0] - found["centres"][:, 1]).abs().mean() > 0.05
    assert torch.isfinite(made(found)["contrast"])


def test_the_order_of_points_and_patches_changes_no_embedding():
    made = method().eval()
    found = {name: values[:, 0] for name, values in batch(made).items()}
    order, inner = torch.randperm(20), torch.randperm(8)
    shuffled = {"centres": found["centres"][:, order], "patches": found["patches"][:, order][:, :, inner]}
    with torch.no_grad():
        torch.testing.assert_close(made.encoder(shuffled).embedding, made.encoder(found).embedding)


def test_a_mask_that_hides_nothing_is_refused():
    with pytest.raises(WrongUse, match=r"of 20 patches mask_ratio 0\.02 hides none"):
        method(mask_ratio=0.02)
