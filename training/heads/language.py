"""Going on with a text: the language model's own tied head, from a cache of keys and values."""
# B batch, S new tokens, P tokens before them, L blocks, H heads, d features of a head

from typing import Any

import numpy as np
from pydantic import BaseModel, Field
from torch import Tensor, nn

from enfold.modalities import Arrays
from enfold.modalities.text import TOKENIZER
from training.encoders import Encoder
from training.encoders.causal_lm import CausalLM
from training.heads import GraphModule, Head

MOST_LOST = 0.01  # of the deepest size's perplexity, when shallower ones may write what they are sure of


class LanguageConfig(BaseModel, frozen=True, extra="forbid"):
    context: int = Field(ge=2)  # tokens of prompt and answer together
    prompt: str = "{}"  # how a request's text is put to the model


class Language(Head):
    """No weights of its own."""

    task, truth = "generate", "answer"
    Config = LanguageConfig
    config: LanguageConfig

    def __init__(self, encoder: Encoder, config: LanguageConfig):
        super().__init__(encoder, config)
        assert isinstance(encoder, CausalLM)
        self._depths = {str(exit): exit for exit in encoder.exits}
        self._heads, self._width = encoder.config.heads, encoder.dim // encoder.config.heads

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        assert isinstance(encoder, CausalLM)
        cache = np.zeros((2, encoder.config.depth, 2, self._heads, 5, self._width), np.float32)
        example = {"input_ids": inputs["input_ids"][:2, :3], "cache": cache}
        axes = {"input_ids": {0: "batch", 1: "new"}, "cache": {0: "batch", 4: "before"}}
        step = GraphModule("step", _Step(encoder), example, axes, ("out_logits", "out_cache"), {"cache": "out_cache"})
        return {"step": step}

    def spec(self) -> dict[str, Any]:
        caches = {size: [depth, 2, self._heads, 0, self._width] for size, depth in self._depths.items()}
        facts = {"graph": "step", "tokenizer": TOKENIZER, "caches": caches}
        return facts | self.config.model_dump(mode="json")


class _Step(nn.Module):
    def __init__(self, encoder: CausalLM):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder.step(input_ids, cache)


def least_confidence(sure: np.ndarray, losses: np.ndarray) -> float:
    """The least probability, in hundredths, at which shallower sizes may write and perplexity grows by at most 1 %.

    sure    [E, N]  of N tokens, the probability of the one that each exit would write, shallowest first
    losses  [E, N]  cross-entropy of the true token
    """
    for confidence in np.arange(1, 100) / 100:
        first = np.argmax(np.vstack([sure[:-1] >= confidence, np.ones_like(sure[-1], bool)]), 0)  # [N]
        if losses[first, np.arange(len(first))].mean() <= losses[-1].mean() + np.log(1 + MOST_LOST):
            return float(confidence)
    return 1.0


HEAD = Language
