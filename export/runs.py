"""A finished run as a draft: its encoder, its heads, and the items it was not trained on."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from enfold import settings
from enfold.bundle import Lineage
from enfold.errors import UnknownName, WrongUse
from enfold.modalities import Modality
from export.draft import Draft, HeldOut, Reference, TaskGraph, Twin, encode_with, token_width
from export.onnx import encoder_graph, task_graph
from export.parity import enough
from training.data import builders
from training.data.dataset import Dataset
from training.data.sources import open_dataset
from training.encoders import TOWERS, Encoder, load_encoder
from training.encoders.joined import Joined
from training.heads import SavedHead, load_head
from training.recipe import Data, Export, Pretrain, Recipe, Stage, side_of


def find_run(ref: str) -> Path:
    """The folder of a run, given by its id or its path. Raises UnknownName or WrongUse."""
    runs = settings.load().runs
    for folder in (Path(ref), runs / ref):
        if folder.is_dir():
            return folder
    known = [path.name for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
    raise UnknownName.among("run", ref, known, "A run may also be given by the path of its folder.")


class FinishedRun:
    """The stages of a run that an export may use."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.recipe = Recipe.model_validate_json((path / "recipe.json").read_bytes())
            self.story = json.loads((path / "run.json").read_bytes())
        except (FileNotFoundError, ValueError):
            raise WrongUse(f"{path} is not a run: a run's folder holds recipe.json and run.json") from None
        self.stages = {stage.name: stage for stage in self.recipe.stage}
        self.figures = {
            name: self._figures(name) for name in self.stages if (self._folder(name) / "done.json").exists()
        }

    def needs(self) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """What an export of this run takes, and its sizes: as its export stage says, or every finished stage."""
        stated = [(stage.needs, stage.sizes) for stage in self.recipe.stage if isinstance(stage, Export)]
        return stated[-1] if stated else (tuple(self.figures), {})

    def encoder(self, needs: Sequence[str]) -> str:
        """The last of these stages that made an encoder."""
        for name in needs:
            if name not in self.stages:
                raise UnknownName.among(f"stage of run {self.path.name}:", name, self.stages)
            if name not in self.figures:
                raise WrongUse(f"stage '{name}' of run {self.path.name} is not finished: enfold run {self.recipe.slug}")
        made = [name for name in needs if (self._folder(name) / "encoder.json").exists()]
        if not made:
            listed = ", ".join(needs) or "no stage"
            raise WrongUse(
                f"run {self.path.name} has no encoder to export in {listed}: need a finished stage that makes one"
            )
        return made[-1]

    def head(self, needs: Sequence[str], encoder: str) -> str | None:
        """The last of these stages that fitted a head; it must have been fitted on the whole of `encoder`'s stage."""
        made = [name for name in needs if (self._folder(name) / "head.json").exists()]
        if not made:
            return None
        own = (self._folder(made[-1]) / "encoder.json").exists()
        if not own and (side := side_of(self.stages[made[-1]])) is not None:
            raise WrongUse(
                f"the head of stage '{made[-1]}' was fitted on the tower of column '{side}', which is exported beside "
                "others: fine-tune it, and export that"
            )
        fitted_on = made[-1] if own else self.encoder(self.stages[made[-1]].needs)
        if fitted_on != encoder:
            raise WrongUse(
                f"the head of stage '{made[-1]}' was fitted on '{fitted_on}', not on '{encoder}': need one of them"
            )
        return made[-1]

    def drafts(self, needs: Sequence[str], sizes: Mapping[str, Sequence[str]]) -> list[Draft]:
        """One draft, or one for each size. Raises WrongUse or UnknownName if these stages make no bundle.

        sizes   size -> the stages that made it; without any, the sizes that the encoder has in itself
        """
        if sizes:
            return [self._draft(made, size) for size, made in sizes.items()]
        nested = load_encoder(self._folder(self.encoder(needs))).sizes
        if nested:
            return [self._draft(needs, size, nested=True) for size in nested]
        drafts = _named([self._draft(needs, None), *self._mixed(needs), *self._towers(needs)])
        joined = self._joined(needs)
        return [_joining(draft, joined) for draft in drafts] if joined else _in_one_space(drafts)

    def _draft(self, needs: Sequence[str], size: str | None, *, nested: bool = False) -> Draft:
        stage = self.encoder(needs)
        encoder = load_encoder(self._folder(stage))
        saved = self._saved_head(needs, encoder)
        encoder = encoder.sized(size) if nested and size else encoder
        modality = self.recipe.modality_of(self.path, self.stages[stage])
        return self._made(modality, encoder, _held_out(self._data(stage)), stage, saved, size)

    def _mixed(self, needs: Sequence[str]) -> Iterator[Draft]:
        """The same encoder for each further modality that it was trained on."""
        stage = self.encoder(needs)
        for name, modality in self.recipe.mixed_of(self.path).items():
            encoder, held_out = load_encoder(self._folder(stage)), _held_out(self._opened(self.recipe.mixed[name].data))
            yield self._made(modality, encoder, held_out, stage, self._saved_head(needs, encoder), None)

    def _towers(self, needs: Sequence[str]) -> Iterator[Draft]:
        """Encoders of columns beside the items that the stage trained into the same space."""
        stage = self.encoder(needs)
        for folder in sorted((self._folder(stage) / TOWERS).glob("*")):
            if isinstance(load_encoder(folder), Joined):
                continue  # it stays in its own bundle
            modality, data = self.recipe.sides_of(self.path)[folder.name], self._data(stage)
            saved = self._saved_head(needs, load_encoder(self._folder(stage)))
            if saved is not None and saved.head.modality is None:
                saved = None  # it was fitted on the items
            held_out = _held_out(data.beside(folder.name, modality))
            draft = self._made(modality, load_encoder(folder), held_out, stage, saved, None)
            yield replace(draft, side=folder.name)

    def _joined(self, needs: Sequence[str]) -> Joined | None:
        """The tower of another bundle that the encoder was trained against."""
        towers = map(load_encoder, (self._folder(self.encoder(needs)) / TOWERS).glob("*"))
        return next((tower for tower in towers if isinstance(tower, Joined)), None)

    def _saved_head(self, needs: Sequence[str], encoder: Encoder) -> SavedHead | None:
        stage = self.head(needs, self.encoder(needs))
        return load_head(self._folder(stage), encoder) if stage else None

    def _data(self, stage: str) -> Dataset:
        """What a stage worked on."""
        found, side = self._opened(self.stages[stage].data or self.recipe.data), side_of(self.stages[stage])
        return found if side is None else found.beside(side, self.recipe.sides_of(self.path)[side])

    def _opened(self, facts: Data) -> Dataset:
        return facts.chosen(
            open_dataset(facts.source, data=settings.load().data, modality=self.recipe.modality_in(facts))
        )

    def _made(
        self,
        modality: Modality[Any],
        encoder: Encoder,
        held_out: HeldOut,
        stage: str,
        saved: SavedHead | None,
        size: str | None,
    ) -> Draft:
        enough(held_out, len(held_out.items))
        own = self.recipe.modality_of(self.path, self.stages[stage])
        if saved is not None and modality.name != (saved.head.modality or own.name):
            saved = None  # it answers items of another modality
        samples = [modality.prepare(modality.read(item))[0] for item in held_out.items[:3]]
        example = modality.collate(samples)
        modules = saved.head.graphs(encoder, example) if saved else {}
        models = {name: task_graph(module) for name, module in modules.items()}
        task = saved.head.task if saved else ""
        heads = {name.removeprefix("head_"): models[name] for name in modules if modules[name].role == "head"}
        return Draft(
            modality=modality.name,
            preprocess=modality.preprocess.model_dump(mode="json", exclude_none=True),
            size=size,
            encoder=encoder_graph(encoder, example, ragged=modality.ragged),
            twin=Twin(encoder, example, _longest(modality)),
            weights={name: tensor.numpy() for name, tensor in encoder.state_dict().items()},
            pooling=encoder.pooling,
            normalize=True,
            dimensions=encoder.dim,
            tokens=token_width(encoder, modality.collate(samples[:1])),
            reference=Reference(
                lambda item: modality.prepare(modality.read(item))[0].arrays,
                encode_with(encoder, {task: saved.head} if saved and heads else {}),
            ),
            held_out=held_out,
            licence=self._licence(stage),
            lineage=self._lineage(stage),
            heads=heads,
            graphs={name: TaskGraph(modules[name], models[name]) for name in modules if modules[name].role != "head"},
            tasks={task: saved.spec} if saved else {},
            resources=(saved.resources if saved else {}) | self._resources(),
            metrics=self._metrics(stage),
        )

    def _resources(self) -> dict[str, bytes]:
        """What the run made to read items: a tokenizer, what training knows of columns."""
        files = (self.path / "resources").glob("*")
        return {file.relative_to(self.path).as_posix(): file.read_bytes() for file in sorted(files)}

    def _licence(self, stage: str) -> str:
        data = [self._data(stage), *(self._opened(one.data) for one in self.recipe.mixed.values())]
        told = f"trained on {' and '.join(f'{one.name} ({one.licence})' for one in data)}"
        begun = self.recipe.encoder.pretrained
        if begun is None:
            return told
        stated = builders.facts(begun).licence if begun in builders.names() else "licence not stated"
        return f"{told}, beginning at {Path(begun).name} ({stated})"

    def _lineage(self, stage: str) -> Lineage:
        before = self._ancestors(stage)
        return Lineage(
            run=self.story["id"],
            method=next((one.method for one in (self.stages[stage], *before) if isinstance(one, Pretrain)), None),
            recipe=self.story["recipe_digest"],
            data=self._data(stage).fingerprint if self.stages[stage].data else self.story["data"]["fingerprint"],
            parents=tuple(self._bundles_of({one.name for one in before})),
        )

    def _ancestors(self, stage: str) -> list[Stage]:
        """What a stage needs, and what that needs, nearest first."""
        found = [self.stages[name] for name in self.stages[stage].needs]
        return found + [further for one in found for further in self._ancestors(one.name)]

    def _bundles_of(self, encoders: set[str]) -> Iterator[str]:
        """name@version of what this run has exported of these stages: a student's bundle names its teacher's."""
        for name, figures in self.figures.items():
            one = self.stages[name]
            if isinstance(one, Export) and self.encoder(one.needs) in encoders:
                yield f"{figures['bundle']}@{figures['version']}"

    def _metrics(self, encoder: str) -> dict[str, float]:
        """Figures of the stages that worked on this encoder: <stage>.<figure>."""
        return {
            f"{name}.{key}": float(value)
            for name, figures in self.figures.items()
            if encoder in self.stages[name].needs
            for key, value in figures.items()
            if isinstance(value, int | float)
        }

    def _folder(self, stage: str) -> Path:
        return self.path / "stages" / stage

    def _figures(self, stage: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._folder(stage) / "done.json").read_bytes())["figures"]
        return found


