"""How a series goes on: the steps that an encoder tells after the last of its window."""

from typing import Any

import numpy as np
from pydantic import BaseModel
from torch import Tensor

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule, Head


class ForecastConfig(BaseModel, frozen=True, extra="forbid"):
    pass


class Forecast(Head):
    """No weights of its own, for an encoder whose `features["next"]` [B, C, N, S] tell what follows each segment."""

    task, truth = "forecast", "future"
    Config = ForecastConfig

    def answer(self, encoder: Encoder, inputs: dict[str, Tensor]) -> Tensor:
        """series, measured [B, C, L] -> the S steps after the last [B, C, S]."""
        return encoder(inputs).features["next"][:, :, -1]

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: np.repeat(inputs[name][:2], 2, 1) for name in ("series", "measured")}
        return {"forecast": self.complete(encoder, example, {0: "batch", 1: "channels"}, "out_forecast")}

    def spec(self) -> dict[str, Any]:
        return {"graph": "forecast"}


HEAD = Forecast
