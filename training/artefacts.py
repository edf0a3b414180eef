"""What stages hand to each other: items, encoders, the state of a pretraining."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from enfold.errors import WrongUse
from training import methods, recipe
from training.data import builders
from training.data.dataset import Dataset, digest
from training.data.fetch import model_file
from training.data.sources import open_dataset
from training.encoders import TOWERS, Encoder, build, load_encoder, load_pretrained, save_encoder
from training.methods import Item, Method
from training.recipe import Pretrain, Select, Stage, side_of
from training.run import Run

_FEW = 64  # decoded items that are kept, where there are no more: scans are few, and slow to read


class Items(Sequence[Item]):
    """The decoded items of one or several splits with their label numbers, read when asked for."""

    def __init__(self, run: Run, *splits: Dataset):
        self._run = run
        self._where = [(data, index) for data in splits for index in range(len(data))]
        self.labels = [label for data in splits for label in data.labels().tolist()]
        self.modalities = [data.modality for data, _ in self._where]
        self._read = lru_cache(_FEW if len(self) <= _FEW else 0)(self._item)

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: Any) -> Any:
        return self._read(index)

    def _item(self, index: int) -> Item:
        data, i = self._where[index]
        beside = data.records[i].payload
        sides = {name: data.side(i, name, side) for name, side in self._run.sides.items() if name in beside}
        value = data.read(i, self._run.reader(data))
        return Item(value, self.labels[index], index, sides, data.modality, beside)


def few_labels(data: Dataset, seen: int | float | None, seed: int) -> Dataset:
    """So many items of each class, or the given share of it, at least one; None takes all."""
    if seen is None:
        return data
    labels, order = data.labels(), np.random.default_rng(seed).permutation(len(data))
    sizes = {label: int((labels == label).sum()) for label in np.unique(labels)}
    counts = {label: seen if isinstance(seen, int) else max(1, round(seen * size)) for label, size in sizes.items()}
    chosen = [order[labels[order] == label][:count] for label, count in counts.items()]
    return data.subset(np.sort(np.concatenate(chosen)))


def pool_of(stage: Select, run: Run) -> Dataset:
    """The training splits of a stage's pools as one data set without labels; ids and payload say where from."""
    records = []
    for name in stage.pool:
        found = open_dataset(name, data=run.settings.data, modality=run.recipe.modality)
        if found.modality != run.recipe.modality:
            raise WrongUse(
                f"stage '{stage.name}': pool '{name}' holds {found.modality} items, not {run.recipe.modality}"
            )
        records += [
            replace(record, id=f"{name}/{record.id}", label=None, payload={"source": name})
            for record in found.split("train").records
        ]
    joined = replace(run.dataset, records=tuple(records))
    return replace(joined, fingerprint=digest(record.id for record in records))


def write_selected(stage: Select, run: Run, chosen: Dataset) -> None:
    (run.folder(stage.name) / "selected.json").write_text(json.dumps([record.id for record in chosen.records]))


def taken_before(stage: Stage, run: Run) -> int | None:
    """How many items the last needed select stage took."""
    counts = [len(_selected(folder)) for folder in _needed(stage, run) if (folder / "selected.json").exists()]
    return counts[-1] if counts else None


def training_items(stage: Stage, run: Run) -> Dataset:
    """The training split, and what the last needed select stage added to it."""
    own = run.data(stage).split("train")
    selects = [one for one in run.recipe.stage if isinstance(one, Select) and one.name in stage.needs]
    if not selects:
        return own
    chosen = set(_selected(run.folder(selects[-1].name)))
    added = [record for record in pool_of(selects[-1], run).records if record.id in chosen]
    return replace(own, records=own.records + tuple(added))


def _selected(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "selected.json").read_bytes())
    return found


