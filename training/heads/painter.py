"""Painting for a text: the text's encoder and the generator behind it, as one graph."""
# B images, T words, Z noise

from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from enfold.modalities import Arrays
from training import recipe
from training.blocks.generator import Generator
from training.encoders import Encoder, build
from training.heads import GraphModule, Head


class PainterConfig(BaseModel, frozen=True, extra="forbid"):
    text_encoder: recipe.Encoder
    vocabulary: int = Field(ge=1)
    noise: int = Field(ge=1)
    condition: int = Field(ge=1)
    width: int = Field(ge=1)
    size: int = Field(ge=8)  # pixels a side


class Painter(Head):
    """Input ids and attention mask [B, T], noise [B, Z] -> image [B, 3, H, W] in [-1, 1]."""

    task, modality = "paint", "text"
    Config = PainterConfig
    config: PainterConfig

    def __init__(self, encoder: Encoder, config: PainterConfig):
        super().__init__(encoder, config)
        facts = config.text_encoder
        self.text_encoder = build(facts.name, facts.config, config.vocabulary)
        self.generator = Generator(
            noise=config.noise,
            text=self.text_encoder.dim,
            condition=config.condition,
            width=config.width,
            size=config.size,
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor, noise: Tensor) -> Tensor:
        text = self.text_encoder({"input_ids": input_ids, "attention_mask": attention_mask})
        image: Tensor = self.generator(noise, text.embedding, text.tokens, attention_mask)
        return image

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        ids = torch.arange(14).reshape(2, 7).numpy() % self.config.vocabulary
        noise = np.zeros((2, self.config.noise), np.float32)
        example = {"input_ids": ids, "attention_mask": np.ones_like(ids), "noise": noise}
        ragged = {0: "batch", 1: "length"}
        axes = {"input_ids": ragged, "attention_mask": ragged, "noise": {0: "batch"}}
        return {"paint": GraphModule("generate", self, example, axes, ("out_image",))}

    def spec(self) -> dict[str, Any]:
        return {"graph": "paint", "noise": self.config.noise}


HEAD = Painter
