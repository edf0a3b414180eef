"""complete: a set of splats of which most patches were taken away and found again from those that were left.

What an autoencoder knows of a thing, to be looked at. What it does not look at (colours, say) is as on average.
"""
# B items, G patches, V visible and M hidden ones, O candidates of a patch, K splats that are found, C columns

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from enfold.modalities import Sample, Spec
from enfold.modalities.splats import COLUMNS, PROPERTIES, Attribute, Splats, ply, redrawn, restored, width
from enfold.tasks import Graphs, Prepared, Task

_COMPARED = 2048  # of an item's splats, when answers are measured


class CompleteSpec(Spec):
    graph: str  # centres [B, G, C], patches [B, G, O, C], order [B, G] -> out_complete [B, M, K, C]
    attributes: tuple[Attribute, ...]  # as the columns come
    hidden: int = Field(ge=1)  # patches
    neighbours: int = Field(ge=1)  # splats of a patch


class CompleteOptions(BaseModel, extra="forbid"):
    seed: int = Field(0, ge=0, description="the same seed takes away the same patches")


class CompleteAnswer(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    splats: bytes = Field(description="what was left and what was found, a Gaussian splatting file (.ply)")
    left: int = Field(description="splats of the file that are the item's own; they come first")
    found: int = Field(description="splats of the file that were regenerated")


class Complete(Task[CompleteAnswer]):
    name = "complete"
    Spec, Options, Answer = CompleteSpec, CompleteOptions, CompleteAnswer
    encodes, modality = False, "splats"

    def run(self, graphs: Graphs, prepared: Prepared, options: CompleteOptions) -> list[CompleteAnswer]:
        samples = [own[0] for own in prepared.samples]
        centres, patches = (np.stack([sample.arrays[name] for sample in samples]) for name in ("centres", "patches"))
        order = np.random.default_rng(options.seed).permutation(centres.shape[1])
        inputs = {"centres": centres, "patches": patches, "order": np.tile(order, (len(samples), 1))}
        found = graphs(self.spec.graph, inputs)["out_complete"]
        return [self._answer(sample, own, order) for sample, own in zip(samples, found, strict=True)]

    def measure(self, answers: Sequence[CompleteAnswer], truth: Sequence[np.ndarray]) -> dict[str, float]:
        """How far places that were found lie from the item's own [M, 14]: mean distance in parts of its radius."""
        apart = []
        for answer, actual in zip(answers, truth, strict=True):
            place = redrawn(actual, _COMPARED, np.random.default_rng(0))[:, :3]
            found = Splats(None).read(answer.splats)[answer.left :, :3]
            radius = np.linalg.norm(place - place.mean(0), axis=1).max()
            apart.append(np.linalg.norm(found[:, None] - place, axis=2).min(1).mean() / radius)
        return {"distance": float(np.mean(apart))}

    def _answer(self, sample: Sample, found: np.ndarray, order: np.ndarray) -> CompleteAnswer:
        """found   [M, K, C]"""
        visible, middles = order[: -self.spec.hidden], sample.arrays["centres"][order, None, :3]
        own = sample.arrays["patches"][visible, : self.spec.neighbours]
        left = self._whole(own, middles[: len(visible)])
        left = np.unique(left.round(6), axis=0)  # patches overlap
        new = self._whole(found, middles[len(visible) :])
        rows = restored(np.concatenate([left, new]), sample.origin["frame"])
        return CompleteAnswer(splats=ply(rows), left=len(left), found=len(new))

    def _whole(self, patches: np.ndarray, middles: np.ndarray) -> np.ndarray:
        """All normalised columns [rows, 14] of patches [G, K, C] around middles [G, 1, 3]; else their mean."""
        rows = np.zeros((*patches.shape[:2], len(PROPERTIES)))
        rows[..., COLUMNS["rotation"].start] = 1
        ends = np.cumsum([width(name) for name in self.spec.attributes])
        for name, end in zip(self.spec.attributes, ends, strict=True):
            rows[..., COLUMNS[name]] = patches[..., end - width(name) : end]
        rows[..., COLUMNS["xyz"]] += middles
        return rows.reshape(-1, rows.shape[2])
