"""What makes it the supervised contrastive framework for image synthesis and no other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from tests.unit.training import tiny
from training.blocks.damsm import damsm
from training.methods import Batch
from training.methods.scl_t2i import SCLT2I

LABELS = torch.tensor([0, 0, 1, 1])


def batch(method: SCLT2I) -> Batch:
    items = [item for label in (0, 1) for item in tiny.captioned() if item.label == label][:8:2]
    found: Batch = default_collate([method.example(item, np.random.default_rng(item.index)) for item in items])
    return found | {"label": LABELS}


def loss(method: SCLT2I, given: Batch, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return method(given)


def painting(folder: Path, turn: str, **config: object) -> SCLT2I:
    """In the second phase, at that turn."""
    method = tiny.scl_t2i(folder, **{"phase": "generator"} | config)
    method.train()
    method.take(next(one for one in method.turns() if one.name == turn))
    return method


def test_both_branches_pass_the_same_weights_and_a_step_sees_2b_samples(tmp_path: Path, monkeypatch):
    method = painting(tmp_path, "generator")
    counts = {"encoder": 0, "text_encoder": 0, "discriminator": 0}
    for name in counts:
        part = getattr(method, name)

        def count(module, given, name=name):
            inputs = given[0]
            counts[name] += len(next(iter(inputs.values())) if isinstance(inputs, dict) else inputs)

        part.register_forward_pre_hook(count)
    loss(method, batch(method))
    assert counts == {"encoder": 8, "text_encoder": 8, "discriminator": 8}
    first = tiny.scl_t2i(tmp_path)
    for name in ("encoder", "text_encoder"):
        getattr(first, name).register_forward_pre_hook(lambda module, given, name=name: counts.update({name: -1}))
    loss(first, batch(first))
    assert counts["encoder"] == counts["text_encoder"] == -1
    twins = [weight for name, weight in first.named_parameters() if name.startswith(("encoder.", "text_encoder."))]
    assert len(twins) == len(list(first.parameters()))


def test_branches_differ_in_view_and_caption(tmp_path: Path):
    method = tiny.scl_t2i(tmp_path)
    example = method.example(tiny.captioned()[0], np.random.default_rng(0))
    assert example["image"].shape == (2, 3, 16, 16)
    assert example["input_ids"].shape == example["attention_mask"].shape == (2, 12)
    assert not np.array_equal(example["image"][0], example["image"][1])
    assert not np.array_equal(example["input_ids"][0], example["input_ids"][1])


@pytest.mark.parametrize("phase", ["encoders", "generator"])
def test_contrast_is_in_both_phases(tmp_path: Path, phase: str):
    """With its weight at nothing the loss is less by what it is worth."""
    key = {"encoders": "encoder_contrast", "generator": "fake_contrast"}[phase]
    told = {"encoders": "supcon", "generator": "fake_supcon"}[phase]
    found = []
    for weight in (0.0, 0.3):
        config = {"phase": phase, key: weight}
        method = painting(tmp_path, "generator", **config) if phase == "generator" else tiny.scl_t2i(tmp_path, **config)
        found.append(loss(method, batch(method)))
    assert found[1][told] > 0.1
    torch.testing.assert_close(found[1]["loss"] - found[0]["loss"], 0.3 * found[1][told], rtol=1e-3, atol=1e-5)


def test_without_contrast_the_first_phase_is_damsm_on_two_captions(tmp_path: Path):
    method = tiny.scl_t2i(tmp_path, encoder_contrast=0.0).eval()
    given = batch(method)
    expected = sum(
        damsm(method.encoder({"image": given["image"][:, branch]}), method.text(given, branch), LABELS)
        for branch in range(2)
    )
    torch.testing.assert_close(loss(method, given)["loss"], expected)


def test_without_contrast_the_second_phase_is_the_base_gan_on_two_captions(tmp_path: Path):
    """Adversarial loss, matching and divergence of each caption, with one noise for both."""
    method = painting(tmp_path, "generator", fake_contrast=0.0)
    given = batch(method)
    found = loss(method, given)["loss"]
    torch.manual_seed(1)
    noise, expected = torch.randn(4, 5), 0.0
    for branch in range(2):
        text = method.text(given, branch)
        fake, divergence = method.fake(noise, text)
        match = damsm(method.encoder({"image": fake}), text, LABELS)
        expected = expected - method.discriminator(fake, text.embedding).mean() + 0.1 * match + divergence
    torch.testing.assert_close(found, expected)


def test_labels_are_in_the_loss_only(tmp_path: Path):
    """Other labels leave every painted image as it was, and change the generator's loss."""
    method = painting(tmp_path, "generator")
    given, painted = batch(method), []
    method.encoder.register_forward_pre_hook(lambda module, seen: painted.append(seen[0]["image"].detach()))
    losses = [loss(method, given | {"label": labels})["loss"] for labels in (LABELS, torch.arange(4))]
    torch.testing.assert_close(painted[:2], painted[2:], rtol=0, atol=0)
    assert abs(losses[0] - losses[1]) > 1e-3
    rival = painting(tmp_path, "discriminator")
    same = [loss(rival, given | {"label": labels})["loss"] for labels in (LABELS, torch.arange(4))]
    assert same[0] == same[1]


