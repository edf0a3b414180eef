"""Laws of every method of the catalogue, on its own recipe at its smoke size."""

import inspect

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from training import catalogue, methods, recipe
from training.encoders import build
from training.methods import Batch, Item, Method
from training.recipe import Pretrain

BATCH = 4


def items(modality: str) -> list[Item]:
    rng = np.random.default_rng(0)
    assert modality == "image", f"give this test items of modality '{modality}'"
    return [Item(rng.integers(0, 256, (40, 48, 3), np.uint8), i % 2, i) for i in range(BATCH)]


def made(slug: str) -> Method:
    facts = recipe.load(slug, smoke=True)
    stage = next(stage for stage in facts.stage if isinstance(stage, Pretrain))
    preprocess = facts.modality_of().preprocess
    torch.manual_seed(0)
    encoder = build(facts.encoder.name, facts.encoder.config, preprocess.size)
    return methods.get(stage.method).build(encoder, stage.config, preprocess)


def batch(method: Method, slug: str) -> Batch:
    examples = [method.example(item, np.random.default_rng(item.index)) for item in items(recipe.load(slug).modality)]
    found: Batch = default_collate(examples)
    return found


@pytest.fixture(params=methods.names())
def slug(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_the_loss_is_finite_and_reaches_what_learns(slug: str):
    """Which is an encoder at least: the exported one, or the student whose average that is."""
    method = made(slug)
    optimizer = torch.optim.SGD(method.parameters(), 0.01)
    for _ in range(2):  # a residual branch that starts at nothing passes no gradient on before it has moved
        optimizer.zero_grad()
        loss = method(batch(method, slug))["loss"]
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    trained = [weight for weight in method.parameters() if weight.requires_grad]
    learning = [weight for weight in trained if weight.grad is not None and weight.grad.abs().sum() > 0]
    assert len(learning) > 0.9 * len(trained)
    assert sum(map(torch.numel, learning)) > 0.9 * sum(map(torch.numel, method.encoder.parameters()))


def test_the_same_chance_gives_the_same_loss(slug: str):
    losses = []
    for _ in range(2):
        method = made(slug)
        torch.manual_seed(1)
        losses.append(method(batch(method, slug))["loss"].item())
    assert losses[0] == losses[1]


def test_the_loss_falls_on_one_batch(slug: str):
    """With what follows a step left out: averages and schedules would move the target while it is approached."""
    method = made(slug)
    one = batch(method, slug)
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


def test_an_unknown_key_is_named_with_the_known_ones(slug: str):
    method = made(slug)
    with pytest.raises(Exception, match=r"unknown key 'no_such_key'. Known: "):
        type(method).build(method.encoder, {"no_such_key": 1}, method.preprocess)


def test_the_docstring_cites_the_paper_of_the_catalogue(slug: str):
    facts = next(row for row in catalogue.entries() if row["slug"] == slug)
    cited = " ".join((inspect.getdoc(inspect.getmodule(methods.get(slug))) or "").split())
    assert facts["paper"] in cited