def _longest(modality: Modality[Any]) -> int | None:
    """Of samples that differ in length: as the preprocessing cuts them, or as much as a batch may have."""
    if not modality.ragged:
        return None
    return int(getattr(modality.preprocess, "max_tokens", modality.batch_cost))


def _held_out(data: Dataset) -> HeldOut:
    """The test split; validation where there is none."""
    split = data.split("test") if len(data.split("test")) else data.split("val")
    own = [record.path if record.value is None else record.value for record in split.records]
    return HeldOut(data.name, data.fingerprint, own, _labels(split))


def _labels(split: Dataset) -> list[str] | None:
    labels = [record.label for record in split.records]
    known = [label for label in labels if label is not None]
    return known if len(known) == len(labels) else None


def _joining(draft: Draft, tower: Joined) -> Draft:
    """In the space of the tower's bundle, which is its parent."""
    lineage = draft.lineage.model_copy(update={"parents": (*draft.lineage.parents, tower.ref)})
    return replace(draft, joint=tower.entry.space, joins=tower.ref, lineage=lineage)


def _named(drafts: list[Draft]) -> list[Draft]:
    """An entry is called as its modality, unless another of the bundle is of that: then as the column that it reads."""
    kinds = Counter(draft.modality for draft in drafts)
    return [replace(draft, side=draft.side if kinds[draft.modality] > 1 else None) for draft in drafts]


def _in_one_space(drafts: list[Draft]) -> list[Draft]:
    """Several encoders that were trained into one space share its identity: the digest of their own."""
    if len(drafts) == 1:
        return drafts
    own = " ".join(sorted(draft.space() for draft in drafts))
    joint = "sp_" + hashlib.sha256(own.encode()).hexdigest()[:24]
    return [replace(draft, joint=joint) for draft in drafts]
