"""EMATeacher: what it keeps, how fast it follows."""

import pytest
import torch
from torch import nn

from training.blocks.ema_teacher import EMATeacher


def pair() -> tuple[nn.Module, nn.Module]:
    """Teacher and student: a layer and a batch norm, whose statistics are buffers."""
    torch.manual_seed(0)
    return tuple(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2))  # type: ignore[return-value]


def test_a_teacher_starts_as_its_student_and_learns_nothing_itself():
    teacher, student = pair()
    EMATeacher([(teacher, student)], (0.9, 1.0))
    for name, tensor in student.state_dict().items():
        assert torch.equal(teacher.state_dict()[name], tensor)
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert all(weight.requires_grad for weight in student.parameters())


@pytest.mark.parametrize(("progress", "kept"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_it_keeps_the_scheduled_share_of_itself(progress: float, kept: float):
    teacher, student = pair()
    follow = EMATeacher([(teacher, student)], (0.9, 1.0))
    before = teacher[0].weight.clone()  # type: ignore[index]
    nn.init.ones_(student[0].weight)  # type: ignore[index]
    follow.update(progress)
    torch.testing.assert_close(teacher[0].weight, kept * before + (1 - kept))  # type: ignore[index]


def test_buffers_follow_and_counters_are_copied():
    teacher, student = pair()
    follow = EMATeacher([(teacher, student)], (0.5, 0.5))
    student.train()(torch.randn(8, 3))
    follow.update(0.3)
    torch.testing.assert_close(teacher[1].running_mean, 0.5 * student[1].running_mean)  # type: ignore[index]
    assert teacher[1].num_batches_tracked == 1  # type: ignore[index]
