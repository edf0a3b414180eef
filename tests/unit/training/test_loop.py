"""The training loop: resuming, schedules, averages, and what it says when things go wrong."""

import json
import signal
import subprocess
import sys
import time
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from enfold.errors import Diverged, Unavailable, WrongUse
from tests import disks
from tests.unit.training import tiny
from training import checkpoint
from training.batches import Batches
from training.loop import Training, fit
from training.schedule import TrainConfig, learning_rate, train_config


def test_a_training_killed_in_the_middle_ends_with_the_same_weights_bit_for_bit(tmp_path: Path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    tiny.train(whole)
    child = subprocess.Popen([sys.executable, "-m", "tests.unit.training.tiny", str(broken)], stderr=subprocess.DEVNULL)
    while child.poll() is None and not ((last := checkpoint.latest(broken)) and checkpoint.step_of(last) >= 10):
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    stopped_at = checkpoint.step_of(checkpoint.latest(broken) or Path("checkpoint-0"))
    assert 10 <= stopped_at < tiny.TRAIN.steps
    assert not (broken / "method.safetensors").exists()
    tiny.train(broken)
    assert (whole / "method.safetensors").read_bytes() == (broken / "method.safetensors").read_bytes()
    steps = [json.loads(line)["step"] for line in (broken / "curves.jsonl").read_text().splitlines()]
    assert steps == list(range(10, tiny.TRAIN.steps + 1, 10))


def test_a_full_disk_stops_a_training_with_a_sentence_and_it_goes_on(tmp_path: Path):
    config = tiny.TRAIN.model_copy(update={"steps": 20})
    tiny.train(tmp_path / "whole", config)
    with disks.small(tmp_path / "small", 16) as disk:
        for kib in (8, 60, 120, 200, 280):
            disk.leave(kib)
            with pytest.raises((Unavailable, OSError), match="No space left"):
                tiny.train(disk.path / "run", config)
            if (kept := checkpoint.latest(disk.path / "run")) is not None:  # has its name, and so is whole
                assert checkpoint.SafeCheckpointIO().load_checkpoint(kept)["global_step"] == checkpoint.step_of(kept)
        disk.empty()
        tiny.train(disk.path / "run", config)
        weights = [(folder / "method.safetensors").read_bytes() for folder in (tmp_path / "whole", disk.path / "run")]
        assert weights[0] == weights[1]


def test_a_finished_training_is_not_done_again(tmp_path: Path):
    config = tiny.TRAIN.model_copy(update={"steps": 10})
    first = tiny.train(tmp_path, config)
    written = (tmp_path / "method.safetensors").stat().st_mtime_ns
    again = tiny.train(tmp_path, config)
    assert (tmp_path / "method.safetensors").stat().st_mtime_ns == written
    assert again["loss"] == first["loss"]
    assert not list(tmp_path.glob("checkpoint-*"))


def test_batches_are_a_pure_function_of_seed_and_step():
    from_start = list(islice(Batches(10, 3, 7, 0), 8))
    assert from_start[5:] == list(islice(Batches(10, 3, 7, 5), 3))
    assert from_start != list(islice(Batches(10, 3, 8, 0), 8))


def test_an_epoch_shows_an_item_at_most_once():
    first_epoch = [which for batch in islice(Batches(10, 3, 0, 0), 3) for which in batch]
    assert len({index for _, index in first_epoch}) == 9
    assert {epoch for epoch, _ in first_epoch} == {0}


def test_the_learning_rate_warms_up_and_ends_at_its_end():
    config = TrainConfig(steps=100, lr=1.0, lr_end=0.1, warmup_steps=10)
    rates = [learning_rate(config, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_only_matrices_decay():
    optimizer = Training(tiny.gmml(), tiny.TRAIN, 0).configure_optimizers()
    decayed, free = (group["params"] for group in optimizer.param_groups)
    assert all(weight.ndim >= 2 for weight in decayed)
    encoder = tiny.gmml().encoder.net
    assert {encoder.pos_embed.shape, encoder.cls_token.shape} <= {weight.shape for weight in free}


def test_the_average_of_the_weights_is_what_remains(tmp_path: Path):
    """With a decay near 1 the average hardly leaves the first weights, however far training went."""
    kept = TrainConfig(steps=20, batch=4, lr=1e-2, warmup_steps=10, ema=0.9999)
    gone = kept.model_copy(update={"ema": None})
    start = tiny.gmml().encoder.state_dict()["net.blocks.0.mlp.fc1.weight"]
    moved = []
    for config in (kept, gone):
        tiny.train(tmp_path / str(config.ema), config)
        weights = load_file(tmp_path / str(config.ema) / "method.safetensors")
        moved.append((weights["encoder.net.blocks.0.mlp.fc1.weight"] - start).abs().mean().item())
    assert moved[0] < 0.1 * moved[1]


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path):
    method = tiny.gmml()
    with torch.no_grad():
        method.to_pixels.weight.fill_(float("nan"))
    config = TrainConfig(steps=5, batch=4)
    with pytest.raises(Diverged, match=r"nan at step 0: lower train.lr"):
        fit(method, tiny.images(), config, tmp_path, seed=0, probe=None, threads=1)


def test_too_few_items_are_refused(tmp_path: Path):
    with pytest.raises(WrongUse, match=r"train.batch is 64, but there are only 16"):
        tiny.train(tmp_path, TrainConfig(steps=5))


def test_an_unknown_setting_is_named_with_the_known_ones():
    with pytest.raises(WrongUse, match=r"train: unknown key 'learning_rate'. Known: .*lr, lr_end"):
        train_config({"steps": 1, "learning_rate": 1.0})


def test_probes_stand_in_curves_and_figures(tmp_path: Path):
    looked = {"knn_accuracy": 0.5, "rankme": 4.0, "feature_std": 0.3}
    config = TrainConfig(steps=10, batch=4, probe_steps=5)
    figures = fit(tiny.gmml(), tiny.images(), config, tmp_path, seed=0, probe=lambda encoder: looked, threads=1)
    assert figures["knn_accuracy"] == 0.5
    assert figures["collapsed"] is False
    lines = [json.loads(line) for line in (tmp_path / "curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "rankme" in line] == [5, 10]
    assert list(tmp_path.glob("tensorboard/events*"))


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path):
    shared = torch.arange(6.0)
    state = {
        "state": {0: {"step": torch.tensor(3.0)}, 1: {"half": shared[:3], "whole": shared}},
        "list": [1, 2.5, "three", None, True],
        "bf16": torch.ones(2, dtype=torch.bfloat16),
    }
    checkpoint.SafeCheckpointIO().save_checkpoint(state, tmp_path / "checkpoint-1")
    back = checkpoint.SafeCheckpointIO().load_checkpoint(tmp_path / "checkpoint-1")
    assert back["list"] == state["list"]
    assert back["bf16"].dtype == torch.bfloat16
    assert set(back["state"]) == {0, 1}
    np.testing.assert_array_equal(back["state"][1]["half"].numpy(), shared[:3].numpy())


def test_a_half_written_checkpoint_is_not_seen_and_older_ones_go(tmp_path: Path):
    writer = checkpoint.SafeCheckpointIO()
    for step in (5, 10):
        writer.save_checkpoint({"step": step}, tmp_path / f"checkpoint-{step}")
    (tmp_path / "draft").mkdir()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-10"]
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoint-10"
