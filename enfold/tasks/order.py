"""order: does a video run on as it should? Asked of every window of it, between the one before and the one after.

How likely the order is as it stands, against its neighbours exchanged: about 1/2 where it cannot be told, near 0 where
it runs backwards, and lower where frames were shuffled. Goulao and Oliveira 2022 (TOV-VICReg), arXiv:2209.10901.
"""
# B items, W windows of a video, D features

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Sample, Spec
from enfold.tasks import Graphs, Prepared, Task


class OrderSpec(Spec):
    graph: str  # three out_embedding [W, 3, D]: a window, the one before, the one after -> logits [W] of disorder


class OrderOptions(BaseModel, extra="forbid"):
    pass


class OrderAnswer(BaseModel):
    in_order: float | None = Field(description="mean over the windows; none of a video with fewer than three")
    windows: list[float] = Field(description="of each window that has one before it and one after")


class Order(Task[OrderAnswer]):
    name, modality = "order", "video"
    Spec, Options, Answer = OrderSpec, OrderOptions, OrderAnswer

    def parts(self, options: OrderOptions) -> bool:
        return True

    def run(self, graphs: Graphs, prepared: Prepared, options: OrderOptions) -> list[OrderAnswer]:
        ends = np.cumsum([len(samples) for samples in prepared.samples])[:-1]
        encoded = np.split(prepared.encoded["out_embedding"], ends)  # of each item [W, D]
        return [self._answer(graphs, *one) for one in zip(prepared.samples, encoded, strict=True)]

    def measure(self, answers: Sequence[OrderAnswer], truth: Sequence[bool]) -> dict[str, float]:
        """truth   whether each video was in order; those of which nothing can be said count as wrong"""
        right = [
            one.in_order is not None and (one.in_order > 0.5) == real for one, real in zip(answers, truth, strict=True)
        ]
        return {"accuracy": float(np.mean(right))}

    def _answer(self, graphs: Graphs, samples: list[Sample], embedding: np.ndarray) -> OrderAnswer:
        starts = [sample.part.start or 0 for sample in samples if sample.part]
        if len(starts) > 1 and starts[-1] - starts[-2] < starts[1]:
            embedding = embedding[:-1]  # the last window was moved inside, over the one before
        if len(embedding) < 3:
            return OrderAnswer(in_order=None, windows=[])
        three = np.stack([embedding[1:-1], embedding[:-2], embedding[2:]], 1)
        stands, exchanged = (
            graphs(self.spec.graph, {"three": one})["out_order"] for one in (three, three[:, [0, 2, 1]])
        )
        likely = 1 / (1 + np.exp((stands - exchanged).astype(np.float64)))  # [W]
        return OrderAnswer(in_order=float(likely.mean()), windows=[float(one) for one in likely])
