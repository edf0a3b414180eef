"""What makes it AstroM3 and no other: the card's invariants; and that its towers learn, on *synthetic* stars."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities import Modality
from enfold.modalities.series import Series, SeriesPreprocess
from enfold.modalities.table import Table, TablePreprocess
from enfold.modalities.text import TOKENIZER
from tests import stars
from training import recipe, tokenizer
from training.artefacts import few_labels
from training.data.sources import open_dataset
from training.encoders import Encoded, build
from training.evaluation.caption_retrieval import recall
from training.methods import Batch, Item
from training.methods.astrom3 import AstroM3
from training.probes import features

CURVES = Series(SeriesPreprocess(window=32, channels=2, times="scaled"))
STEPS = {"dim": 8, "depth": 1, "heads": 2, "dropout": 0}
TABLE = {"name": "projected", "config": {"name": "column_mlp", "config": {"dim": 16, "dropout": 0}, "dim": 6}}
CNN = {"channels": 2, "widths": (8, 8, 8, 8), "dropout": 0}
SPECTRUM = {"name": "projected", "config": {"name": "step_cnn", "config": CNN, "dim": 6}}
STARS = [stars.star(number) for number in range(64)]


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> dict[str, Modality[Any]]:
    """Of every column; rows have each what training knows of them."""
    folder, found = tmp_path_factory.mktemp("stars"), {"spectrum": Series(SeriesPreprocess(window=515, channels=2))}
    (folder / "resources").mkdir()
    for name in ("colours", "metadata"):
        table = Table(TablePreprocess(columns=f"resources/{name}.json", max_tokens=8), folder=folder)
        rows = [table.read(star[name]) for star in STARS]
        if not (folder / TOKENIZER).exists():
            names = [text for star in STARS for kind in ("colours", "metadata") for text in table.texts(star[kind])]
            (folder / TOKENIZER).write_text(tokenizer.train(names, 320))
        for path, content in table.learnt(rows).items():
            (folder / path).write_bytes(content)
        found[name] = table
    return found


def made(readers: dict[str, Modality[Any]], **config: Any) -> AstroM3:
    torch.manual_seed(0)
    encoder = build("projected", {"name": "step_transformer", "config": STEPS, "dim": 6}, 32)
    towers = {"towers": {"colours": TABLE, "metadata": TABLE}} | config
    return AstroM3.build(encoder, towers, CURVES.preprocess, readers, None, CURVES)


def items(readers: dict[str, Modality[Any]], count: int = 16) -> list[Item]:
    return [
        Item(CURVES.read(star["curve"]), i % 4, i, {name: reader.read(star[name]) for name, reader in readers.items()})
        for i, star in enumerate(STARS[:count])
    ]


def batch(method: AstroM3, of: list[Item]) -> Batch:
    found: Batch = default_collate([method.example(one, np.random.default_rng(one.index)) for one in of])
    return found


def embedded(method: AstroM3, given: Batch) -> dict[str, np.ndarray]:
    """Of every tower alone, of length 1, in float64."""
    found = {}
    for name, tower in {"": method.encoder, **method.others}.items():
        own = {key.removeprefix(f"{name}."): array for key, array in given.items() if key.startswith(f"{name}.")}
        vectors = tower(own).embedding.detach().double().numpy()
        found[name] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def pair_loss(first: np.ndarray, second: np.ndarray, scale: float) -> float:
    """Written out: the mean over items of -log of what is theirs, both ways added."""
    scores = np.exp(scale * first @ second.T)
    own = np.diag(scores)
    return float(-np.log(own / scores.sum(1)).mean() - np.log(own / scores.sum(0)).mean())


def set_scales(method: AstroM3, *scales: float) -> None:
    with torch.no_grad():
        for one, scale in zip(method.scales, scales, strict=True):
            one.logarithm.fill_(math.log(scale))


def test_the_loss_is_the_sum_of_exactly_three_pairs_each_with_a_scale_of_its_own(readers):
    method = made(readers).eval()
    given = batch(method, items(readers))
    vectors, pairs = embedded(method, given), [("", "colours"), ("", "metadata"), ("colours", "metadata")]
    assert len(method.scales) == 3
    for scales in ((3.0, 3.0, 3.0), (3.0, 11.0, 29.0)):
        set_scales(method, *scales)
        wanted = [pair_loss(vectors[a], vectors[b], scale) for (a, b), scale in zip(pairs, scales, strict=True)]
        assert method(given)["loss"].item() == pytest.approx(sum(wanted), rel=1e-4)
    gradients = torch.autograd.grad(method(given)["loss"], [one.logarithm for one in method.scales])
    assert all(gradient != 0 for gradient in gradients)


def test_stars_in_any_order_cost_the_same_and_mixed_up_ones_more(readers):
    method = made(readers).eval()
    given, order = batch(method, items(readers)), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    loss = method(given)["loss"]
    torch.testing.assert_close(method({key: array[order] for key, array in given.items()})["loss"], loss)
    mixed = {key: array[order] if key.startswith("colours") else array for key, array in given.items()}
    assert not torch.isclose(method(mixed)["loss"], loss)


def test_one_star_costs_nothing_and_collapsed_towers_guess(readers):
    method = made(readers).eval()
    assert method(batch(method, items(readers, 1)))["loss"].item() == pytest.approx(0, abs=1e-5)
    given = batch(method, items(readers))
    for tower in (method.encoder, *method.others.values()):
        tower.register_forward_hook(lambda module, inputs, found: replace(found, embedding=torch.ones(16, 6)))
    assert method(given)["loss"].item() == pytest.approx(6 * math.log(16), rel=1e-5)


def test_lengths_of_embeddings_and_tokens_count_for_nothing(readers):
    method = made(readers).eval()
    given = batch(method, items(readers))
    wanted = method(given)["loss"]

    def other(module: Any, inputs: Any, found: Encoded) -> Encoded:
        return replace(found, tokens=torch.full_like(found.tokens, torch.nan), embedding=7 * found.embedding)

    for tower in (method.encoder, *method.others.values()):
        tower.register_forward_hook(other)
    torch.testing.assert_close(method(given)["loss"], wanted)


def test_scales_begin_as_clips_and_stay_within_1_and_100(readers):
    method = made(readers)
    assert [one().item() for one in method.scales] == pytest.approx([1 / 0.07] * 3)
    set_scales(method, 0.2, 50.0, 900.0)
    method.after_step(0.5)
    assert [one().item() for one in method.scales] == pytest.approx([1, 50, 100])


def test_padded_steps_are_noughts_where_tokens_lie_side_by_side(readers):
    method = made(readers).eval()
    steps = method.encoder.encoder
    given = batch(method, items(readers))
    inputs = {key.removeprefix("."): array for key, array in given.items() if key.startswith(".")}
    padding = ~inputs["measured"].bool().any(1)  # [B, L]
    assert 0 < padding.sum() < padding.numel()
    assert not steps(inputs).embedding.unflatten(1, (32, -1))[padding].any()


def test_no_label_is_looked_at(readers):
    method = made(readers)
    named = batch(method, items(readers))
    unnamed = batch(method, [replace(item, label=-1, payload={"label": "?"}) for item in items(readers)])
    assert named.keys() == unnamed.keys()
    assert not [key for key in named if "label" in key]
    for key, array in named.items():
        torch.testing.assert_close(array, unnamed[key], rtol=0, atol=0)


def test_few_labels_are_of_the_pretraining_split_and_the_same_for_every_arm(tmp_path: Path):
    stars.page(tmp_path)
    data = open_dataset(str(tmp_path / "stars.jsonl"), data=tmp_path / "data").split("train")
    few, more = ({one.id for one in few_labels(data, share, 3).records} for share in (0.1, 1.0))
    assert few < more == {one.id for one in data.records}
    assert (
        few
        == {one.id for one in few_labels(data, 0.1, 3).records}
        != {one.id for one in few_labels(data, 0.1, 4).records}
    )
    claim = recipe.load("astrom3").claim
    assert claim is not None
    tuned = [(arm.name, stage) for arm in claim.arms for stage in arm.stage if stage.verb == "adapt"]
    by_labels = {(stage.name, stage.labels, stage.seed, stage.data) for _, stage in tuned}
    assert {name for name, _ in tuned} >= {"pretrained", "scratch"}
    assert len({name for name, *_ in by_labels}) == len(by_labels), "arms differ in what they begin with alone"


def test_every_tower_is_exported_and_reads_its_own_alone(readers):
    method = made(readers)
    assert {name: tower.dim for name, (_, tower) in method.towers().items()} == {"colours": 6, "metadata": 6}
    for name, (_, tower) in method.towers().items():
        inputs = readers[name].collate([readers[name].prepare(readers[name].read(star[name]))[0] for star in STARS[:3]])
        assert features(tower, inputs).shape == (3, 6)


def test_towers_of_curve_spectrum_and_metadata_find_the_same_synthetic_star(readers):
    """The paper's own three, among the stars that they were trained on: towers that learn nothing find 5 in 64."""
    method = made(readers, towers={"spectrum": SPECTRUM, "metadata": TABLE}).train()
    of = items(readers, 64)
    optimizer = torch.optim.AdamW(method.parameters(), 5e-3)
    given = batch(method, of)
    for _ in range(200):
        loss = method(given)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(0.5)
    found = embedded(method.eval(), given)
    right = np.eye(64, dtype=bool)
    for one, two in (("", "spectrum"), ("spectrum", "metadata"), ("metadata", "")):
        assert recall(found[one], found[two], right, 5) > 4 * 5 / 64
        assert recall(found[two], found[one], right, 5) > 4 * 5 / 64


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"towers": {"colours": TABLE, "radio": TABLE}}, r"\[sides.radio\]; it names spectrum, colours, metadata"),
        ({"towers": {"colours": TABLE}}, "at least 2 items"),
        ({"towers": dict.fromkeys(("colours", "metadata", "spectrum"), TABLE)}, "at most 2 items"),
        (
            {"towers": {"colours": TABLE, "metadata": TABLE | {"config": TABLE["config"] | {"dim": 5}}}},
            "6 features, that of 'metadata' has 5",
        ),
        ({"temperature": 2.0}, "temperature"),
    ],
)
def test_what_does_not_fit_is_named(readers, config: dict[str, Any], words: str):
    with pytest.raises(WrongUse, match=words):
        made(readers, **config)


def test_a_star_without_one_of_its_measurements_is_named(readers):
    method = made(readers)
    with pytest.raises(WrongUse, match="item 3 has nothing in column 'colours'"):
        method.example(replace(items(readers)[3], sides={}), np.random.default_rng(0))
