"""Laws of every method of the catalogue, on its own recipe at its smoke size: every phase, every turn."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.modalities.audio import Audio
from enfold.modalities.multispectral import Raster
from enfold.modalities.text import TOKENIZER
from enfold.modalities.video import Video
from enfold.modalities.volume import Voxels
from tests.examples import ASPIRIN, examples, folded, sdf, sound
from training import catalogue, methods, recipe, tokenizer
from training.encoders import build
from training.methods import Batch, Item, Method, Turn
from training.recipe import Pretrain, Recipe

BATCH = 4
TEXTS = ("a red circle\na red circle, round", "a blue square\na blue square, four corners")


def items(facts: Recipe) -> list[Item]:
    """A few of the recipe's modality, with what it names beside them."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(BATCH):
        beside: dict[str, Any] = {name: TEXTS[i % 2] for name, side in facts.sides.items() if side.modality == "text"}
        if facts.modality == "image":
            value: Any = rng.integers(0, 256, (40, 48, 3), np.uint8)
        elif facts.modality == "text":
            value = "\n\n".join([TEXTS[i % 2]] * 3)
        elif facts.modality == "multispectral":
            bands = tuple(band["name"] for band in facts.preprocess["bands"])
            value = Raster(rng.integers(0, 256, (len(bands), 40, 40)).astype(np.float32), bands)
            beside = {"other": value, "cover": ("river", "coast lowland")[i % 2]}
        elif facts.modality == "volume":
            blob = np.zeros((24, 20, 22), np.float32)
            blob[4 + i : 14 + i, 5:15, 6:16] = 1
            value = Voxels(blob * 90 + rng.normal(30, 4, blob.shape).astype(np.float32), np.diag([4.0, 4, 4, 1]))
            beside = {name: Voxels(blob, value.affine) for name in facts.sides}
        elif facts.modality == "video":
            value = Video(None).read(rng.integers(0, 256, (9, 24, 20, 3), np.uint8))
        elif facts.modality == "audio":
            value = Audio(None).read(sound(rng.normal(0, 0.1, 12_000), "WAV", rate=8_000))
        elif facts.modality == "molecule":
            value = facts.modality_of().read(sdf(folded(f"{ASPIRIN}{'CO' * i}")))
        else:
            files = list(examples(facts.modality).files.values())
            value = facts.modality_of().read(files[i % len(files)])
            if facts.modality == "series":
                value = replace(value, values=value.values + rng.normal(size=value.values.shape) * value.values.std(0))
        rows = {"age": float(rng.uniform(20, 90)), "dose": float(rng.uniform(0, 1))}
        beside |= {name: dict(rows) for name, side in facts.sides.items() if side.modality == "table"}
        made.append(Item(value, i % 2, i, beside, facts.modality))
    return made


class Case:
    """A pretraining of a method's own recipe, and whose turn it is."""

    def __init__(self, slug: str, stage: str, resources: Path):
        self.facts, self.resources = recipe.load(slug, smoke=True), resources
        self.stage = next(one for one in self.facts.stage if isinstance(one, Pretrain) and one.name == stage)
        if self.facts.tokenizer is not None:
            file = resources / TOKENIZER
            file.parent.mkdir()
            made = self.facts.tokenizer
            file.write_text(tokenizer.train(list(TEXTS), made.vocabulary, pairs=made.pairs, ends=made.ends))
        shown = items(self.facts)
        seen = [(self.facts.modality_of(resources), [item.value for item in shown])]
        seen += [
            (reader, [item.sides[name] for item in shown if name in item.sides])
            for name, reader in self.facts.sides_of(resources).items()
        ]
        for reader, values in seen:
            for path, content in reader.learnt(values).items():
                (resources / path).parent.mkdir(exist_ok=True)
                (resources / path).write_bytes(content)

    def made(self, turn: Turn | None = None) -> Method:
        modality, facts = self.facts.modality_of(self.resources, self.stage), self.stage.encoder or self.facts.encoder
        torch.manual_seed(0)
        encoder = build(facts.name, facts.config, modality.input_size)
        sides, mixed = self.facts.sides_of(self.resources), self.facts.mixed_of(self.resources)
        method = methods.get(self.stage.method).build(
            encoder, self.stage.config, modality.preprocess, sides, mixed, modality
        )
        if turn is not None:
            method.take(turn)
        return method.train()

    def turns(self) -> tuple[Turn | None, ...]:
        return self.made().turns() or (None,)

    def batch(self, method: Method) -> Batch:
        examples = [method.example(item, np.random.default_rng(item.index)) for item in items(self.facts)]
        found: Batch = default_collate(examples)
        return found


@pytest.fixture(params=methods.names())
def slug(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def phases() -> list[tuple[str, str]]:
    """(method, stage) of every pretraining with a method that stands in its own recipe."""
    loaded = [recipe.load(slug) for slug in methods.names()]
    return [(one.slug, stage.name) for one in loaded for stage in one.stage if isinstance(stage, Pretrain)]


@pytest.fixture(params=phases(), ids="-".join)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(*request.param, tmp_path)


def test_the_loss_is_finite_and_reaches_what_learns(case: Case):
    """Which is an encoder at least where there are no turns: the exported one, or the student whose average that is."""
    for turn in case.turns():
        method = case.made(turn)
        optimizer = torch.optim.SGD(method.parameters(), 0.01)
        for _ in range(2):  # a residual branch that starts at nothing passes no gradient on before it has moved
            optimizer.zero_grad()
            loss = method(case.batch(method))["loss"]
            loss.backward()
            optimizer.step()
        assert torch.isfinite(loss)
        trained = [weight for weight in method.parameters() if weight.requires_grad]
        learning = [weight for weight in trained if weight.grad is not None and weight.grad.abs().sum() > 0]
        assert len(learning) > 0.9 * len(trained)
        if turn is None:
            assert sum(map(torch.numel, learning)) > 0.9 * sum(map(torch.numel, method.encoder.parameters()))


def test_the_same_chance_gives_the_same_loss(case: Case):
    for turn in case.turns():
        losses = []
        for _ in range(2):
            method = case.made(turn)
            torch.manual_seed(1)
            losses.append(method(case.batch(method))["loss"].item())
        assert losses[0] == losses[1]


def test_the_loss_falls_on_one_batch(case: Case):
    """Of each turn while the others keep still, averages and schedules with them: they would move the target."""
    for turn in case.turns():
        _falls(case, case.made(turn))


def _falls(case: Case, method: Method) -> None:
    one = case.batch(method)
    optimizer = torch.optim.AdamW(method.parameters(), 1e-3)
    losses = []
    for _ in range(30):
        torch.manual_seed(0)
        loss = method(one)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_an_unknown_key_is_named_with_the_known_ones(case: Case):
    method = case.made()
    with pytest.raises(Exception, match=r"unknown key 'no_such_key'. Known: "):
        type(method).build(method.encoder, case.stage.config | {"no_such_key": 1}, method.preprocess)


def test_the_docstring_cites_the_paper_of_the_catalogue(slug: str):
    facts = next(row for row in catalogue.entries() if row["slug"] == slug)
    cited = " ".join((inspect.getdoc(inspect.getmodule(methods.get(slug))) or "").split())
    assert facts["paper"] in cited
