"""DPT: shown what somebody got in a task never seen before, say which action is the best one in it.

Lee, Xie et al., "Supervised Pretraining Can Learn In-Context Reinforcement Learning", NeurIPS 2023, arXiv:2306.14892.
Tasks and contexts are drawn anew for every example, where the paper goes over 100,000 of them for hundreds of epochs.
The empty context has its loss too, which the released code leaves out. Steps of a context are drawn independently of
each other, so that any order of them is as likely.
"""
# B tasks, N = 1 + H tokens, A actions

from collections.abc import Iterable, Sequence

import numpy as np
from pydantic import BaseModel
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from enfold.modalities.trajectory import TrajectoryPreprocess, tokens
from training.batches import Drawn
from training.data.arms import Bandits
from training.data.darkroom import Darkroom
from training.encoders import Encoder
from training.encoders.transition_gpt import TransitionGPT
from training.heads.actions import Actions, ActionsConfig
from training.methods import Batch, Item, Losses, Method


class DPTConfig(BaseModel, frozen=True, extra="forbid"):
    tasks: Bandits | Darkroom = Bandits()  # the family that they are drawn from


class DPT(Method):
    Config = DPTConfig
    config: DPTConfig
    task_head: Actions

    def __init__(self, encoder: Encoder, config: DPTConfig, preprocess: TrajectoryPreprocess):
        super().__init__(encoder, config, preprocess)
        if not isinstance(encoder, TransitionGPT):
            raise WrongUse("method 'dpt' reads a context step by step: it needs encoder 'transition_gpt'")
        if preprocess.horizon + 1 > encoder.config.positions:
            raise WrongUse(
                f"preprocess.horizon is {preprocess.horizon}: encoder.config.positions must be one more, at least, and "
                f"is {encoder.config.positions}"
            )
        needed = (config.tasks.state, len(config.tasks.names))
        if (preprocess.state, preprocess.actions) != needed:
            raise WrongUse(f"for these tasks set preprocess.state = {needed[0]} and actions = {needed[1]}")
        self.task_head = Actions(encoder, ActionsConfig(names=config.tasks.names))

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """steps [N, F] and mask [N] of a new task, and the best action in it; the item only says how many."""
        steps, best = self.config.tasks.example(rng, self.preprocess.horizon)
        made = tokens(steps, self.preprocess.actions, slice(None))
        return made | {"best": np.array(best)}

    def forward(self, batch: Batch) -> Losses:
        """The best action is to be told after every step, and before the first."""
        encoded = self.encoder({name: batch[name] for name in ("steps", "mask")})
        logits = self.task_head(encoded.tokens)  # [B, N, A]
        wanted = batch["best"][:, None].expand(-1, logits.shape[1])
        right = (logits[:, -1].argmax(1) == batch["best"]).to(logits.dtype).mean()
        return {"loss": F.cross_entropy(logits.transpose(1, 2), wanted), "accuracy": right}

    def sampler(self, items: Sequence[Item], batch: int, seed: int, start: int) -> Iterable[list[tuple[int, int]]]:
        """Never the same example again."""
        return Drawn(np.ones(len(items)), batch, seed, start)


METHOD = DPT