@pytest.mark.parametrize("turn", ["discriminator", "generator"])
def test_the_encoders_learn_nothing_in_the_second_phase(tmp_path: Path, turn: str):
    method = painting(tmp_path, turn)
    frozen = {
        name: tensor.clone() for name, tensor in method.state_dict().items() if name.startswith(("encoder", "text_"))
    }
    loss(method, batch(method))["loss"].backward()
    assert all(weight.grad is None for part in (method.encoder, method.text_encoder) for weight in part.parameters())
    learning = [name for name, weight in method.named_parameters() if weight.grad is not None]
    assert learning
    assert all(name.startswith(f"{turn}.") for name in learning)
    torch.testing.assert_close({name: method.state_dict()[name] for name in frozen}, frozen, rtol=0, atol=0)


def test_the_penalty_counts_at_every_fourth_step_of_the_discriminator(tmp_path: Path):
    method = painting(tmp_path, "discriminator")
    plain = painting(tmp_path, "discriminator", penalty_weight=0.0)
    given, steeper = batch(method), []
    with torch.no_grad():
        method.discriminator.answer.weight.mul_(20)
        plain.discriminator.answer.weight.mul_(20)
    for _ in range(6):
        steeper.append(bool(loss(method, given)["loss"] > loss(plain, given)["loss"]))
        method.after_step(0.5)
        plain.after_step(0.5)
    assert steeper == [True, False, False, False, True, False]


def test_the_average_of_the_generator_is_what_remains(tmp_path: Path):
    method = painting(tmp_path, "generator", average=0.75)
    first = method.generator.last.weight.detach().clone()
    method.after_step(0.4)  # the average begins where the generator stands
    with torch.no_grad():
        method.generator.last.weight.add_(1.0)
    method.after_step(0.6)
    torch.testing.assert_close(method.generator.last.weight.detach(), first + 1)
    method.take(method.turns()[0])
    method.after_step(1.0)
    torch.testing.assert_close(method.generator.last.weight.detach(), first + 0.25)


def test_the_second_phase_goes_on_from_the_encoders_of_the_first(tmp_path: Path):
    first = tiny.scl_t2i(tmp_path)
    with torch.no_grad():
        for weight in first.parameters():
            weight.add_(1.0)
    second = tiny.scl_t2i(tmp_path, phase="generator")
    second.carry(first.state_dict())
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], tensor)


def test_a_generator_is_trained_on_images_as_the_encoder_sees_them(tmp_path: Path):
    """White of a generator, 1, is white of an item, 255."""
    method = painting(tmp_path, "generator").eval()
    method.generator.paint = lambda *given: torch.ones(4, 3, 16, 16)
    text = method.text(batch(method), 0)
    seen, _ = method.fake(torch.zeros(4, 5), text)
    white = (1 - np.array(tiny.PREPROCESS.mean)) / np.array(tiny.PREPROCESS.std)
    np.testing.assert_allclose(seen[0, :, 0, 0].numpy(), white, rtol=1e-5)


def test_what_is_missing_or_does_not_fit_is_told(tmp_path: Path):
    method = tiny.scl_t2i(tmp_path)
    with pytest.raises(WrongUse, match=r"name a text column \[sides.caption\]; it names none"):
        SCLT2I.build(method.encoder, {}, tiny.PREPROCESS)
    with pytest.raises(WrongUse, match=r"the image encoder has 8 features, the text encoder 128"):
        SCLT2I.build(method.encoder, {}, tiny.PREPROCESS, {"caption": tiny.captions(tmp_path)})
