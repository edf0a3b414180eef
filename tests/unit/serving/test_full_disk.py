"""A disk that is full at any write of a job or of the index: a sentence, nothing half-written, the same goes on."""

from collections.abc import Iterator

import numpy as np
import pytest
from pyarrow import parquet

from enfold import settings
from enfold.errors import Conflict, Unavailable
from serving import snapshots
from serving.index import Points, open_index
from serving.index.room import MIB
from serving.jobs import layout, pipeline
from serving.jobs.embed import embed
from tests import bundles, disks
from tests.disks import Disk
from tests.unit.serving.conftest import new_collection, pictures, points, uuid
from tests.unit.serving.test_embed import kept

LEFT = [0, 4, 16, 40, 80, 200, 1000, 20_000]  # KiB: the disk is full at one write after the other


@pytest.fixture
def disk(home, tmp_path, monkeypatch) -> Iterator[Disk]:
    monkeypatch.setattr(pipeline, "SHARD_ITEMS", 4)
    monkeypatch.setattr(layout, "FEW", 999)
    monkeypatch.setenv("ENFOLD_BUNDLES", str(tmp_path / "bundles"))
    bundles.image_bundle(tmp_path / "bundles")
    with disks.small(home, 400) as found:
        yield found


@pytest.mark.parametrize("to", ["parquet", "index"])
def test_a_job_stops_with_a_sentence_and_goes_on(disk, tmp_path, to):
    folder, stopped = pictures(tmp_path / "photos", 12), []
    for kib in LEFT:
        name = f"things-{kib}"
        target = f"index://{name}" if to == "index" else f"parquet://{disk.path / name}"
        disk.leave(kib)
        try:
            embed(str(folder), model="tiny", to=target)
        except (Unavailable, OSError) as error:
            stopped.append(str(error))
            for file in (disk.path / name).glob("part-*.parquet"):
                parquet.read_table(file)  # whole, as everything that has its name
        disk.empty()
        assert embed(str(folder), model="tiny", to=target)["vectors"] == 12
        if to == "index":
            assert len(kept(name)) == 12
    assert len(stopped) >= 4
    assert all("No space left" in said or "make room" in said for said in stopped)


def test_points_are_refused_before_the_engine_finds_no_room(disk):
    """It writes through mapped memory: without room the process would end, and a server with it."""
    index = open_index(settings.load(), "")
    things = index.create(new_collection())
    things.upsert(points())
    disk.leave(MIB * 1024 - 100)
    more = Points([uuid(100 + i) for i in range(6)], points().vectors, points().payloads, points().space)
    with pytest.raises(Unavailable, match=r"MiB left, and the index wants 64 .* make room"):
        things.upsert(more)
    with pytest.raises(Unavailable, match="make room"):
        index.create(new_collection("others"))
    assert things.info().points == 6  # reads go on
    disk.empty()
    assert things.upsert(more) == 6
    index.close()


def test_a_snapshot_without_room_leaves_nothing(disk, tmp_path):
    index = open_index(settings.load(), "")
    vectors = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    index.create(new_collection()).upsert(Points([uuid(i) for i in range(400)], vectors, [{}] * 400, "sp_a"))
    index.close()
    with disks.small(tmp_path / "elsewhere", 1) as other:
        other.leave(4)
        with pytest.raises(Unavailable, match="cannot be written"):
            snapshots.snapshot("things", other.path / "kept")
        assert not [file for file in other.path.iterdir() if file.name != "filler"]
        other.empty()
        assert snapshots.snapshot("things", other.path / "kept")["points"] == 400
        with pytest.raises(Conflict):
            snapshots.snapshot("things", other.path / "kept")
