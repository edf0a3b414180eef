"""Splats: read as their files store them, seen alike in any order, unit and place; what is none is refused."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from enfold import modalities
from enfold.errors import BadItem, TooLarge
from enfold.modalities.splats import (
    COLUMNS,
    PROPERTIES,
    SHADE,
    Splats,
    SplatsLimits,
    SplatsPreprocess,
    normalized,
    patched,
    ply,
    redrawn,
    rendered,
    restored,
    rotations,
)
from tests.examples import splats

RNG = np.random.default_rng(0)
CLOUD = splats(400)
MODALITY = Splats(SplatsPreprocess(splats=128, patches=16, neighbours=8))
FRONT = np.eye(3)  # x to the right, y upwards, z away


def text(rows: np.ndarray, names: tuple[str, ...] = PROPERTIES) -> bytes:
    """Rows as they stand, in an ASCII .ply file."""
    lines = ["ply", "format ascii 1.0", f"element vertex {len(rows)}", *(f"property float {name}" for name in names)]
    return "\n".join([*lines, "end_header", *(" ".join(map(repr, row.tolist())) for row in rows), ""]).encode()


def one(place=(0, 0, 0), opacity=0.9, scale=(0.1, 0.1, 0.1), turn=(1, 0, 0, 0), shade=(1, 0, 0)) -> np.ndarray:
    return np.array([*place, opacity, *scale, *turn, *((np.array(shade) - 0.5) / SHADE)], float)


def test_a_ply_file_is_points_by_default_and_splats_where_those_are_known():
    assert modalities.of_path("thing.ply") == "points"
    assert modalities.of_path("thing.ply", among=["splats"]) == "splats"


def test_logits_and_logarithms_are_undone_and_rotations_brought_to_one_sign():
    stored = np.tile([1.0, 2, 3, 0, np.log(2), 0, -1, -2, 0, 0, 0, 0.5, 0, 0], (8, 1))
    stored[:, 0] += np.arange(8)
    found = MODALITY.read(text(stored))
    expected = [1, 2, 3, 0.5, 2, 1, np.exp(-1), 1, 0, 0, 0, 0.5, 0, 0]
    np.testing.assert_allclose(found[0], expected, atol=1e-12)


def test_binary_files_of_either_byte_order_and_texts_are_one_set():
    little = ply(CLOUD)
    head, _, body = little.partition(b"end_header\n")
    swapped = np.frombuffer(body, "<f4").astype(">f4").tobytes()
    found = [little, head.replace(b"little", b"big") + b"end_header\n" + swapped]
    rows = np.frombuffer(body, "<f4").reshape(400, 17)
    names = tuple(re.findall(r"property float (\w+)", head.decode()))
    found.append(text(rows.astype(float), names))
    for file in found:
        np.testing.assert_allclose(MODALITY.read(file), CLOUD, atol=2e-5)


def test_what_is_written_is_what_was_read():
    read = MODALITY.read(ply(CLOUD))
    np.testing.assert_allclose(MODALITY.read(ply(read)), read, atol=2e-5)


def test_neither_order_nor_unit_nor_place_changes_what_the_encoder_sees():
    [seen] = MODALITY.prepare(MODALITY.read(CLOUD))
    larger, moved = CLOUD.copy(), CLOUD.copy()
    larger[:, :3], larger[:, COLUMNS["scale"]] = CLOUD[:, :3] * 100, CLOUD[:, COLUMNS["scale"]] * 100
    moved[:, :3] += (5e4, 5e5, 100)
    mirrored = CLOUD.copy()
    mirrored[:, COLUMNS["rotation"]] *= -1  # the same rotations
    for other in (CLOUD[RNG.permutation(len(CLOUD))], larger, moved, mirrored):
        [again] = MODALITY.prepare(MODALITY.read(other))
        for name, values in seen.arrays.items():
            np.testing.assert_allclose(again.arrays[name], values, atol=2e-6)


def test_normalising_brings_every_attribute_to_one_size_and_is_undone():
    columns, frame = normalized(CLOUD)
    assert np.abs(columns).max() <= 1 + 1e-9
    for name in ("xyz", "scale"):
        assert np.linalg.norm(columns[:, COLUMNS[name]], axis=1).max() == pytest.approx(1)
        np.testing.assert_allclose(columns[:, COLUMNS[name]].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(restored(columns, frame), CLOUD, atol=1e-9)


def test_splats_are_drawn_with_replacement_whatever_their_order():
    drawn = redrawn(CLOUD, 400, np.random.default_rng(0))
    assert len(np.unique(drawn, axis=0)) == pytest.approx(400 * (1 - 1 / np.e), rel=0.1)
    shuffled = redrawn(CLOUD[RNG.permutation(400)], 400, np.random.default_rng(0))
    np.testing.assert_array_equal(shuffled, drawn)
    together = CLOUD.copy()
    together[:, :3] = np.round(CLOUD[:, :3])  # many at one place
    drawn, shuffled = (
        redrawn(rows, 400, np.random.default_rng(0)) for rows in (together, together[RNG.permutation(400)])
    )
    np.testing.assert_array_equal(shuffled, drawn)


@pytest.mark.parametrize("grouped_by", ["place", "attributes"])
def test_groups_are_of_what_is_nearest_by_place_or_by_all_attributes(grouped_by):
    spec = SplatsPreprocess(splats=100, patches=8, neighbours=5, grouped_by=grouped_by)
    columns, _ = normalized(CLOUD[:100])
    centres, patches = patched(columns, spec)
    near = columns[:, :3] if grouped_by == "place" else columns
    for centre, patch in zip(centres, patches, strict=True):
        own = np.argmin(np.abs(columns - centre).sum(1))
        order = np.argsort(np.linalg.norm(near - near[own], axis=1), kind="stable")[:5]
        np.testing.assert_allclose(patch[:, :3], columns[order, :3] - centre[:3], atol=1e-6)
        np.testing.assert_allclose(patch[:, 3:], columns[order, 3:], atol=1e-6)


def test_attributes_that_are_not_looked_at_leave_no_column():
    spec = SplatsPreprocess(splats=64, patches=8, neighbours=4, attributes=("xyz", "scale"))
    assert Splats(spec).input_size == 6
    assert spec.columns == {"xyz": slice(0, 3), "scale": slice(3, 6)}
    [seen] = Splats(spec).prepare(CLOUD)
    assert seen.arrays["patches"].shape == (8, 4, 6)
    other = CLOUD.copy()
    other[:, COLUMNS["sh"]] = 0  # of which the order of drawing, by place, takes no notice
    np.testing.assert_array_equal(Splats(spec).prepare(other)[0].arrays["patches"], seen.arrays["patches"])
    for wrong in (("scale", "xyz"), ("opacity",), ("xyz", "xyz")):
        with pytest.raises(ValueError, match="in this order"):
            SplatsPreprocess(attributes=wrong)


def test_windows_of_a_large_capture_are_parts():
    far = CLOUD.copy()
    far[:, 0] += 60
    modality = Splats(SplatsPreprocess(splats=64, patches=8, neighbours=8, window=30.0))
    samples = modality.prepare(np.concatenate([CLOUD, far]), parts=True)
    assert [sample.part.index for sample in samples] == list(range(len(samples)))
    assert len(samples) > 1
    limited = Splats(modality.preprocess, SplatsLimits(max_parts=1))
    with pytest.raises(TooLarge, match="1 to 1 are taken"):
        limited.prepare(np.concatenate([CLOUD, far]), parts=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rows": 0}, "there are 0 splats; a shape needs 8"),
        ({"rows": 1}, "there are 1 splats; a shape needs 8"),
        ({"column": 2, "to": np.nan}, "splat 7 has a 'z' that is not finite"),
        ({"column": 13, "to": np.inf}, "splat 7 has a 'f_dc_2' that is not finite"),
        ({"column": 0, "to": 1e30}, r"reach to 1e\+30 by xyz; 1e\+15 is the most"),
        ({"column": 5, "to": 1e30}, r"reach to 1e\+30 by scale"),
        ({"column": 3, "to": 1.5}, "opacities are from 0 to 1"),
        ({"column": slice(7, 11), "to": 0}, "splat 7 has a rotation of length 0"),
    ],
)
def test_what_is_no_set_of_splats_is_said(change, sentence):
    rows = CLOUD[: change.get("rows", 50)].copy()
    if "to" in change:
        rows[7, change["column"]] = change["to"]
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(rows)
    if "rows" in change or change["column"] in (2, 13, 0):
        with pytest.raises(BadItem, match=sentence):
            MODALITY.read(ply(rows))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"float opacity", b"float clarity", "lacks opacity: splats have x, y, z"),
        (b"property float rot_3\n", b"", "lacks rot_3"),
        (b"vertex 400", b"vertex 100000000", "there are 100,000,000 splats; at most 2,000,000"),
        (b"vertex 400", b"vertex 401", "cut short: 401 splats have 27,268 bytes, it holds 27,200"),
        (b"element vertex", b"element face", "does not begin with its vertices"),
        (b"end_header", b"end_of_it", "its header does not end"),
        (b"binary_little_endian", b"binary", "names no format"),
        (b"property float nx", b"property list uchar int nx", "a property that no splat has: 'property list"),
    ],
)
def test_files_that_are_none_of_splats_are_refused_by_their_header(old, new, sentence):
    with pytest.raises(BadItem, match=sentence):
        MODALITY.read(ply(CLOUD).replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new"), [(b"0.25", b"a quarter"), (b"\n7.0 ", b"\n"), (b"\n7.0 ", b"\n\xff "), (b"7.0 0.25", b"")]
)
def test_texts_of_fewer_or_other_numbers_are_refused(old, new):
    rows = np.zeros((8, 14))
    rows[:, 0], rows[:, 1], rows[:, 7] = np.arange(8), 0.25, 1
    assert len(MODALITY.read(text(rows))) == 8
    damaged = text(rows)[::-1].replace(old[::-1], new[::-1], 1)[::-1]  # in the last line
    with pytest.raises(BadItem, match="damaged or cut short: it announces 8 lines of 14 numbers"):
        MODALITY.read(damaged)
    with pytest.raises(BadItem, match="announces 8 lines"):
        MODALITY.read(text(rows).partition(b"end_header\n")[0] + b"end_header\n")


def test_limits_hold_before_splats_are_read():
    announced = ply(CLOUD).partition(b"end_header\n")[0].replace(b"vertex 400", b"vertex 100000000") + b"end_header\n"
    with pytest.raises(TooLarge, match="100,000,000"):
        MODALITY.read(announced)  # there is no body to parse
    with pytest.raises(TooLarge, match="at most 399"):
        Splats(MODALITY.preprocess, SplatsLimits(max_splats=399)).read(CLOUD)


def test_a_quaternion_is_w_first():
    quarter = np.sqrt(0.5)
    [about_z] = rotations(np.array([[quarter, 0, 0, quarter]]))
    np.testing.assert_allclose(about_z @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_the_nearer_splat_covers_the_farther_one_and_opacities_add_up_to_at_most_one():
    red, green = one(place=(0, 0, -0.5)), one(place=(0, 0, 0.5), shade=(0, 1, 0))
    for rows in (np.stack([red, green]), np.stack([green, red])):
        picture = rendered(rows, FRONT, 33)
        expected = (0.9, 0.9 * 0.1, 0, 0.99)
        np.testing.assert_allclose(picture[16, 16], expected, atol=0.01)
        assert picture[..., 3].max() <= 1


def test_a_long_splat_lies_as_it_is_turned():
    quarter = np.sqrt(0.5)
    for turn, upright in (((1, 0, 0, 0), False), ((quarter, 0, 0, quarter), True)):
        cover = rendered(one(scale=(0.5, 0.02, 0.02), turn=turn)[None], FRONT, 32)[..., 3]
        assert (cover[:, 16].sum() > 3 * cover[16].sum()) == upright


def test_a_thumbnail_shows_colours_where_they_are_and_leaves_strays_out():
    lower, upper = CLOUD[:200].copy(), CLOUD[200:].copy()
    lower[:, 2], upper[:, 2] = RNG.uniform(-6, -3, 200), RNG.uniform(3, 6, 200)
    lower[:, COLUMNS["sh"]], upper[:, COLUMNS["sh"]] = (1.7, -1.7, -1.7), (-1.7, -1.7, 1.7)
    stray = lower[:1].copy()
    stray[:, :3] = 1e6
    for extra in (lower[:0], stray):
        thumbnail = MODALITY.thumbnail(np.concatenate([lower, upper, extra]), 64)
        picture = np.asarray(Image.open(io.BytesIO(thumbnail)).convert("RGB")).astype(float)
        above, below = picture[:28].mean((0, 1)), picture[36:].mean((0, 1))
        assert above[2] > above[0] + 10
        assert below[0] > below[2] + 10


def test_a_thumbnail_of_many_splats_looks_like_that_of_few(monkeypatch):
    many = splats(3000)
    many[:, COLUMNS["scale"]] *= 0.7
    pictures = []
    for most in (4096, 1000):
        monkeypatch.setattr("enfold.modalities.splats.DRAWN", most)
        picture = Image.open(io.BytesIO(MODALITY.thumbnail(many, 48))).convert("L").resize((12, 12))
        pictures.append(np.asarray(picture).astype(float))
    assert np.corrcoef(pictures[0].ravel(), pictures[1].ravel())[0, 1] > 0.9
