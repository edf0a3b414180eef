"""Does a graph give what the trained encoder gives, whatever batch an item comes in?"""
# B items of a batch, N tokens, D features

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from enfold.errors import BadItem, GateRefused, MissingExtra
from enfold.golden import cosine
from enfold.modalities import Arrays, Sample
from enfold.model import Model
from export.draft import Draft, HeldOut
from export.limits import (
    AGREEMENT,
    ALONE_COSINE,
    ANSWERED,
    BATCHES,
    COSINE,
    DIFFERENCE,
    MAX_ABS,
    NEIGHBOURS,
    WITNESSES,
)
from export.report import Check, at_least, at_most, impossible
from training.heads import run_by


class GraphFails(Exception):
    """The graph cannot run a batch; the first line says why."""


@dataclass(frozen=True)
class Witnesses:
    """Held-out items with the bundle's inputs for them, cheapest first, and what the trained encoder makes of each."""

    draft: Draft
    items: list[Any]
    samples: list[Sample]

    @cached_property
    def inputs(self) -> list[Arrays]:
        return [self.draft.reference.prepare(item) for item in self.items]

    @cached_property
    def expected(self) -> list[Arrays]:
        """Outputs of the reference for each item alone, so that nothing is padded."""
        return [self.draft.reference.encode({key: array[None] for key, array in one.items()}) for one in self.inputs]

    @cached_property
    def scale(self) -> dict[str, float]:
        """Root mean square of each output."""
        names = self.expected[0]
        return {
            name: float(np.sqrt(np.mean(np.concatenate([one[name].ravel() for one in self.expected]) ** 2)))
            for name in names
        }


def witnesses(draft: Draft, model: Model) -> Witnesses:
    """Items spread evenly over the held-out set."""
    items = draft.held_out.items
    enough(draft.held_out, len(items))
    chosen = np.unique(np.linspace(0, len(items) - 1, WITNESSES).astype(int))
    modality = model.modalities[draft.name]
    pairs = [(items[i], model.prepare(items[i], draft.name)[0]) for i in map(int, chosen)]
    pairs.sort(key=lambda pair: modality.cost(pair[1]))
    return Witnesses(draft, [item for item, _ in pairs], [sample for _, sample in pairs])


def enough(held_out: HeldOut, count: int) -> None:
    if count <= NEIGHBOURS:
        raise GateRefused(
            f"'{held_out.name}' has {count} distinct held-out items; the gate compares the {NEIGHBOURS} nearest "
            f"of each and needs {NEIGHBOURS + 1} or more: give more data"
        )


def against_reference(model: Model, seen: Witnesses) -> list[Check]:
    """The fp32 graph against the trained encoder: inputs, then vectors, tokens and logits in batches of every size."""
    apart = [_furthest(sample.arrays, inputs) for sample, inputs in zip(seen.samples, seen.inputs, strict=True)]
    checks = [at_most(0, "difference of prepared inputs from training's", "fp32", max(apart), len(apart))]
    if not checks[0].passed:
        return checks
    for size in BATCHES:
        try:
            checks += _compared(model, seen, size)
        except GraphFails as error:
            checks.append(impossible(f"a batch of {size}", "fp32", size, str(error)))
    return checks


def alone_and_together(model: Model, seen: Witnesses) -> list[Check]:
    """An item's vector must not depend on its neighbours in a batch."""
    limit = COSINE if model.variant == "fp32" else ALONE_COSINE
    try:
        alone = [_outputs(model, seen.draft, [sample])["out_embedding"][0] for sample in seen.samples]
        pairs = [(row["out_embedding"], alone[i]) for i, row in _rows(model, seen, BATCHES[-1])]
    except GraphFails as error:
        return [impossible("a batch", model.variant, BATCHES[-1], str(error))]
    found, want = (np.stack(side) for side in zip(*pairs, strict=True))
    lowest = float(cosine(found, want).min())
    return [at_least(limit, f"cosine alone and in a batch of {BATCHES[-1]}", model.variant, lowest, len(pairs))]


