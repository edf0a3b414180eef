"""What makes it CLIP with quality captions, compared under control, and no other."""

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from tests.unit.training import tiny
from training import recipe
from training.batches import Batches
from training.encoders import Encoded, build
from training.methods import Batch, Item
from training.methods.clip_quality_captions import CLIPQualityCaptions

TEXT = {"name": "projected", "config": {"name": "causal_lm", "config": {"dim": 8, "depth": 1, "heads": 2}, "dim": 6}}
PIXELS = {"objective": "pixels", "width": 16, "depth": 1, "heads": 2}
QUALITY = ("a red circle left of a blue square", "a blue square above a green tree", "a green tree")


def made(folder: Path, **config: Any) -> CLIPQualityCaptions:
    """Of a few thousand weights; `folder` is for its tokenizer, which both sides share."""
    torch.manual_seed(0)
    encoder = build("projected", {"name": "vit", "config": tiny.vit().config.model_dump(), "dim": 6}, 16)
    sides = dict.fromkeys(("quality", "noisy"), tiny.captions(folder))
    return CLIPQualityCaptions.build(encoder, {"text_encoder": TEXT} | config, tiny.PREPROCESS, sides)


def items() -> list[Item]:
    beside = [{"quality": QUALITY[i % 3], "noisy": ("red\nblue\nround\nfour", "tree")[i % 2]} for i in range(16)]
    return [replace(item, sides=sides) for item, sides in zip(tiny.images(), beside, strict=True)]


def batch(method: CLIPQualityCaptions, of: list[Item] | None = None) -> Batch:
    found: Batch = default_collate(
        [method.example(one, np.random.default_rng([1, one.index])) for one in of or items()]
    )
    return found


