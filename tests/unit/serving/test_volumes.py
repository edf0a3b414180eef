"""Scans over HTTP: each format gives the vector that it gives here; what makes no sense gets a 4xx and a sentence."""

import base64
import re
import struct

import nibabel
import numpy as np
import pytest

import enfold
from tests import bundles, scans
from tests.servers import start, stop, until

VALUES = np.random.default_rng(0).normal(100, 10, (12, 14, 10)).astype(np.float32)


def nifti(spacing: tuple[float, float, float] = (1, 1, 2)) -> bytes:
    return nibabel.Nifti1Image(VALUES, np.diag([*spacing, 1])).to_bytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("scans")
    bundles.volume_bundle(home / "bundles")
    running = start(home, "scans")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.nii", nifti()),
        ("a.nrrd", scans.nrrd_file()),
        ("a.dcm", scans.saved(scans.dicom(1))),
        ("a.dcm.zip", scans.series(*scans.whole())),
    ],
)
def test_a_scan_of_any_format_gets_the_vector_that_it_gets_here(http, server, monkeypatch, name, data):
    answer = http.post("/embed", data={"model": "scans"}, files=[("volume", (name, data))])
    assert answer.status_code == 200, answer.text
    as_json = http.post("/embed", json={"items": [{"volume": base64.b64encode(data).decode()}]})
    assert as_json.json() == answer.json()
    monkeypatch.setenv("ENFOLD_HOME", str(server.home))
    here = enfold.open("scans").embed([data]).vectors
    np.testing.assert_allclose([row["vector"] for row in answer.json()["vectors"]], here, atol=1e-5)


@pytest.mark.parametrize("route", ["/embed", "/predict"])
@pytest.mark.parametrize(
    ("data", "status", "sentence"),
    [
        (nifti(spacing=(1, 1, 900)), 422, "1 x 1 x 900 mm; 0.01 to 50 mm are taken"),
        (nifti()[:280] + struct.pack("<12f", *[0.0] * 12) + nifti()[328:], 422, "affine .* cannot be inverted"),
        (scans.nrrd_file(**{"space directions": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}), 422, "cannot be inverted"),
        (scans.series(*scans.whole()[:3], *scans.whole()[4:]), 422, "some are missing"),
        (scans.saved(scans.dicom(0, Rows=60_000, Columns=60_000)), 413, "60000 x 60000 x 1 voxels; at most"),
        (nifti()[:2000], 422, "damaged or cut short"),
        (b"", 422, "no NIfTI, NRRD, DICOM"),
    ],
)
def test_a_scan_that_makes_no_sense_gets_a_4xx_with_its_sentence(http, route, data, status, sentence):
    body = {"items": [{"volume": base64.b64encode(data).decode()}]}
    answer = http.post(route, json=body)
    assert answer.status_code == status, answer.text
    assert re.search(sentence, answer.json()["detail"])
    assert http.post(route, json=body | {"items": [{"volume": base64.b64encode(nifti()).decode()}]}).status_code == 200
