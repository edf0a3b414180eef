"""A tower of another bundle, kept as it is: encoders that are trained against it join its space.

Zhai et al. 2022 (LiT), arXiv:2111.07991, who lock one tower and tune the other. It runs the bundle's own graph, so that
nothing of it can move, and has no weights here.
"""

import torch
from pydantic import BaseModel

from enfold.errors import WrongUse
from enfold.model import open as open_model
from training.encoders import Encoded, Encoder, Inputs
from training.recipe import Pinned


class JoinedConfig(BaseModel, frozen=True, extra="forbid"):
    bundle: Pinned
    entry: str | None = None  # where the bundle has several


class Joined(Encoder):
    """Inputs as the bundle's entry reads them; the embedding alone counts as its one token."""

    Config = JoinedConfig

    def __init__(self, config: JoinedConfig, size: int):
        super().__init__()
        self.model = open_model(config.bundle, entry=config.entry)
        self.entry = self.model.facts()
        reader = self.model.modalities[self.model.entry()]
        if reader.input_size != size:
            raise WrongUse(
                f"encoder 'joined': {config.bundle} reads inputs of size {reader.input_size}, the recipe gives it "
                f"{size}: let the recipe read them as the bundle does, joins = '{config.bundle}'"
            )
        if not self.entry.normalize:
            raise WrongUse(
                f"encoder 'joined': vectors of {config.bundle} are of any length, and angles alone are joined"
            )
        self.ref, self.dim, self.pooling = config.bundle, self.entry.dimensions, self.entry.pooling

    def forward(self, inputs: Inputs) -> Encoded:
        given = {name: tensor.cpu().numpy() for name, tensor in inputs.items()}
        found = self.model.session(self.entry.graph).run(given, ("out_embedding",))["out_embedding"]
        embedding = torch.from_numpy(found).to(next(iter(inputs.values())).device)
        return Encoded(embedding[:, None], embedding)


ENCODER = Joined