def overheard(model: Model, seen: Witnesses) -> list[Check]:
    """Graphs of tasks, on whatever the task asks of them while it answers real items: as the trained modules answer."""
    draft, apart, count = seen.draft, dict[str, float](), 0
    trained = run_by({draft.sized(name): graph.twin for name, graph in draft.graphs.items()})

    def listened(graph: str, inputs: Arrays) -> Arrays:
        nonlocal count
        want, found, count = trained(draft.sized(graph), inputs), model.run(graph, inputs), count + 1
        for name, array in want.items():
            scale = float(np.sqrt(np.mean(array.astype(np.float64) ** 2))) or 1.0
            key = f"{name} of {graph}"
            apart[key] = max(apart.get(key, 0.0), _furthest({name: found[name]}, {name: array}) / scale)
        return want

    for task in draft.tasks if draft.graphs else ():
        runner = model.task(task)
        options = model.options(runner, runner.trial)
        answered = 0
        try:
            for item in seen.items[:: len(seen.items) // ANSWERED]:
                try:
                    runner.run(listened, model.prepared([item], runner, options, draft.name), options)
                    answered += 1
                except BadItem:  # it is the task's right to refuse an item: a prompt that leaves no room
                    continue
            if not answered:
                return [impossible(f"task {task}", "fp32", 0, "it refused every item")]
        except MissingExtra:
            raise
        except Exception as error:  # a runtime raises classes of its own
            return [impossible(f"task {task}", "fp32", count, str(error).splitlines()[0])]
    return [at_most(MAX_ABS, f"largest difference of {key}", "fp32", value, count) for key, value in apart.items()]


def batches(count: int, size: int) -> list[list[int]]:
    """Positions of items of similar cost, from the cheapest to the costliest, then of a mixture.

    Every item is in a batch; the last one is filled up from the beginning.
    """
    similar = np.resize(np.arange(count), (-(-count // size), size))
    mixed = ((np.arange(size) + 0.5) * count / size).astype(int)
    batches: list[list[int]] = [*similar.tolist(), mixed.tolist()]
    return batches


def _compared(model: Model, seen: Witnesses, size: int) -> list[Check]:
    rows = _rows(model, seen, size)
    where = f", batch of {size}"
    found = np.stack([row["out_embedding"] for _, row in rows])
    want = np.stack([seen.expected[i]["out_embedding"][0] for i, _ in rows])
    apart = float((np.linalg.norm(found - want, axis=1) / np.linalg.norm(want, axis=1)).max())
    checks = [
        at_most(DIFFERENCE, f"relative difference of out_embedding{where}", "fp32", apart, len(rows)),
        at_least(COSINE, f"cosine to the trained encoder{where}", "fp32", float(cosine(found, want).min()), len(rows)),
    ]
    for name in sorted(set(seen.scale) - {"out_embedding"}):
        pairs = [(row[name], seen.expected[i][name][0]) for i, row in rows]
        # Rows of padding hold nothing; the reference has none.
        apart = max(float(np.abs(have[: len(real)] - real).max()) for have, real in pairs) / seen.scale[name]
        checks.append(at_most(MAX_ABS, f"largest difference of {name}{where}", "fp32", apart, len(rows)))
        if name != "out_tokens":
            agreed = float(np.mean([have.argmax() == real.argmax() for have, real in pairs]))
            checks.append(at_least(AGREEMENT, f"agreement of {name} on the label{where}", "fp32", agreed, len(rows)))
    return checks


def _rows(model: Model, seen: Witnesses, size: int) -> list[tuple[int, Arrays]]:
    """(position, outputs) of every item in every batch of that size."""
    rows = []
    for batch in batches(len(seen.samples), size):
        outputs = _outputs(model, seen.draft, [seen.samples[i] for i in batch])
        rows += [(i, {name: array[row] for name, array in outputs.items()}) for row, i in enumerate(batch)]
    return rows


def _outputs(model: Model, draft: Draft, samples: Sequence[Sample]) -> Arrays:
    """Everything the bundle makes of a batch: the encoder's outputs and every head's."""
    try:
        outputs = model.session(draft.graph).run(model.modalities[draft.name].collate(samples))
        for task in draft.heads:
            outputs |= model.session(f"head_{task}").run({"embedding": outputs["out_embedding"]})
    except MissingExtra:
        raise
    except Exception as error:  # a runtime raises classes of its own
        raise GraphFails(str(error).splitlines()[0]) from None
    for name, array in outputs.items():
        if len(array) != len(samples):
            raise GraphFails(f"{name} has {len(array)} rows for {len(samples)} items")
    return outputs


def _furthest(found: Arrays, want: Arrays) -> float:
    """Largest absolute difference; infinite if the shapes differ."""
    if {name: array.shape for name, array in found.items()} != {name: array.shape for name, array in want.items()}:
        return float("inf")
    return max(float(np.abs(found[name].astype(np.float64) - want[name]).max()) for name in want)
