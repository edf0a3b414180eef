"""What enfold 0.1 wrote is read still: tests/data/written_by_0_1 has a bundle, a job, keys and a snapshot of it.

Whoever changes one of these formats keeps this passing, and adds a folder of the version before.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

import enfold
from enfold import settings
from serving.index import Query, open_index
from serving.jobs import record
from serving.jobs.ledger import Ledger
from serving.jobs.shards import Shards
from serving.keys import Keys, list_keys
from serving.snapshots import restore

TEXTS = ["red cat", "a dog sat", "blue", "green dog ran"]


@pytest.fixture
def earlier(home: Path) -> Path:
    shutil.copytree(Path(__file__).parents[1] / "data" / "written_by_0_1", home)
    return home


def test_its_bundle_gives_its_golden_vectors(earlier):
    model = enfold.open("words@prod")
    assert model.check() > 0.999999
    assert model.bundle.manifest.schema_version == 1


def test_its_job_is_known_and_its_vectors_are_those_of_today(earlier):
    job = record.read(earlier / "job")
    assert (job.kind, job.state) == ("embed", "done")
    ledger = Ledger(earlier / "job" / "ledger.sqlite")
    assert ledger.counts() == {"items": 4, "failed": 0, "vectors": 4}
    assert ledger.shards(indexed=True) == [1]
    ledger.close()
    kept = Shards(earlier / "job", job.id, {}).read(1)
    assert [payload["text"] for payload in kept.payloads] == TEXTS
    np.testing.assert_allclose(kept.vectors, enfold.open("words").embed(TEXTS).vectors, atol=1e-6)


def test_its_keys_open_the_door(earlier):
    [told] = list_keys()
    assert (told["name"], told["scope"], told["per_minute"]) == ("reports", "read", 600)
    assert Keys(settings.load()).admit("Bearer a key of 0.1", "read") == "reports"


def test_its_snapshot_comes_back(earlier):
    assert restore(earlier / "snapshot") == {"collection": "texts", "points": 4}
    index = open_index(settings.load(), "")
    model = enfold.open("words")
    [hit] = index.collection("texts").query(Query(model.embed(["blue"]).vectors[0], limit=1))
    assert hit.payload["text"] == "blue"
    assert index.collection("texts").facts.space == model.facts().space
    index.close()
