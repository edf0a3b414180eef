"""EMATeacher: modules that follow others as the average of all their past weights, and that no gradient reaches.

Tarvainen and Valpola 2017 (mean teacher), arXiv:1703.01780; the schedule is of Grill et al. 2020 (BYOL),
arXiv:2006.07733.
"""

from collections.abc import Sequence

import torch
from torch import nn

from training.schedule import cosine


class EMATeacher:
    """Keeps each teacher of `pairs` behind its student.

    What it knows is in the teachers' own weights and in the progress it is told, so a resumed training goes on exactly.
    """

    def __init__(self, pairs: Sequence[tuple[nn.Module, nn.Module]], momentum: tuple[float, float]):
        """pairs      (teacher, student), built alike; every teacher starts as its student
        momentum   share of itself that a teacher keeps in a step, at the start and at the end: a cosine between them
        """
        self._pairs, self._momentum = pairs, momentum
        for teacher, student in pairs:
            teacher.load_state_dict(student.state_dict())
            teacher.requires_grad_(False)

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """One step; `progress` runs from 0 to 1. Counters and the like are copied."""
        momentum = cosine(*self._momentum, progress)
        for teacher, student in self._pairs:
            now = student.state_dict()
            for name, average in teacher.state_dict().items():
                if average.is_floating_point():
                    average.lerp_(now[name], 1 - momentum)
                else:
                    average.copy_(now[name])
