"""What makes it UNI's DINOv2 and no other: the card's invariants."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from tests.unit.training import tiny
from training import checkpoint
from training.encoders import build
from training.loop import fit
from training.methods import Batch
from training.methods.uni_dinov2 import UNI, crop_loss
from training.schedule import TrainConfig

SMALL = {"views": {"local_crops": 3, "local_size": 8}, "hidden": 16, "projection": 8, "prototypes": 12}


def method(**config) -> UNI:
    torch.manual_seed(0)
    made = UNI.build(tiny.vit(pool="class"), SMALL | config, tiny.PREPROCESS)
    torch.nn.init.normal_(made.mask_token)
    return made


def one_batch(made: UNI, count: int = 6) -> Batch:
    found: Batch = default_collate(
        [made.example(item, np.random.default_rng(item.index)) for item in tiny.images(count)]
    )
    return found


def repainted(batch: Batch) -> Batch:
    """The pixels of hidden patches replaced by others."""
    hidden = batch["mask"].reshape(-1, 2, 1, 4, 4).repeat_interleave(4, 3).repeat_interleave(4, 4)  # [B, 2, 1, 16, 16]
    return batch | {"large": torch.where(hidden, torch.randn_like(batch["large"]), batch["large"])}


def test_hidden_patches_reach_the_student_as_the_mask_token_alone():
    made, seen = method(), []
    made.student.net.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = one_batch(made)
    for shown in (batch, repainted(batch)):
        made(shown)
    torch.testing.assert_close(seen[0], seen[2], rtol=0, atol=0)  # large crops; small ones follow each time
    mask = batch["mask"].flatten(0, 1)
    places = made.student.net.pos_embed[:, 1:].expand(*mask.shape, -1)[mask]
    torch.testing.assert_close(seen[0][:, 1:][mask], made.mask_token + places)


def test_the_teacher_sees_the_pixels_of_every_patch():
    made, seen = method(), []
    made.encoder.net.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = one_batch(made)
    for shown in (batch, repainted(batch)):
        made(shown)
    mask = batch["mask"].flatten(0, 1)
    assert (seen[0] != seen[1])[:, 1:].any(2)[mask].all()


def test_the_patch_loss_is_over_hidden_patches_only():
    made = method()
    mask = torch.zeros(4, 16, dtype=torch.bool)
    mask[0, :3] = mask[2, 5:14] = True
    taught, seen = torch.randn(4, 16, 16), torch.randn(4, 16, 16, requires_grad=True)
    made._patch_loss(taught, seen, mask).backward()
    assert seen.grad is not None
    assert (seen.grad[mask] != 0).any(1).all()
    assert (seen.grad[~mask] == 0).all()


def test_the_patch_loss_is_averaged_over_patches_of_a_crop_then_over_crops():
    made = method(center_momentum=1.0)
    mask = torch.zeros(3, 16, dtype=torch.bool)
    mask[0, :2] = mask[2, 5:14] = True
    taught, seen = torch.randn(3, 16, 16), torch.randn(3, 16, 16)
    whole = made._patch_loss(taught, seen, mask).item()
    alone = [made._patch_loss(taught[i : i + 1], seen[i : i + 1], mask[i : i + 1]).item() for i in (0, 2)]
    assert whole == pytest.approx(sum(alone) / 2, rel=1e-5)
    answers = (made.heads["patch"](taught[0, :2]) / 0.04).softmax(1)
    logits = made.student_heads["patch"](seen[0, :2]) / 0.1
    assert alone[0] == pytest.approx(-(answers * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-5)


def test_half_of_the_large_crops_hide_a_tenth_to_a_half_of_their_patches():
    made = method()
    masks = np.stack([made.example(tiny.images(1)[0], np.random.default_rng(seed))["mask"] for seed in range(200)])
    shares = masks.mean(2)  # [200, 2]
    assert ((shares > 0).sum(1) == 1).all()
    assert (shares[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.1)
    hidden = shares.max(1)
    assert hidden.min() >= 0.1 - 0.5 / 16
    assert hidden.max() <= 0.5
    assert hidden.std() > 0.08


def test_crops_are_compared_with_other_crops_only_and_pairs_count_alike():
    answers, logits = torch.randn(5, 2, 7).softmax(2), torch.randn(5, 4, 7)
    pairs = [float(F.cross_entropy(logits[:, j], answers[:, i])) for i in range(2) for j in range(4) if i != j]
    assert len(pairs) == 6
    assert float(crop_loss(answers, logits)) == pytest.approx(np.mean(pairs), rel=1e-5)


def test_the_teacher_answers_for_large_crops_and_the_student_for_all():
    made, seen = method(), {"encoder": [], "student": []}
    for name, sizes in seen.items():
        getattr(made, name).register_forward_pre_hook(
            lambda module, inputs, s=sizes: s.append(inputs[0]["image"].shape)
        )
    made(one_batch(made))
    assert seen["encoder"] == [(12, 3, 16, 16)]
    assert seen["student"] == [(12, 3, 16, 16), (18, 3, 8, 8)]


def test_koleo_is_of_the_students_embeddings_within_each_large_crop(monkeypatch: pytest.MonkeyPatch):
    """Never of two crops of one tile together: those may be as near as they like."""
    seen: list[torch.Tensor] = []
    made = method()
    monkeypatch.setattr("training.methods.uni_dinov2.koleo", lambda x: seen.append(x) or x.sum() * 0 + 2.0)
    batch = one_batch(made)
    losses = made(batch)
    student = made.student(
        {"image": batch["large"].flatten(0, 1)}, mask=batch["mask"].flatten(0, 1), mask_token=made.mask_token
    ).embedding.unflatten(0, (6, 2))
    assert [len(x) for x in seen] == [6, 6]
    for crop, x in enumerate(seen):
        torch.testing.assert_close(x, student[:, crop])
    assert losses["loss"].item() == pytest.approx(losses["dino"].item() + losses["ibot"].item() + 0.1 * 4, rel=1e-5)


def test_no_gradient_reaches_the_teacher_and_after_a_step_it_is_the_average():
    made = method(momentum=(0.9, 1.0))
    before = made.encoder.net.blocks[0].attn.qkv.weight.clone()
    optimizer = torch.optim.SGD([weight for weight in made.parameters() if weight.requires_grad], 0.5)
    made(one_batch(made))["loss"].backward()
    optimizer.step()
    assert all(weight.grad is None for part in (made.encoder, made.heads) for weight in part.parameters())
    torch.testing.assert_close(made.encoder.net.blocks[0].attn.qkv.weight, before, rtol=0, atol=0)
    made.after_step(0.0)
    student = made.student.net.blocks[0].attn.qkv.weight
    assert not torch.equal(student, before)
    torch.testing.assert_close(made.encoder.net.blocks[0].attn.qkv.weight, 0.9 * before + 0.1 * student)


def test_the_teachers_temperature_rises_over_the_warm_up(monkeypatch: pytest.MonkeyPatch):
    made, seen = method(centring="sinkhorn", warm_up=0.5), []
    monkeypatch.setattr(
        "training.methods.uni_dinov2.sinkhorn", lambda scores, epsilon: seen.append(epsilon) or scores.softmax(1)
    )
    for progress in (0.0, 0.25, 0.5, 1.0):
        made.after_step(progress)
        made._answers("crop", torch.randn(3, 16))
    assert seen == pytest.approx([0.04, 0.055, 0.07, 0.07])


def test_a_shared_head_answers_for_patches_too():
    assert set(method().heads) == {"crop", "patch"}
    made = method(shared_head=True)
    assert set(made.heads) == set(made.student_heads) == {"crop"}
    assert torch.isfinite(made(one_batch(made))["loss"])


def test_without_hidden_patches_there_is_no_patch_loss():
    made = method(mask_ratio=(0.0, 0.0))
    batch = one_batch(made)
    assert not batch["mask"].any()
    losses = made(batch)
    assert losses["ibot"] == 0
    assert losses["dino"].item() < 2 * math.log(12)


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Averages, centres and the temperature go on where they stopped."""
    config = TrainConfig(steps=6, batch=4, lr=1e-3, checkpoint_steps=3)

    def trained(folder: Path) -> dict[str, torch.Tensor]:
        made = method()
        fit(made, tiny.images(), config, folder, seed=3, probe=None, threads=1)
        return made.state_dict()

    whole = trained(tmp_path / "whole")
    update = UNI.after_step

    def stop(self: UNI, progress: float) -> None:
        if progress > 0.6:
            raise KeyboardInterrupt
        update(self, progress)

    monkeypatch.setattr(UNI, "after_step", stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(tmp_path / "cut")
    monkeypatch.setattr(UNI, "after_step", update)
    assert checkpoint.latest(tmp_path / "cut") is not None
    resumed = trained(tmp_path / "cut")
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    assert resumed["progress"] > 0.9


def test_wrong_uses_are_told():
    with pytest.raises(WrongUse, match=r"needs encoder 'vit', pool = 'class'"):
        UNI.build(tiny.vit(), SMALL, tiny.PREPROCESS)
    resnet = build("resnet", {"layers": (1, 1, 1, 1), "width": 16}, 32)
    with pytest.raises(WrongUse, match=r"needs encoder 'vit'"):
        UNI.build(resnet, SMALL, tiny.PREPROCESS)
    with pytest.raises(WrongUse, match=r"views.local_size 9 is no multiple of the encoder's patch, 4"):
        method(views={"local_size": 9})
