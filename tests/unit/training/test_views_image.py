"""Views of an image: what each draw may and may not do."""

import numpy as np
from PIL import Image

from enfold.modalities.image import ImagePreprocess
from training.views import image as views

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_same_generator_gives_the_same_view():
    crops = [np.asarray(views.random_resized_crop(IMAGE, rng(7), size=16, scale=(0.05, 1))) for _ in range(2)]
    assert np.array_equal(*crops)


def test_a_crop_of_everything_is_a_resize():
    square = IMAGE[:, :40]
    crop = views.random_resized_crop(square, rng(), size=16, scale=(1, 1), ratio=(1, 1))
    whole = Image.fromarray(square).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(crop), np.asarray(whole))


def test_crops_have_the_area_and_shape_asked_for():
    boxes = [views.random_box(400, 300, rng(seed), (0.2, 0.6), (3 / 4, 4 / 3)) for seed in range(300)]
    sizes = np.array([(right - left, bottom - top) for left, top, right, bottom in boxes])
    share, shape = sizes.prod(1) / (400 * 300), sizes[:, 0] / sizes[:, 1]
    assert share.min() > 0.19
    assert share.max() < 0.61
    assert shape.min() > 0.74
    assert shape.max() < 1.35
    assert all(left >= 0 and right <= 400 and top >= 0 and bottom <= 300 for left, top, right, bottom in boxes)


def test_a_shape_that_never_fits_falls_back_to_the_centre():
    assert views.random_box(1000, 10, rng(), (1, 1), (3 / 4, 4 / 3)) == (493, 0, 506, 10)


def test_half_of_the_views_are_mirrored():
    view = Image.fromarray(IMAGE)
    flipped = [not np.array_equal(np.asarray(views.random_flip(view, rng(seed))), IMAGE) for seed in range(200)]
    assert 0.4 < np.mean(flipped) < 0.6


def test_jitter_of_no_strength_changes_nothing():
    still = views.color_jitter(
        Image.fromarray(IMAGE), rng(), probability=1, brightness=0, contrast=0, saturation=0, hue=0
    )
    assert np.abs(np.asarray(still).astype(int) - IMAGE).mean() < 1  # to HSV and back in 8 bits


def test_jitter_and_blur_happen_as_often_as_asked():
    view = Image.fromarray(IMAGE)
    jittered = [
        views.color_jitter(view, rng(s), probability=0.3, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.01)
        is not view
        for s in range(300)
    ]
    blurred = [views.random_blur(view, rng(s), probability=0.1) is not view for s in range(300)]
    assert 0.22 < np.mean(jittered) < 0.38
    assert 0.05 < np.mean(blurred) < 0.16


def test_a_view_is_normalised_as_serving_does():
    from enfold.modalities.image import Image as ImageModality

    preprocess = ImagePreprocess(size=16)
    square = IMAGE[:16, :16]
    served = ImageModality(preprocess).prepare(square)[0].arrays["image"]
    np.testing.assert_array_equal(views.to_array(Image.fromarray(square), preprocess), served)


def test_solarising_inverts_what_is_bright():
    solarised = np.asarray(views.random_solarise(Image.fromarray(IMAGE), rng(), probability=1))
    np.testing.assert_array_equal(solarised, np.where(IMAGE < 128, IMAGE, 255 - IMAGE))
    view = Image.fromarray(IMAGE)
    changed = [views.random_solarise(view, rng(seed), probability=0.2) is not view for seed in range(300)]
    assert 0.13 < np.mean(changed) < 0.27


def test_multi_crop_makes_two_large_crops_and_the_small_ones_asked_for():
    crop = views.MultiCrop(local_crops=5, local_size=8)
    large, small = crop(IMAGE, rng(), ImagePreprocess(size=16))
    assert (large.shape, small.shape) == ((2, 3, 16, 16), (5, 3, 8, 8))
    assert len({view.tobytes() for view in (*large, *small)}) == 7


def test_large_crops_show_more_of_the_image_than_small_ones():
    """Of a ramp from left to right, a crop's spread of values is the share of the width that it shows."""
    ramp = np.repeat(np.tile(np.arange(240, dtype=np.uint8), (240, 1))[..., None], 3, 2)
    crop = views.MultiCrop(
        local_crops=2,
        local_size=16,
        jitter_probability=0,
        gray_probability=0,
        blur_probability=(0, 0, 0),
        solarise_probability=(0, 0, 0),
    )
    shown = [
        [np.ptp(v) for v in crop(ramp, rng(seed), ImagePreprocess(size=16, mean=(0, 0, 0), std=(1, 1, 1)))]
        for seed in range(40)
    ]
    large, small = np.mean(shown, 0)
    assert large > 1.3 * small


def test_the_first_large_crop_is_always_blurred_and_only_the_second_is_solarised():
    sharp = {
        "jitter_probability": 0,
        "gray_probability": 0,
        "global_scale": (1, 1),
        "local_scale": (1, 1),
        "local_size": 16,
    }
    white = np.full((32, 32, 3), 255, np.uint8)
    preprocess = ImagePreprocess(size=16, mean=(0, 0, 0), std=(1, 1, 1))
    crops = [views.MultiCrop(**sharp)(white, rng(seed), preprocess) for seed in range(100)]
    dark = [[view.mean() < 0.5 for view in (*large, *small)] for large, small in crops]
    share = np.mean(dark, 0)
    assert share[0] == share[2:].max() == 0
    assert 0.1 < share[1] < 0.32


def moved(**change: object) -> np.ndarray:
    """The image under an affine view that changes nothing but what is asked for."""
    still = {"size": 40, "degrees": 0.0, "shift": 0.0, "scale": (1.0, 1.0), "background": (255, 0, 0)}
    return np.asarray(views.random_affine(IMAGE[:, :40], rng(), **(still | change)))


def test_an_affine_view_that_moves_nothing_is_a_resize():
    assert np.array_equal(moved(), IMAGE[:, :40])
    assert moved(size=16).shape == (16, 16, 3)


def test_the_background_shows_where_an_affine_view_has_left():
    for change in ({"degrees": 45.0}, {"shift": 0.5}, {"scale": (0.5, 0.5)}):
        red = (moved(**change) == (255, 0, 0)).all(2)
        assert red.any()
        assert not red.all()
