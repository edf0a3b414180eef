"""act: which action to take next, from what was seen, done and got so far; the weights stay as they are.

Online the action is drawn from the probabilities, so that what is not known yet is tried; offline, where nothing can be
tried, it is the most probable one (Lee et al. 2023, DPT, arXiv:2306.14892).
"""
# B items, A actions

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from enfold.modalities import Spec
from enfold.tasks import Graphs, Prepared, Task, softmax


class ActSpec(Spec):
    names: tuple[str, ...]  # of the actions
    head: str  # the graph: out_embedding [B, D] -> out_act [B, A]


class ActOptions(BaseModel, extra="forbid"):
    mode: Literal["offline", "online"] = Field(
        "offline", description="online: the action is drawn, to learn from it; offline: it is the most probable one"
    )
    seed: int | None = Field(None, ge=0, description="of the draw, online; the same seed draws the same")


class ActAnswer(BaseModel):
    action: int = Field(description="counted from 0")
    name: str = Field(description="what the action is called")
    probabilities: list[float] = Field(description="of each action to be the best one")
    mode: Literal["offline", "online"]


class Act(Task[ActAnswer]):
    name, modality = "act", "trajectory"
    Spec, Options, Answer = ActSpec, ActOptions, ActAnswer

    def run(self, graphs: Graphs, prepared: Prepared, options: ActOptions) -> list[ActAnswer]:
        logits = graphs(self.spec.head, {"embedding": prepared.encoded["out_embedding"]})["out_act"]
        probabilities = softmax(logits)
        chosen = taken(probabilities, options.mode, np.random.default_rng(options.seed))
        return [
            ActAnswer(action=int(action), name=self.spec.names[action], probabilities=row.tolist(), mode=options.mode)
            for action, row in zip(chosen, probabilities, strict=True)
        ]

    def measure(self, answers: Sequence[ActAnswer], truth: Sequence[str]) -> dict[str, float]:
        """accuracy, and the mean probability of the best action.

        truth   the name of the best action of each item
        """
        best_ones = [self.spec.names.index(name) for name in truth]
        right = [answer.action == best for answer, best in zip(answers, best_ones, strict=True)]
        sure = [answer.probabilities[best] for answer, best in zip(answers, best_ones, strict=True)]
        return {"accuracy": float(np.mean(right)), "probability": float(np.mean(sure))}


def taken(probabilities: np.ndarray, mode: str, rng: np.random.Generator) -> np.ndarray:
    """Actions of rows [B, A]: drawn, or the most probable. [B]"""
    if mode == "offline":
        best: np.ndarray = probabilities.argmax(1)
        return best
    below = probabilities.cumsum(1)
    drawn: np.ndarray = (rng.random((len(below), 1)) * below[:, -1:] >= below).sum(1)
    return np.minimum(drawn, below.shape[1] - 1)
