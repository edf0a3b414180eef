"""Trainings whose steps go round several turns, and batches that hold classes in equal parts."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from enfold.errors import WrongUse
from tests.unit.training import tiny
from training.batches import Balanced
from training.loop import Training, fit
from training.methods import Item, Method, Turn
from training.schedule import TrainConfig

STEPS = TrainConfig(steps=14, batch=4, lr=1e-3, checkpoint_steps=3, precision="fp32")


class Rivals(Method):
    """Two weights; remembers whose step it was and which of them moved."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.encoder = torch.nn.Linear(1, 1)
        self.rival = torch.nn.Linear(1, 1)
        self.seen: list[tuple[str, set[str]]] = []
        self.before: dict[str, torch.Tensor] = {}

    def turns(self) -> tuple[Turn, ...]:
        first = Turn("first", ("encoder.",), steps=2, lr_factor=0.5)
        return first, Turn("second", ("rival.",), betas=(0.5, 0.9))

    def example(self, item: Item, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"x": rng.standard_normal(1, np.float32)}

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.before = {name: weight.detach().clone() for name, weight in self.named_parameters()}
        return {"loss": (self.rival(self.encoder(batch["x"])) - 1).square().mean()}

    def after_step(self, progress: float) -> None:
        moved = {name for name, weight in self.named_parameters() if not torch.equal(weight, self.before[name])}
        self.seen.append((self.turn, moved))


def test_steps_go_round_the_turns_and_move_their_own_weights_alone(tmp_path: Path):
    method = Rivals()
    items = [Item(None, 0, i) for i in range(8)]
    fit(method, items, STEPS.model_copy(update={"steps": 6}), tmp_path, seed=0, probe=None, threads=1)
    own = {"first": {"encoder.weight", "encoder.bias"}, "second": {"rival.weight", "rival.bias"}}
    assert method.seen == [(name, own[name]) for name in ("first", "first", "second") * 2]


def test_each_turn_has_its_own_betas_and_share_of_the_learning_rate():
    training = Training(Rivals(), STEPS, 0)
    groups = training.configure_optimizers().param_groups
    assert [(group["betas"], group["lr_factor"], len(group["params"])) for group in groups] == [
        ((0.9, 0.999), 0.5, 1),
        ((0.9, 0.999), 0.5, 1),
        ((0.5, 0.9), 1.0, 1),
        ((0.5, 0.9), 1.0, 1),
    ]


def test_a_generator_and_its_rival_go_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def train(folder: Path) -> None:
        method = tiny.scl_t2i(tmp_path / "words", phase="generator")
        fit(method, tiny.captioned(), STEPS, folder, seed=3, probe=None, threads=1)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(whole)
    after_step = tiny.SCLT2I.after_step

    def stop(self: tiny.SCLT2I, progress: float) -> None:
        if progress > 0.7:
            raise RuntimeError("killed")
        after_step(self, progress)

    monkeypatch.setattr(tiny.SCLT2I, "after_step", stop)
    with pytest.raises(RuntimeError, match="killed"):
        train(broken)
    assert (broken / "checkpoint-9").exists()
    monkeypatch.undo()
    train(broken)
    assert (whole / "method.safetensors").read_bytes() == (broken / "method.safetensors").read_bytes()
    state = load_file(whole / "method.safetensors")
    assert state["judged"] == 7
    assert state["average.n_averaged"] == 7


def labelled(labels: list[int]) -> list[Item]:
    return [Item(None, label, i) for i, label in enumerate(labels)]


def test_a_batch_holds_classes_in_equal_parts_class_by_class():
    items = labelled([i % 5 for i in range(50)] + [-1] * 30)
    for batch in islice(Balanced(items, 12, 0, 0, classes=3), 20):
        found = [items[index].label for _, index in batch]
        assert set(Counter(found).values()) == {4}
        assert len(found) == 12
        assert -1 not in found
        assert found == sorted(found, key=found.index)
        assert len({index for _, index in batch}) == 12


def test_balanced_batches_are_a_pure_function_of_seed_and_step():
    items = labelled([i % 5 for i in range(50)])
    from_start = list(islice(Balanced(items, 12, 7, 0, classes=3), 8))
    assert from_start[5:] == list(islice(Balanced(items, 12, 7, 5, classes=3), 3))
    assert from_start != list(islice(Balanced(items, 12, 8, 0, classes=3), 8))


def test_a_class_with_too_few_items_gives_some_twice():
    batch = next(iter(Balanced(labelled([0, 0, 1, 1, 1, 1]), 8, 0, 0, classes=2)))
    assert Counter(index < 2 for _, index in batch) == {True: 4, False: 4}


@pytest.mark.parametrize(("batch", "classes"), [(9, 2), (12, 6)])
def test_classes_that_do_not_fit_are_told(batch: int, classes: int):
    with pytest.raises(WrongUse, match=rf"{classes} classes in equal parts: train.batch is {batch}, .* 5\s+classes"):
        Balanced(labelled([i % 5 for i in range(50)]), batch, 0, 0, classes=classes)
