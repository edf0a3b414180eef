"""AstroM3: encoders of three kinds of measurements learn which are of the same star, pair by pair.

Rizhko and Bloom, "AstroM³: A self-supervised multimodal model for astronomy", 2024, arXiv:2411.08842; each pair's
objective is that of Radford et al. 2021 (CLIP), arXiv:2103.00020, with a scale of its own.
Our reading where the paper is silent: scales begin at 1 / 0.07, as CLIP's. Nothing of a label is looked at.
"""
# B items, P features of the shared space

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch import nn

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from training import recipe
from training.blocks.clip_loss import LogitScale, clip_loss
from training.encoders import Encoder, build
from training.methods import Batch, Item, Losses, Method
from training.views import plain

_OWN = ""  # the tower of the items themselves


class AstroM3Config(BaseModel, frozen=True, extra="forbid"):
    """The paper's towers beside that of light curves: 512 features are shared."""

    towers: dict[str, recipe.Encoder] = Field(
        {
            "spectrum": recipe.Encoder(name="projected", config={"name": "step_cnn", "dim": 512}),
            "metadata": recipe.Encoder(name="projected", config={"name": "column_mlp", "dim": 512}),
        },
        min_length=2,
        max_length=2,
    )  # by the side that each reads
    temperature: float = Field(0.07, ge=0.01, le=1)  # at first, of every pair; learnt


class AstroM3(Method):
    Config = AstroM3Config
    config: AstroM3Config
    takes_sides = takes_reader = True

    def __init__(
        self,
        encoder: Encoder,
        config: AstroM3Config,
        preprocess: Any,
        sides: Mapping[str, Modality[Any]],
        reader: Modality[Any],
    ):
        super().__init__(encoder, config, preprocess)
        for name in config.towers:
            if name not in sides:
                raise WrongUse(
                    f"method 'astrom3' has a tower of column '{name}': let the recipe name it, [sides.{name}]; "
                    f"it names {', '.join(sides) or 'none'}"
                )
        self.views = {_OWN: plain(reader)} | {name: plain(sides[name]) for name in config.towers}
        self.others = nn.ModuleDict(
            {name: build(facts.name, facts.config, sides[name].input_size) for name, facts in config.towers.items()}
        )
        for name, tower in self.others.items():
            if tower.dim != encoder.dim:
                raise WrongUse(
                    f"astrom3 compares towers: that of the items has {encoder.dim} features, that of '{name}' has "
                    f"{tower.dim}; let them have as many"
                )
        self.pairs = tuple(combinations(self.views, 2))
        self.scales = nn.ModuleList(LogitScale(1 / config.temperature) for _ in self.pairs)

    def towers(self) -> dict[str, tuple[recipe.Encoder, Encoder]]:
        return {name: (facts, self.others[name]) for name, facts in self.config.towers.items()}  # type: ignore[misc]

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """What each tower reads, its inputs named <side>.<input>."""
        values = {name: item.value if name == _OWN else item.side(name) for name in self.views}
        return {
            f"{name}.{key}": array
            for name, view in self.views.items()
            for key, array in view(values[name], rng).items()
        }

    def forward(self, batch: Batch) -> Losses:
        embedded = {}  # [B, P] each
        for name in self.views:
            own = {key.removeprefix(f"{name}."): values for key, values in batch.items() if key.startswith(f"{name}.")}
            embedded[name] = (self.others[name] if name else self.encoder)(own).embedding
        # The paper adds both ways of a pair, where `clip_loss` gives their mean.
        losses = [
            2 * clip_loss(embedded[one], embedded[two], scale())
            for (one, two), scale in zip(self.pairs, self.scales, strict=True)
        ]
        scales = {f"scale_{number}": scale().detach() for number, scale in enumerate(self.scales)}
        return {"loss": sum(losses[1:], losses[0]), **scales}

    def after_step(self, progress: float) -> None:
        for scale in self.scales:
            scale.clamp()  # type: ignore[operator]


METHOD = AstroM3
