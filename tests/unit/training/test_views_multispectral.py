"""Views of rasters: ranges, shapes, and what each leaves as it was."""

import numpy as np
import pytest

from training.views import multispectral as views


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (5, 24, 20)).astype(np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(5))
def test_every_view_stays_a_raster_of_its_size_within_0_and_1(values, seed):
    drawn = rng(seed)
    view = views.random_resized_crop(values, drawn, size=16, scale=(0.2, 1.0))
    assert view.shape == (5, 16, 16)
    view = views.random_flips(view, drawn)
    view = views.random_light(view, drawn, probability=1.0, strength=0.4)
    view = views.random_band_mix(view, drawn, probability=0.5)
    view = views.random_blur(view, drawn, probability=1.0, radius=(0.1, 1.0))
    assert view.shape == (5, 16, 16)
    assert view.min() >= 0
    assert view.max() <= 1


def test_a_crop_of_everything_is_everything():
    square = np.random.default_rng(0).uniform(0, 1, (3, 16, 16)).astype(np.float32)
    whole = [views.random_resized_crop(square, rng(seed), size=16, scale=(1.0, 1.0)) for seed in range(20)]
    assert any(np.array_equal(view, square) for view in whole)
    assert all(abs(view.mean() - square.mean()) < 0.02 for view in whole)


def test_flips_go_along_both_axes(values):
    found = {views.random_flips(values, rng(seed)).tobytes() for seed in range(40)}
    expected = {np.flip(values, axes).tobytes() for axes in ((), (1,), (2,), (1, 2))}
    assert found == expected


def test_a_mixture_is_one_band_for_all(values):
    mixed = views.random_band_mix(values, rng(), probability=1.0)
    assert mixed.shape == values.shape
    assert (mixed == mixed[:1]).all()
    assert values.min() <= mixed.min() <= mixed.max() <= values.max()


def test_blur_keeps_bands_apart():
    values = np.zeros((3, 16, 16), np.float32)
    values[1] = 1
    blurred = views.random_blur(values, rng(), probability=1.0, radius=(2.0, 2.0))
    np.testing.assert_allclose(blurred, values, atol=1e-6)


def test_nothing_happens_with_probability_0(values):
    assert views.random_light(values, rng(), probability=0.0, strength=0.4) is values
    assert views.random_band_mix(values, rng(), probability=0.0) is values
    assert views.random_blur(values, rng(), probability=0.0, radius=(1.0, 2.0)) is values
