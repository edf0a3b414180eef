"""Views of series and rows: what training on labels sees of them."""

from pathlib import Path

import numpy as np
import pytest

from enfold.modalities.series import Series, SeriesPreprocess, Signal
from tests.examples import examples, reader
from training.views import plain

READER = Series(SeriesPreprocess(window=8, channels=1, times="scaled"))


def test_a_window_comes_from_anywhere_in_a_series_at_the_level_of_the_whole():
    value = READER.read(Signal(np.arange(20.0)[:, None], np.arange(20.0) ** 2))
    views = [plain(READER)(value, np.random.default_rng(seed)) for seed in range(60)]
    firsts = {float(view["series"][0, 0]) for view in views}
    level = (np.arange(20) - 9.5) / np.arange(20).std()
    np.testing.assert_allclose(sorted(firsts), level[:13], rtol=1e-5)
    assert all((view["times"][0], view["times"][-1]) == (0, 1) for view in views)


def test_a_short_series_is_its_own_view():
    value = READER.read(np.arange(5.0))
    view, [seen] = plain(READER)(value, np.random.default_rng(0)), READER.prepare(value)
    for name, array in seen.arrays.items():
        np.testing.assert_array_equal(view[name], array)


def test_rows_of_different_lengths_stack(tmp_path: Path):
    table = reader("table", tmp_path)
    rows = [table.read(data) for data in examples("table").files.values()] + [table.read({"age": 40})]
    views = [plain(table)(row, np.random.default_rng(0)) for row in rows]
    assert {view["kinds"].shape for view in views} == {(table.preprocess.max_tokens,)}
    [seen] = table.prepare(rows[-1])
    assert views[-1]["values"][: len(seen.arrays["values"])] == pytest.approx(seen.arrays["values"])
