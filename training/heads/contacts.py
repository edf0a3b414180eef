"""Which residues touch? A head on pairs of tokens, their product and their difference (Rao et al. 2019, TAPE)."""
# B proteins, T tokens, D features, H hidden

from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import RAGGED, GraphModule, Head


class ContactsConfig(BaseModel, frozen=True, extra="forbid"):
    hidden: int = Field(32, ge=1)  # features of a residue that pairs are made of, and of a pair


class Contacts(Head):
    """tokens [B, T, D] -> logits [B, T, T], symmetric."""

    task = "contacts"
    truth = "contacts"
    Config = ContactsConfig
    config: ContactsConfig

    def __init__(self, encoder: Encoder, config: ContactsConfig):
        super().__init__(encoder, config)
        hidden = config.hidden
        self.narrow = nn.Linear(encoder.dim, hidden)
        # Without a layer between, what a difference says one way round would take away what it says the other.
        self.net = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        own = self.narrow(tokens)  # [B, T, H]
        here, there = own[:, :, None], own[:, None]
        logits: Tensor = self.net(torch.cat([here * there, here - there], 3))[..., 0]
        return (logits + logits.transpose(1, 2)) / 2

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self(encoder(inputs).tokens)
        return found

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: array[:2] for name, array in inputs.items()}
        return {"contacts": self.complete(encoder, example, RAGGED, "out_contacts")}

    def spec(self) -> dict[str, Any]:
        return {"graph": "contacts"}


HEAD = Contacts
