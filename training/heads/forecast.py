"""How a series goes on: the steps that an encoder tells after the last of its window."""

from typing import Any

import numpy as np
from pydantic import BaseModel
from torch import Tensor, nn

from enfold.modalities import Arrays
from training.encoders import Encoder
from training.heads import GraphModule, Head


class ForecastConfig(BaseModel, frozen=True, extra="forbid"):
    pass


class Forecast(Head):
    """No weights of its own, for an encoder whose `features["next"]` [B, C, N, S] tell what follows each segment."""

    task, truth = "forecast", "future"
    Config = ForecastConfig

    def graphs(self, encoder: Encoder, inputs: Arrays) -> dict[str, GraphModule]:
        example = {name: np.repeat(inputs[name][:2], 2, 1) for name in ("series", "measured")}
        axes = {name: {0: "batch", 1: "channels"} for name in example}
        return {"forecast": GraphModule("complete", _Next(encoder), example, axes, ("out_forecast",))}

    def spec(self) -> dict[str, Any]:
        return {"graph": "forecast"}


class _Next(nn.Module):
    """series, measured [B, C, L] -> the S steps after the last [B, C, S]."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, series: Tensor, measured: Tensor) -> Tensor:
        return self.encoder({"series": series, "measured": measured}).features["next"][:, :, -1]


HEAD = Forecast
