"""What makes it SSAST and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.audio import Audio, AudioPreprocess
from tests.examples import sound
from training.encoders import build
from training.methods import Batch, Item
from training.methods.ssast import SSAST, SSASTConfig, info_nce

PREPROCESS = AudioPreprocess(rate=8000, mels=16, frames=32, mean=-8.0, std=3.0)
ENCODER = {"mels": 16, "patch": (4, 4), "dim": 16, "depth": 2, "heads": 2}
MASKED, GRID = 12, (4, 8)


def method(encoder: dict[str, object] = ENCODER, **config: object) -> SSAST:
    torch.manual_seed(0)
    made = SSAST.build(build("ast", encoder, 32), {"masked": MASKED, "clusters": (2, 3)} | config, PREPROCESS)
    return made.eval()


def one_batch(made: SSAST, count: int = 5) -> Batch:
    rng = np.random.default_rng(0)
    values = [Audio(PREPROCESS).read(sound(rng.normal(0, 0.1, 6000), "WAV", rate=8000)) for _ in range(count)]
    examples = [made.example(Item(value, 0, i), np.random.default_rng(i)) for i, value in enumerate(values)]
    found: Batch = default_collate(examples)
    return found


@pytest.mark.parametrize("clusters", [(1,), (2, 3), (3, 4, 5)])
def test_exactly_so_many_patches_of_every_sound_are_hidden(clusters: tuple[int, ...]):
    masks = one_batch(method(clusters=clusters))["masks"]
    assert masks.shape == (5, 2, 32)
    assert (masks.sum(2) == MASKED).all()


def test_each_loss_has_a_mask_of_its_own_unless_they_share_one():
    masks = one_batch(method())["masks"]
    assert (masks[:, 0] != masks[:, 1]).any(1).all()
    shared = one_batch(method(shared_mask=True))
    assert shared["masks"].shape == (5, 1, 32)
    made, passes = method(shared_mask=True), []
    made.encoder.register_forward_hook(lambda *_: passes.append(1))
    made(shared)
    assert len(passes) == 1


def test_patches_are_counted_as_the_encoder_counts_its_tokens():
    """Patch n of a spectrogram is what token n sees before the blocks."""
    made, audio = method(), torch.randn(2, 16, 32)
    projection = made.encoder.net.patch_embed.proj
    seen = F.linear(made.patches(audio), projection.weight.flatten(1), projection.bias)
    torch.testing.assert_close(seen, made.encoder.net.patch_embed(audio[:, None]).flatten(1, 2), atol=1e-5, rtol=1e-5)


def test_what_the_encoder_says_at_unmasked_patches_gets_no_gradient():
    made = method(shared_mask=True)
    batch, kept = one_batch(made), []

    def keep(module, inputs, encoded):
        encoded.tokens.retain_grad()
        kept.append(encoded.tokens)

    made.encoder.register_forward_hook(keep)
    made(batch)["loss"].backward()
    gradient, mask = kept[0].grad.abs().sum(2), batch["masks"][:, 0]
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] > 0).all()


def test_a_hidden_patch_changes_the_target_and_nothing_that_the_encoder_says():
    made = method(shared_mask=True)
    batch = one_batch(made)
    mask = batch["masks"][:, 0]
    hidden = mask.unflatten(1, GRID).repeat_interleave(4, 1).repeat_interleave(4, 2)
    other = torch.where(hidden, torch.randn_like(batch["audio"]), batch["audio"])
    with torch.no_grad():
        torch.testing.assert_close(made.at_masked(other, mask), made.at_masked(batch["audio"], mask), rtol=0, atol=0)
        assert made({**batch, "audio": other})["generative"] != made(batch)["generative"]
        shown = torch.where(hidden, batch["audio"], batch["audio"] + 1)
        assert not torch.allclose(made.at_masked(shown, mask), made.at_masked(batch["audio"], mask))


def test_the_target_of_the_discriminative_loss_carries_no_gradient():
    answers, patches = torch.randn(2, 6, 8, requires_grad=True), torch.randn(2, 6, 8, requires_grad=True)
    info_nce(answers, patches, torch.arange(6).expand(2, 6)).backward()
    assert patches.grad is None
    assert answers.grad is not None


def test_wrong_answers_come_from_the_same_sound_alone():
    answers, patches = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    alike = torch.arange(6).expand(2, 6)
    together = info_nce(answers, patches, alike)
    alone = [info_nce(answers[i : i + 1], patches[i : i + 1], alike[:1]) for i in range(2)]
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)
    logits = answers[0] @ patches[0].T  # [6, 6], no temperature
    torch.testing.assert_close(alone[0], -logits.log_softmax(1).diag().mean())


def test_equal_patches_are_no_wrong_answers_for_each_other():
    """Silence everywhere but in one patch: all can be told apart that differ."""
    patches = torch.zeros(1, 6, 8)
    patches[0, 3] = 9.0
    alike = torch.tensor([[0, 0, 0, 1, 0, 0]])
    answers = patches - 4.5
    assert info_nce(answers, patches, alike) < 1e-6
    assert info_nce(answers, patches, torch.arange(6)[None]) > 1


def test_equal_patches_are_found_in_a_sound_that_ends_early():
    made = method()
    value = Audio(PREPROCESS).read(sound(np.random.default_rng(0).normal(0, 0.1, 1000), "WAV", rate=8000))
    alike = made.example(Item(value, 0, 0), np.random.default_rng(0))["alike"].reshape(GRID)
    frames = 1 + (1000 - 200) // 80
    padding = alike[:, -(-frames // 4) :]
    assert len(np.unique(padding)) == 1
    assert len(np.unique(alike)) == 1 + alike.size - padding.size


def test_silence_has_a_finite_loss():
    made = method()
    value = Audio(PREPROCESS).read(sound(np.zeros(6000), "WAV", rate=8000))
    batch = default_collate([made.example(Item(value, 0, i), np.random.default_rng(i)) for i in range(2)])
    losses = made(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["discriminative"] == 0  # there is nothing to tell


def test_the_generative_loss_is_the_mean_square_over_values_of_hidden_patches():
    made = method()
    batch = one_batch(made)
    mask = batch["masks"][:, 1]
    drawn = made.reconstruct(made.at_masked(batch["audio"], mask))
    wanted = torch.stack([made.patches(batch["audio"])[i, mask[i]] for i in range(5)])
    torch.testing.assert_close(made(batch)["generative"], ((drawn - wanted) ** 2).mean())


def test_the_loss_is_one_part_telling_and_ten_parts_drawing():
    made = method()
    losses = made(one_batch(made))
    torch.testing.assert_close(
        losses["loss"], losses["discriminative"] + 10 * losses["generative"], rtol=1e-6, atol=1e-6
    )
    alone = method(discriminative_weight=0.0)
    losses = alone(one_batch(alone))
    torch.testing.assert_close(losses["loss"], 10 * losses["generative"])


def test_hidden_patches_keep_their_place_among_the_tokens():
    """No patch is dropped: with and without a mask the blocks see all of them and the two extra tokens."""
    made, lengths = method(), []
    made.encoder.net.blocks[0].register_forward_hook(lambda _, inputs, output: lengths.append(inputs[0].shape[1]))
    batch = one_batch(made)
    made(batch)
    made.encoder({"audio": batch["audio"]})
    assert lengths == [2 + 32] * 3


def test_one_learnt_vector_stands_for_every_hidden_patch():
    made = method()
    assert made.mask_token.shape == (16,)
    batch = one_batch(made)
    seen = []
    made.encoder.net.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mask = batch["masks"][:, 0]
    made.at_masked(batch["audio"], mask)
    hidden = (seen[0] - made.encoder.net.pos_embed)[:, 2:][mask]
    torch.testing.assert_close(hidden, made.mask_token.expand_as(hidden))


def test_frames_are_patches_of_all_bands():
    made = method(ENCODER | {"patch": (16, 2)}, masked=12, clusters=(1,))
    batch = one_batch(made)
    assert made.patches(batch["audio"]).shape == (5, 16, 32)
    assert torch.isfinite(made(batch)["loss"])


def test_the_papers_numbers_are_the_defaults():
    config = SSASTConfig()
    assert (config.masked, config.clusters, config.shared_mask) == (400, (3, 4, 5), False)
    assert (config.discriminative_weight, config.generative_weight) == (1.0, 10.0)


def test_an_encoder_that_does_not_fit_is_refused():
    with pytest.raises(WrongUse, match="mels = 16, as preprocess has them"):
        method(ENCODER | {"mels": 8})
    with pytest.raises(WrongUse, match="masked = 33 of a sound that has 32 patches"):
        method(masked=33)
    with pytest.raises(WrongUse, match="needs encoder 'ast'"):
        SSAST.build(build("vit", {"patch": 8, "dim": 16, "depth": 1, "heads": 2}, 32), {"masked": 4}, PREPROCESS)