def everything_but_strings(folder: Path, source: str) -> str:
    """A digest of towers, images and their order, over two epochs."""
    method, digest = made(folder, caption_source=[source]), hashlib.sha256()
    for name, tensor in sorted(method.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    chosen = iter(Batches(16, 4, seed=3, start=0))
    for _ in range(8):
        for epoch, index in next(chosen):
            example = method.example(items()[index], np.random.default_rng([3, epoch, index]))
            digest.update(str((epoch, index)).encode() + example["image"].tobytes())
    return digest.hexdigest()


def test_arms_differ_in_their_strings_alone(tmp_path: Path):
    assert everything_but_strings(tmp_path, "quality") == everything_but_strings(tmp_path, "noisy")
    quality, noisy = (batch(made(tmp_path, caption_source=[source])) for source in ("quality", "noisy"))
    assert not torch.equal(quality["input_ids"], noisy["input_ids"])


def test_arms_of_the_claim_differ_in_the_side_they_read_alone():
    claim = recipe.load("clip_quality_captions").claim
    assert claim is not None
    read = {arm.name: arm.stage[0].model_dump() for arm in claim.arms if arm.name in ("quality", "noisy", "tag")}
    sources = {name: one["config"].pop("caption_source", ["quality"]) for name, one in read.items()}
    assert sources == {name: [name] for name in read}
    assert read["quality"] == read["noisy"] == read["tag"]


def test_the_loss_is_of_pairs_in_any_order(tmp_path: Path):
    method = made(tmp_path)
    one, order = batch(method), torch.randperm(16)
    torch.testing.assert_close(method({key: value[order] for key, value in one.items()})["loss"], method(one)["loss"])


def test_one_pair_costs_nothing_and_collapsed_towers_guess(tmp_path: Path):
    method = made(tmp_path)
    assert method(batch(method, items()[:1]))["loss"].item() == pytest.approx(0, abs=1e-6)
    for tower in (method.encoder, method.text_encoder):
        tower.register_forward_hook(lambda module, given, found: replace(found, embedding=torch.ones(3, 6)))
    three = items()[:3]  # of three captions
    assert method(batch(method, three))["loss"].item() == pytest.approx(math.log(3), rel=1e-5)


def test_no_loss_touches_tokens(tmp_path: Path):
    """They may be anything, as long as embeddings are what they were."""
    method = made(tmp_path)
    given = batch(method)
    wanted = method(given)["loss"]

    def scrambled(module: Any, inputs: Any, found: Encoded) -> Encoded:
        return replace(found, tokens=torch.full_like(found.tokens, torch.nan))

    for tower in (method.encoder, method.text_encoder):
        tower.register_forward_hook(scrambled)
    torch.testing.assert_close(method(given)["loss"], wanted, rtol=0, atol=0)


def test_equal_captions_are_no_wrong_answers(tmp_path: Path):
    method = made(tmp_path)
    same = [replace(one, sides={"quality": QUALITY[0]}) for one in items()[:4]]
    assert method(batch(method, same))["loss"].item() == pytest.approx(0, abs=1e-6)
    assert method(batch(method, items()[:4]))["loss"].item() > 0.5


def test_every_caption_of_every_source_is_read(tmp_path: Path):
    method, item = made(tmp_path, caption_source=["quality", "noisy"]), items()[0]
    read = {tuple(method.example(item, np.random.default_rng(i))["input_ids"]) for i in range(60)}
    assert len(read) == 5  # one of quality, four of noisy


def test_views_are_never_mirrored(tmp_path: Path):
    method, image = made(tmp_path), np.zeros((20, 24, 3), np.uint8)
    image[:, 12:] = 255
    for i in range(20):
        view = method.example(replace(items()[0], value=image), np.random.default_rng(i))["image"]
        assert view[:, :, 0].mean() < view[:, :, -1].mean()


def test_the_scale_is_held_after_every_step(tmp_path: Path):
    method = made(tmp_path)
    with torch.no_grad():
        method.scale.logarithm.fill_(9.0)
    method.after_step(0.5)
    assert method.scale().item() == pytest.approx(100)


def test_the_text_tower_is_exported_beside_the_image_tower(tmp_path: Path):
    method = made(tmp_path)
    [(side, (facts, tower))] = method.towers().items()
    assert (side, facts.name, tower.dim) == ("quality", "projected", method.encoder.dim)
    assert made(tmp_path, **PIXELS).towers() == {}


def test_the_baseline_hides_patches_and_answers_for_those_alone(tmp_path: Path):
    method, seen = made(tmp_path, **PIXELS, mask_ratio=0.75), []
    image = batch(method)["image"]

    def loss(of: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        found: torch.Tensor = method({"image": of})["loss"]
        return found

    def watched(module: Any, inputs: Any, named: Any, found: Encoded) -> Encoded:
        """As of the image as it was, whatever is shown now."""
        seen.append((named["visible"], found))
        return seen[0][1]

    method.encoder.register_forward_hook(watched, with_kwargs=True)
    before, visible = loss(image), seen[0][0]
    assert visible.shape == (16, 4)  # of 16 patches of 4 x 4 pixels
    shown = torch.zeros(16, 16).scatter(1, visible, 1).reshape(16, 1, 4, 4)
    shown = shown.repeat_interleave(4, 2).repeat_interleave(4, 3).bool()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss(torch.where(shown, noise, image)), before)
    assert not torch.isclose(loss(torch.where(shown, image, noise)), before)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"caption_source": ["title"]}, r"\[sides.title\]; it names quality, noisy"),
        ({"text_encoder": {"name": "gru", "config": {"width": 8, "hidden": 4}}}, "6 features, the text encoder 8"),
        ({"caption_source": []}, "caption_source"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, config: dict[str, Any], words: str):
    with pytest.raises(WrongUse, match=words):
        made(tmp_path, **config)


def test_pixels_need_patches():
    encoder = build("resnet", {"layers": (1, 1, 1, 1), "width": 4, "stem": "small", "dim": 8}, 16)
    with pytest.raises(WrongUse, match="it needs encoder 'vit'"):
        CLIPQualityCaptions.build(encoder, PIXELS, tiny.PREPROCESS, {})


def test_an_image_without_its_caption_is_named(tmp_path: Path):
    method = made(tmp_path)
    with pytest.raises(WrongUse, match="item 3 has nothing in column 'quality'"):
        method.example(replace(items()[3], sides={}), np.random.default_rng(0))
