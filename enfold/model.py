"""An encoder in this process: open a bundle, embed items, predict with its heads.

>>> model = enfold.open("emoji")
>>> model.embed(["cat.png"]).vectors        # [1, D]
>>> model.predict(["cat.png"])[0].label
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from enfold import modalities, settings, store, tasks
from enfold import runtime as runtimes
from enfold.bundle import WEIGHTS, Bundle, Entry, open_bundle
from enfold.errors import BundleInvalid, OutOfMemory, UnknownName, WrongUse
from enfold.fastest import fastest
from enfold.golden import check, golden_of
from enfold.modalities import Arrays, Modality, Part, Sample
from enfold.runtime import Session
from enfold.tasks import Prepared

BATCH = 32


@dataclass(frozen=True)
class Embedded:
    """Vectors [N, D] of one space, each with the index of its item and, for windows, its part."""

    vectors: np.ndarray
    items: list[int]
    parts: list[Part | None]
    space: str


class Model:
    """A verified bundle with its graphs opened in one runtime. Safe to call from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        variant: str = "fp32",
        size: str | None = None,
        entry: str | None = None,
        runtime: str | None = None,
        threads: int | None = None,
    ):
        """size      one of the bundle's; its last where none is named, None where it has but one
        entry     the one meant where a call names none; a bundle of a single one needs none
        runtime   one of `enfold.runtime`, or `auto`: the fastest here; onnxruntime, or what the variant needs, if None

        `runtime` is the name of the one that runs, `why` a sentence that says why it does; `auto` is replaced when the
        first graph is opened.
        """
        facts = bundle.manifest
        if variant not in facts.variants:
            raise UnknownName.among(f"variant of {bundle.ref}:", variant, facts.variants)
        if size is not None and size not in facts.sizes:
            raise UnknownName.among(f"size of {bundle.ref}:", size, facts.sizes or ["the only one, which has no name"])
        self.bundle, self.variant = bundle, variant
        self.size = size or (facts.sizes[-1] if facts.sizes else None)
        self._threads = threads or settings.load().threads
        self._sessions: dict[str, Session] = {}
        self._chosen = runtime == "auto"
        self.runtime = runtime or runtimes.for_variant(variant)[0]
        self.why = "measured when it is opened" if self._chosen else "asked for" if runtime else "the usual one"
        self.modalities = {name: self._modality(entry) for name, entry in bundle.manifest.entries.items()}
        # What it answers; the first is meant where none is named.
        self.tasks = {name: self._task(name, spec) for name, spec in tasks.of(bundle.manifest).items()}
        self._entry = self.entry(entry) if entry else None

    def entry(self, name: str | None = None, *, modality: str | None = None) -> str:
        """The name of the entry asked for, of the one that takes `modality`, or of the usual or only one."""
        entries = self.bundle.manifest.entries
        name = self._entry if name is None and modality is None else name
        if name is not None:
            if name not in entries:
                raise UnknownName.among(f"entry of {self.bundle.ref}:", name, entries)
            return name
        fitting = [key for key, entry in entries.items() if modality in (None, entry.modality)]
        if not fitting:
            takes = ", ".join(sorted({entry.modality for entry in entries.values()}))
            raise WrongUse(f"{self.bundle.ref} takes {takes} items, not {modality}")
        if len(fitting) > 1:
            raise WrongUse(f"{self.bundle.ref} has several entries: name one of {', '.join(fitting)}")
        return fitting[0]

    def facts(self, entry: str | None = None) -> Entry:
        """The entry, its space and dimensions those of this size."""
        found = self.bundle.manifest.entries[self.entry(entry)]
        return found.model_copy(update=dict(found.sizes[self.size])) if self.size in found.sizes else found

    def prepare(self, item: Any, entry: str | None = None, *, parts: bool = False) -> list[Sample]:
        """Encoder inputs of one raw item. Raises BadItem or TooLarge."""
        modality = self.modalities[self.entry(entry)]
        return modality.prepare(modality.read(item), parts=parts)

    def encode(self, samples: Sequence[Sample], entry: str | None = None) -> Arrays:
        """Encoder outputs {"out_embedding": [N, D]}, in the order given; batches hold samples of similar cost."""
        name = self.entry(entry)
        embedding = np.zeros((len(samples), self.facts(name).dimensions), np.float32)
        for batch, found in self._passes(samples, range(len(samples)), name, ("out_embedding",)):
            embedding[batch] = found["out_embedding"]
        return {"out_embedding": embedding}

    def encode_tokens(self, samples: Sequence[Sample], entry: str | None = None) -> tuple[Arrays, list[np.ndarray]]:
        """What `encode` gives, and the tokens of each sample: unit vectors [T, W].

        Samples of one shape go together, so that no token is of padding. Raises WrongUse for an entry without tokens.
        """
        name = self.entry(entry)
        self.check_tokens(name)
        embedding = np.zeros((len(samples), self.facts(name).dimensions), np.float32)
        tokens: list[np.ndarray] = [np.zeros((0, 0), np.float32)] * len(samples)
        alike: dict[Any, list[int]] = {}
        for row, sample in enumerate(samples):
            alike.setdefault(tuple(array.shape for array in sample.arrays.values()), []).append(row)
        for rows in alike.values():
            for batch, found in self._passes(samples, rows, name, ("out_embedding", "out_tokens")):
                embedding[batch] = found["out_embedding"]
                for row, own in zip(batch, found["out_tokens"], strict=True):
                    tokens[row] = unit(own)
        return {"out_embedding": embedding}, tokens

    def check_tokens(self, entry: str) -> int:
        """How wide the tokens of an entry's items are. Raises WrongUse for an entry without."""
        if (width := self.facts(entry).tokens) is None:
            raise WrongUse(
                f"entry '{entry}' of {self.bundle.ref} gives no vectors of tokens: its encoder has none, or it was "
                "exported before they were told apart from padding (export or import it again)"
            )
        return width

    def _passes(
        self, samples: Sequence[Sample], rows: Sequence[int], entry: str, outputs: tuple[str, ...]
    ) -> Iterator[tuple[list[int], Arrays]]:
        """Some of the samples through the encoder: which of them a batch holds, of similar cost, and its outputs."""
        if not rows:
            return
        modality, graph = self.modalities[entry], self.facts(entry).graph
        costs = {row: modality.cost(samples[row]) for row in rows}
        for batch in _batches(sorted(rows, key=costs.__getitem__), costs, modality.batch_cost):
            yield batch, self.run(graph, modality.collate([samples[row] for row in batch]), outputs)

    def vectors(self, encoded: Arrays, entry: str | None = None) -> np.ndarray:
        """What leaves the house: [N, D], of length 1 if the space says so."""
        facts, embedding = self.facts(entry), encoded["out_embedding"]
        return unit(embedding) if facts.normalize else embedding

    def shorter(self, vectors: np.ndarray, entry: str, dimensions: int) -> tuple[np.ndarray, str]:
        """The first dimensions of vectors [N, D], and their space. Raises WrongUse if it was not trained for so few."""
        facts = self.facts(entry)
        if dimensions == facts.dimensions:
            return vectors, facts.space
        if dimensions not in facts.nested:
            known = ", ".join(map(str, [*sorted(facts.nested), facts.dimensions]))
            raise WrongUse(f"{self.bundle.ref} gives vectors of {known} numbers, not of {dimensions}")
        cut = vectors[:, :dimensions]
        return unit(cut) if facts.normalize else np.ascontiguousarray(cut), facts.nested[dimensions]

    def embed(self, items: Iterable[Any], entry: str | None = None, *, parts: bool = False) -> Embedded:
        """Vectors of raw items: one each, or with `parts` one per window of long ones."""
        samples, owners = [], []
        for index, item in enumerate(items):
            prepared = self.prepare(item, entry, parts=parts)
            samples += prepared
            owners += [index] * len(prepared)
        vectors = self.vectors(self.encode(samples, entry), entry)
        return Embedded(vectors, owners, [sample.part for sample in samples], self.facts(entry).space)

    def predict(
        self, items: Iterable[Any], task: str | None = None, options: Any = None, *, entry: str | None = None
    ) -> list[BaseModel]:
        """Answers of the bundle's task (its only one if unnamed), one per item."""
        runner = self.task(task)
        chosen = self.options(runner, options)
        return self.answer(self.prepared(items, runner, chosen, entry), task, chosen)

    def prepared(
        self, items: Iterable[Any], task: tasks.Task[Any], options: BaseModel, entry: str | None = None
    ) -> Prepared:
        """What a task is given of raw items: their samples and, if it starts from them, the encoder's outputs."""
        self.check_fits(task, self.entry(entry))
        samples = [self.prepare(item, entry, parts=task.parts(options)) for item in items]
        flat = [sample for group in samples for sample in group]
        encoded = self.encode(flat, entry) if task.encodes else {}
        if task.entry is None:
            return Prepared(samples, encoded)
        beside = [sample for item in task.beside(options) for sample in self.prepare(item, task.entry)]
        return Prepared(samples, encoded, self.encode(beside, task.entry))

    def answer(self, prepared: Prepared, task: str | None = None, options: Any = None) -> list[BaseModel]:
        """Answers of the bundle's task (its only one if unnamed), one per item: heads cost no second encoder pass."""
        runner = self.task(task)
        answers: list[BaseModel] = runner.run(self.run, prepared, self.options(runner, options))
        return answers

    def stream(self, prepared: Prepared, task: str | None = None, options: Any = None) -> Iterator[BaseModel]:
        """The answer of one item piece by piece, the whole one last. Raises WrongUse if the task gives it at once."""
        runner = self.task(task)
        pieces: Iterator[BaseModel] = runner.stream(self.run, prepared, self.options(runner, options))
        return pieces

    def run(self, graph: str, inputs: Arrays, only: Sequence[str] | None = None) -> Arrays:
        """One pass of a graph: of this size, or of the one that `<graph>.<size>` names.

        Where there is not the memory for a batch, its halves are run one after the other. Raises OutOfMemory if a
        single item is too much.
        """
        session = self.session(graph)
        try:
            return session.run(inputs, only)
        except OutOfMemory:
            [count, *others] = {values.shape[:1] for values in inputs.values()}
            if others or count <= (1,):
                raise
        half = count[0] // 2
        first, second = (
            self.run(graph, {name: values[part] for name, values in inputs.items()}, only)
            for part in (slice(half), slice(half, None))
        )
        return {name: np.concatenate([first[name], second[name]]) for name in first}

    def task(self, name: str | None = None) -> tasks.Task[Any]:
        if not self.tasks:
            raise WrongUse(f"{self.bundle.ref} has no task: it embeds only")
        chosen = name or next(iter(self.tasks))
        if chosen not in self.tasks:
            raise UnknownName.among(f"task of {self.bundle.ref}:", chosen, self.tasks)
        return self.tasks[chosen]

    def check_fits(self, task: tasks.Task[Any], entry: str) -> None:
        """Raises WrongUse if the task answers items of another modality than the entry takes, or of another space."""
        takes = self.facts(entry)
        if task.modality not in (None, takes.modality):
            raise WrongUse(
                f"task '{task.name}' of {self.bundle.ref} answers {task.modality} items, not {takes.modality}"
            )
        if task.entry is not None and takes.space != (space := self.facts(task.entry).space):
            raise WrongUse(
                f"task '{task.name}' of {self.bundle.ref} answers items of space {space}, that of entry "
                f"'{task.entry}'; entry '{entry}' is of space {takes.space}"
            )

    @staticmethod
    def options(task: tasks.Task[Any], options: Any) -> BaseModel:
        if isinstance(options, task.Options):
            return options
        try:
            return task.Options.model_validate(options or {})
        except ValidationError as error:
            first = error.errors()[0]
            known = ", ".join(task.Options.model_fields)
            raise WrongUse(
                f"option '{'.'.join(map(str, first['loc']))}' of {task.name}: {first['msg']}. Options: {known}"
            ) from None

    def session(self, graph: str) -> Session:
        """The opened graph; opened on first use."""
        if self.runtime == "auto":
            self.choose()
        if graph not in self._sessions:
            try:
                self._sessions[graph] = self._load(self.runtime, graph)
            except BundleInvalid:  # an engine that is quick with the encoder need not know every operator of a head
                if not self._chosen:
                    raise
                self._sessions[graph] = self._load(runtimes.DEFAULT, graph)
        return self._sessions[graph]

    def choose(self) -> None:
        """Take the fastest runtime, measured on the golden items. Raises what the first one raised if none is fit."""
        choice = fastest(golden_of(self.bundle, self.variant, self.size), self.variant, self._load)
        self.runtime, self.why, self._sessions = choice.runtime, choice.why, choice.sessions

    @property
    def loaded(self) -> bool:
        """Whether a graph is open."""
        return bool(self._sessions)

    @property
    def bytes(self) -> int:
        """Of the files of its graphs, weights that several of them share counted once."""
        graphs = [name.removesuffix(f".{self.size}") for name in self.bundle.manifest.graphs]
        own = {self.bundle.graph_file(name, self.variant, self.size) for name in graphs}
        files = {*own, *(self.bundle.path / "graphs").glob(WEIGHTS)}
        return sum(file.stat().st_size for file in files)

    def close(self) -> None:
        """Let go of every graph; whatever runs ends first, and the next use opens them again."""
        self._sessions = {}

    def check(self) -> float:
        """Run the golden items: the lowest cosine to what the gate saw. Raises BundleInvalid if a vector has moved."""
        what = f"{self.bundle.ref} ({self.variant}, {self.runtime})"
        return check(golden_of(self.bundle, self.variant, self.size), self.session, what)

    def _load(self, runtime: str, graph: str) -> Session:
        variant = self.variant if self.variant in self.bundle.graph(graph, self.size).files else "fp32"
        path = self.bundle.graph_file(graph, variant, self.size)
        self.bundle.check_unchanged(path)
        return runtimes.load(runtime, path, threads=self._threads, variant=variant)

    def _modality(self, entry: Entry) -> Modality[Any]:
        kind = modalities.get(entry.modality)
        try:
            preprocess, limits = kind.Preprocess(**entry.preprocess), kind.Limits(**entry.limits)
        except ValidationError as error:
            raise self._invalid(entry.modality, error) from None
        return kind(preprocess, limits, self.bundle.path)

    def _task(self, name: str, spec: dict[str, Any]) -> tasks.Task[Any]:
        kind = tasks.get(name)
        try:
            return kind(kind.Spec(**spec), self.bundle.path, self.size)
        except ValidationError as error:
            raise self._invalid(f"task '{name}'", error) from None

    def _invalid(self, what: str, error: ValidationError) -> BundleInvalid:
        first = error.errors()[0]
        where = "".join(f" {step}" for step in first["loc"])
        return BundleInvalid(f"{self.bundle.ref}: {what}{where}: {first['msg']}")


def _batches(order: Sequence[int], costs: Mapping[int, int], most: int) -> Iterator[list[int]]:
    """Neighbours in an order of rising cost, at most BATCH and so many that their padded cost stays within `most`."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) == BATCH or costs[index] * (len(batch) + 1) > most):
            yield batch
            batch = []
        batch.append(index)
    yield batch


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, [N, D]; a row of nothing stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def open(
    ref: str | Path,
    *,
    variant: str = "fp32",
    size: str | None = None,
    entry: str | None = None,
    runtime: str | None = None,
    threads: int | None = None,
) -> Model:
    """Open a bundle by name (`emoji`, `emoji@2`, `emoji@prod`) from the store, or by the path of its folder."""
    bundle = open_bundle(ref) if isinstance(ref, Path) else store.open_ref(settings.load().bundles, ref)
    model = Model(bundle, variant=variant, size=size, entry=entry, runtime=runtime, threads=threads)
    if runtime == "auto":
        model.choose()
    return model
