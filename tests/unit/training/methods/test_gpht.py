"""What makes it GPHT and no other: the card's invariants."""

import io

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.series import Series, SeriesPreprocess, Signal
from enfold.tasks import Prepared
from enfold.tasks.forecast import Forecast, ForecastSpec, rolled
from training.batches import Drawn
from training.encoders import build
from training.encoders.gpht import instance_norm
from training.heads import run_by
from training.methods import Item
from training.methods.gpht import GPHT

L, S, N = 56, 8, 7
PREPROCESS = SeriesPreprocess(window=L)
SMALL = {"segment": S, "pooling": [8, 4, 2, 1], "dim": 16, "depth": 1, "heads": 2}
RNG = np.random.default_rng(0)


def method(**config) -> GPHT:
    torch.manual_seed(0)
    return GPHT.build(build("gpht", SMALL, L), config, PREPROCESS)


def item(index: int = 0, steps: int = 300, channels: int = 2, label: int = 0, **payload) -> Item:
    rng = np.random.default_rng(index)
    values = np.sin(np.arange(steps) / 4)[:, None] * (1 + np.arange(channels)) + rng.normal(0, 0.1, (steps, channels))
    return Item(Series(PREPROCESS).read(values + 40), label, index, payload=payload)


def courses(count: int = 3) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=(count, L)).astype(np.float32))


def cascade(made: GPHT, x: torch.Tensor):
    with torch.no_grad():
        return made.eval().encoder.cascade(x, torch.ones(len(x), N, dtype=torch.bool))


@pytest.mark.parametrize("token", range(1, N))
def test_what_is_told_of_a_segment_knows_nothing_after_it(token):
    """With the statistics of the window held fixed: the cascade sees standardised courses."""
    made, x = method(), courses()
    changed = x.clone()
    changed[:, token * S :] += torch.randn(3, (N - token) * S)
    one, other = cascade(made, x), cascade(made, changed)
    for before, after in zip(one.told, other.told, strict=True):
        torch.testing.assert_close(after[:, : token * S], before[:, : token * S])
        assert (after[:, token * S :] - before[:, token * S :]).abs().max() > 1e-4


def test_a_stage_sees_what_the_one_before_has_not_told():
    made, x = method(), courses()
    found = cascade(made, x)
    torch.testing.assert_close(found.seen[0], x)
    for stage in range(3):
        late = torch.cat([torch.zeros(3, S), found.told[stage][:, :-S]], 1)
        torch.testing.assert_close(found.seen[stage + 1], found.seen[stage] - late)
        torch.testing.assert_close(found.seen[stage + 1][:, :S], x[:, :S])  # of the first segment nothing was told


def test_tokens_of_all_stages_stand_for_the_same_segments():
    found = cascade(method(), courses())
    assert [tokens.shape for tokens in found.tokens] == [(3, N, 16)] * 4
    with pytest.raises(WrongUse, match="must divide the segment"):
        build("gpht", SMALL | {"pooling": [3, 1]}, L)
    with pytest.raises(WrongUse, match="60 steps is no multiple of the segment, 8"):
        build("gpht", SMALL, 60)


def test_a_stage_pools_by_the_largest():
    made = method().eval()
    x = courses()
    coarse = x.unflatten(1, (-1, 8)).amax(2).repeat_interleave(8, 1)  # the first stage cannot tell them apart
    torch.testing.assert_close(cascade(made, coarse).told[0], cascade(made, x).told[0])
    assert (cascade(made, coarse).told[3] - cascade(made, x).told[3]).abs().max() > 1e-3


@pytest.mark.parametrize(("short", "long"), [(24, 168), (5, 50)])
def test_one_model_forecasts_any_horizon_and_a_shorter_one_is_the_beginning(short, long):
    made = method().eval()
    run = run_by(made.task_head.graphs(made.encoder, one_batch(made)))
    window = {name: values[:, :1] for name, values in one_batch(made).items()}
    one, other = (rolled(run, "forecast", window, horizon) for horizon in (short, long))
    assert one.shape[2] == short
    np.testing.assert_array_equal(one, other[..., :short])


def test_every_roll_norms_its_own_window():
    """A course at another level and scale is told the same, there: also what is told of what was told."""
    made = method().eval()
    run = run_by(made.task_head.graphs(made.encoder, one_batch(made)))
    x = courses(2)[:, None].numpy() * 10
    measured = np.ones_like(x)
    plain = rolled(run, "forecast", {"series": x, "measured": measured}, 40)
    moved = rolled(run, "forecast", {"series": x * 3 + 500, "measured": measured}, 40)
    np.testing.assert_allclose(moved, plain * 3 + 500, atol=0.05)


def test_the_loss_is_of_all_seven_segments_in_the_unit_of_the_inputs():
    made = method()
    batch = default_collate([made.example(item(), np.random.default_rng(k)) for k in range(5)])
    assert batch["series"].shape == (5, 1, L)
    assert batch["future"].shape == (5, 1, S)
    with torch.no_grad():
        told = made.encoder(batch).features["next"]
        wanted = torch.cat([batch["series"], batch["future"]], 2)[..., S:].unflatten(2, (N, S))
        torch.testing.assert_close(made(batch)["loss"], ((told - wanted) ** 2).mean())
        x, mean, spread = instance_norm(batch["series"][:, 0], batch["measured"][:, 0])
        inner = torch.stack(cascade(made, x).told).sum(0) * spread + mean
        torch.testing.assert_close(told[:, 0].flatten(1), inner)
    missing = dict(batch, known=torch.zeros_like(batch["known"]), future=batch["future"] + 9)
    torch.testing.assert_close(made(missing)["loss"], ((told - wanted)[:, :, :-1] ** 2).mean())