def fresh_encoder(run: Run, stage: Stage) -> Encoder:
    """Random weights, or published ones where the recipe names them; the stage's own encoder or the recipe's."""
    own = getattr(stage, "encoder", None)
    if own is None and (side := side_of(stage)) is not None:
        raise WrongUse(f"stage '{stage.name}' needs no stage that made a tower of '{side}': name a fresh one, encoder")
    facts = own or run.recipe.encoder
    torch.manual_seed(run.seed_of(stage))
    encoder = build(facts.name, facts.config, run.modality.input_size)
    if facts.pretrained:
        weights, data = facts.pretrained, run.settings.data
        if weights in builders.names() or Path(weights).is_dir():
            weights = str(model_file(weights, "model.safetensors", data=data))
        load_pretrained(encoder, weights)
    return encoder


def needed_encoder(stage: Stage, run: Run) -> Encoder:
    """The needed stage's encoder; without one, fresh weights: the baseline of every comparison."""
    made = _made(stage, run)
    return load_encoder(made) if made else fresh_encoder(run, stage).eval()


def _made(stage: Stage, run: Run) -> Path | None:
    """The folder of the last needed encoder: of a stage that works on a side, of the tower that reads it."""
    side = side_of(stage)
    for folder in reversed(_needed(stage, run)):
        if not (folder / "encoder.json").exists():
            continue
        if side is None or not (towers := folder / TOWERS).exists():
            return folder
        if not (towers / side).exists():
            has = ", ".join(sorted(one.name for one in towers.iterdir()))
            raise WrongUse(f"stage '{stage.name}' works on column '{side}'; '{folder.name}' made towers of {has}")
        return towers / side
    return None


def needed_folder(stage: Stage, run: Run, file: str) -> Path:
    """The folder of the last needed stage that wrote `file`. Raises WrongUse."""
    made = [folder for folder in _needed(stage, run) if (folder / file).exists()]
    if not made:
        raise WrongUse(
            f"stage '{stage.name}' needs a stage that makes {file}; it needs {', '.join(stage.needs) or 'none'}"
        )
    return made[-1]


def needed_state(stage: Pretrain, run: Run) -> dict[str, Tensor] | None:
    """The whole state of the last needed pretraining; None where there is none, and training begins afresh."""
    made = [one for one in run.recipe.stage if isinstance(one, Pretrain) and one.name in stage.needs]
    if not made:
        return None
    if made[-1].method != stage.method:
        raise WrongUse(
            f"stage '{stage.name}' trains with method '{stage.method}' and needs '{made[-1].name}', which trained with "
            f"'{made[-1].method}': a training goes on from one with the same method"
        )
    return load_file(run.folder(made[-1].name) / "method.safetensors")


def pretrained_method(stage: Stage, run: Run) -> Method:
    """The whole method of the pretraining that `stage` needs, heads and all."""
    made = [one for one in run.recipe.stage if isinstance(one, Pretrain) and one.name in stage.needs]
    if not made:
        raise WrongUse(f"stage '{stage.name}' works on more of a method than its encoder: let it need a pretrain stage")
    encoder = fresh_encoder(run, made[-1])
    method = methods.get(made[-1].method).build(
        encoder, made[-1].config, run.modality.preprocess, run.sides, run.mixed, run.modality
    )
    method.load_state_dict(load_file(run.folder(made[-1].name) / "method.safetensors"))
    return method


def save(encoder: Encoder, run: Run, stage: Stage) -> None:
    """Write the encoder that a stage made, with the facts it was built from."""
    facts = _facts(stage, run)
    save_encoder(encoder, run.folder(stage.name), name=facts.name, config=facts.config, size=run.modality.input_size)


def _facts(stage: Stage, run: Run) -> recipe.Encoder:
    """What a stage's encoder was built from: its own table; the recipe's for a pretraining, else the needed one's."""
    own: recipe.Encoder | None = getattr(stage, "encoder", None)
    if own is not None or isinstance(stage, Pretrain) or (made := _made(stage, run)) is None:
        return own or run.recipe.encoder
    facts = json.loads((made / "encoder.json").read_bytes())
    return recipe.Encoder(name=facts["name"], config=facts["config"])


def _needed(stage: Stage, run: Run) -> list[Path]:
    return [run.folder(name) for name in stage.needs]