def test_an_example_is_a_window_of_one_channel_and_what_follows_it():
    made, one = method(), item(channels=3)
    values = one.value.values
    course = (values - values.mean(0)) / values.std(0)
    for seed in range(5):
        found = made.example(one, np.random.default_rng(seed))
        whole = np.concatenate([found["series"], found["future"]], 1)[0]
        views = np.lib.stride_tricks.sliding_window_view(course, L + S, axis=0)  # [starts, channels, L + S]
        assert np.abs(views - whole).max(2).min() < 1e-5
    short = made.example(item(1, steps=30), np.random.default_rng(0))
    assert short["measured"].sum() == 30 - S
    assert short["known"].all()


def test_tuning_the_heads_moves_nothing_else():
    made = method(heads_only=True)
    before = {name: weight.clone() for name, weight in made.named_parameters()}
    optimizer = torch.optim.AdamW(made.parameters(), 0.01)
    batch = default_collate([made.example(item(), np.random.default_rng(k)) for k in range(4)])
    for _ in range(2):
        optimizer.zero_grad()
        made(batch)["loss"].backward()
        optimizer.step()
    for name, weight in made.named_parameters():
        assert torch.equal(weight, before[name]) != name.startswith("encoder.heads."), name


def test_windows_are_drawn_by_their_number_and_no_data_set_makes_up_the_corpus():
    items = [item(0, 300, 1, 0), item(1, 300, 4, 1), item(2, 300, 4, 1), item(3, 12, 1, 2), item(4, 9, 1, 2)]
    made = method(most_windows=500)
    windows = made.windows(300)
    assert windows == 300 - L - S + 1
    drawn = made.sampler(items, 8, 0, 0)
    assert isinstance(drawn, Drawn)
    total = windows + 500 + 1
    np.testing.assert_allclose(drawn._shares, np.array([windows, 250, 250, 1, 0]) / total)
    batches = iter(drawn)
    first, second = next(batches), next(batches)
    assert next(iter(made.sampler(items, 8, 0, 1))) == second
    assert len({epoch for epoch, _ in first + second}) == 16  # each draw of an item is another window
    with pytest.raises(WrongUse, match="has the 10 steps"):
        made.sampler(items[4:], 8, 0, 0)


def test_errors_are_those_of_what_training_did_not_see(tmp_path):
    made = method().eval()
    late = item(steps=400, channels=1, fitted=300, starts=300)
    late.value.values[:300] = np.sin(np.arange(300) / 4)[:, None]
    found = made.calibrated([late])
    residuals = np.load(io.BytesIO(found.resources["residuals.npy"]))
    assert residuals.shape == ((400 - 300) // S, S)
    assert found.spec == {"residuals": "resources/residuals.npy"}
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources/residuals.npy").write_bytes(found.resources["residuals.npy"])
    task = Forecast(ForecastSpec(**made.task_head.spec(), **found.spec), tmp_path)
    modality = Series(PREPROCESS)
    run = run_by(made.task_head.graphs(made.encoder, one_batch(made)))
    [answer] = task.run(run, Prepared([modality.prepare(late.value)], {}), task.Options(horizon=20))
    assert answer.courses[0].quantiles["0.1"] < answer.courses[0].quantiles["0.9"]
    assert made.calibrated([]).spec == {}


def test_channels_know_nothing_of_each_other_and_missing_ones_of_nothing():
    made = method().eval()
    batch = {name: torch.from_numpy(values) for name, values in one_batch(made).items()}
    other = {name: values.clone() for name, values in batch.items()}
    other["series"][:, 1] = torch.randn(2, L)
    with torch.no_grad():
        one, two = made.encoder(batch), made.encoder(other)
        torch.testing.assert_close(one.features["next"][:, 0], two.features["next"][:, 0])
        padded = {name: torch.nn.functional.pad(values, (0, 0, 0, 2)) for name, values in batch.items()}
        wide = made.encoder(padded)
    torch.testing.assert_close(wide.embedding, one.embedding)
    torch.testing.assert_close(wide.tokens[:, : 2 * N], one.tokens)
    np.testing.assert_array_equal(wide.token_mask[0], [True] * 2 * N + [False] * 2 * N)


def test_segments_without_a_value_are_seen_by_none():
    made, x = method().eval(), courses()
    real = torch.ones(3, N, dtype=torch.bool)
    real[:, :2] = False
    with torch.no_grad():
        one = made.encoder.cascade(x, real)
        x[:, : 2 * S] += 5
        other = made.encoder.cascade(x, real)
    torch.testing.assert_close(one.told[0][:, 2 * S :], other.told[0][:, 2 * S :])


def one_batch(made: GPHT) -> dict[str, np.ndarray]:
    modality = Series(made.preprocess)
    return modality.collate([modality.prepare(Signal(item(i).value.values))[0] for i in range(2)])
