"""The embedding job: real processes, real files; killed anywhere it goes on, nothing lost and nothing twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import enfold
from enfold import settings
from enfold.errors import BadItem, Conflict, SpaceMismatch, Unavailable, WrongUse
from enfold.points import point_id
from serving.index import open_index
from serving.jobs import pipeline
from serving.jobs.embed import Embedding, embed
from tests import bundles, faults
from tests.servers import environment
from tests.unit.serving.conftest import pictures


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_ITEMS", 4)


def kept(name="things"):
    index = open_index(settings.load(), "")
    found = list(index.collection(name).scroll())
    index.close()
    rows = [row for points in found for row in zip(points.ids, points.vectors, points.payloads, strict=True)]
    return {id: (vector, payload) for id, vector, payload in rows}


def test_a_folder_becomes_a_collection_with_layout(image_bundle, tmp_path, home):
    folder = pictures(tmp_path / "photos", 10)
    done = embed(str(folder), model="tiny", to="index://things")
    assert {name: done[name] for name in ("items", "failed", "vectors", "skipped", "dead_letters")} == {
        "items": 10, "failed": 0, "vectors": 10, "skipped": 0, "dead_letters": None,
    }  # fmt: skip
    points = kept()
    file = folder / "red" / "0003.png"
    vector, payload = points[point_id(folder.as_uri(), "red/0003.png")]
    np.testing.assert_allclose(vector, enfold.open("tiny").embed([file]).vectors[0], atol=1e-5)
    assert payload == {
        "source": folder.as_uri(),
        "item": "red/0003.png",
        "label": "red",
        "space": image_bundle.manifest.entries["image"].space,
        "bundle": "tiny@1",
    }
    index = open_index(settings.load(), "")
    assert index.collection("things").notes("layout").num_rows == 10
    assert index.collection("things").thumbnail(point_id(folder.as_uri(), "red/0003.png"))[8:12] == b"WEBP"
    index.close()


def test_parquet_holds_ids_vectors_and_payload(image_bundle, tmp_path, small_shards):
    folder, out = pictures(tmp_path / "photos", 10), tmp_path / "out"
    done = embed(str(folder), model="tiny", to=f"parquet://{out}")
    assert sorted(file.name for file in out.iterdir()) == [f"part-0000{n}.parquet" for n in (1, 2, 3)]
    table = parquet.read_table(out)
    assert table.num_rows == done["vectors"] == 10
    assert len(set(table["id"].to_pylist())) == 10
    assert {"id", "vector", "source", "item", "label", "space", "bundle"} <= set(table.column_names)
    metadata = parquet.read_schema(out / "part-00001.parquet").metadata
    assert metadata[b"space"].decode() == image_bundle.manifest.entries["image"].space
    assert metadata[b"model"] == b"tiny@1"


def test_a_limit_does_the_beginning_and_without_it_the_rest_is_done(image_bundle, tmp_path, small_shards):
    folder, to = pictures(tmp_path / "photos", 10), f"parquet://{tmp_path / 'out'}"
    some = embed(str(folder), model="tiny", to=to, limit=3)
    assert (some["vectors"], some["skipped"]) == (3, 0)
    whole = embed(str(folder), model="tiny", to=to)
    assert (whole["vectors"], whole["skipped"]) == (10, 3)


def test_shards_of_a_work_are_the_whole_and_nothing_twice(image_bundle, tmp_path):
    folder, to = pictures(tmp_path / "photos", 10), f"parquet://{tmp_path / 'out'}"
    done = [embed(str(folder), model="tiny", to=to, shard=f"{number}/3") for number in (1, 2, 3)]
    assert sum(one["vectors"] for one in done) == 10
    files = sorted((tmp_path / "out").rglob("part-*.parquet"))
    assert [file.parent.name for file in files] == ["shard-1-of-3", "shard-2-of-3", "shard-3-of-3"]
    items = [item for file in files for item in parquet.read_table(file)["item"].to_pylist()]
    assert len(set(items)) == len(items) == 10
    before = {file: parquet.read_table(file)["item"].to_pylist() for file in files}
    pictures(folder, 5, first=10)  # what was there stays with its share when the source grows
    for number in (1, 2, 3):
        embed(str(folder), model="tiny", to=to, shard=f"{number}/3")
    now = {file: parquet.read_table(file)["item"].to_pylist() for file in (tmp_path / "out").rglob("part-*.parquet")}
    assert before.items() <= now.items()
    assert sorted(item for own in now.values() for item in own) == sorted(
        {item for own in now.values() for item in own}
    )
    assert sum(map(len, now.values())) == 15


def test_a_share_without_items_is_done_at_once(image_bundle, tmp_path):
    folder = str(pictures(tmp_path / "photos", 1))
    shares = [embed(folder, model="tiny", to="index://things", shard=f"{number}/9") for number in range(1, 10)]
    assert sorted(one["vectors"] for one in shares) == [0] * 8 + [1]
    told = [
        embed(folder, model="tiny", to="index://things", shard=f"{number}/9", dry_run=True) for number in range(1, 10)
    ]
    assert sum(one["vectors_about"] for one in told) == 1


@pytest.mark.parametrize("told", ["0/3", "4/3", "1", "a/b", "1/0", "1/99999"])
def test_a_shard_that_is_none_is_refused(image_bundle, tmp_path, told):
    with pytest.raises(WrongUse, match="give I/N"):
        embed(str(pictures(tmp_path / "photos", 2)), model="tiny", to="index://things", shard=told)


def test_dead_letters_are_tried_again_when_asked(image_bundle, tmp_path):
    folder, to = pictures(tmp_path / "photos", 4), f"parquet://{tmp_path / 'out'}"
    bad = folder / "red" / "0000.png"
    good = bad.read_bytes()
    bad.write_bytes(b"no picture"[: len(good)].ljust(len(good), b"."))
    at = bad.stat().st_mtime_ns
    assert embed(str(folder), model="tiny", to=to)["failed"] == 1
    bad.write_bytes(good)
    os.utime(bad, ns=(at, at))  # as if nothing had changed
    assert embed(str(folder), model="tiny", to=to)["failed"] == 1
    again = embed(str(folder), model="tiny", to=to, retry_dead=True)
    assert (again["failed"], again["vectors"], again["skipped"]) == (0, 4, 3)


def test_a_dry_run_says_what_it_would_take_and_leaves_nothing(image_bundle, tmp_path, home):
    told = embed(str(pictures(tmp_path / "photos", 40)), model="tiny", to=f"parquet://{tmp_path / 'out'}", dry_run=True)
    assert (told["items"], told["tried"], told["vectors_about"]) == (40, 32, 40)
    assert told["seconds_about"] > 0
    assert not (tmp_path / "out").exists()
    assert not (home / "jobs").exists()


def test_texts_are_kept_with_their_vectors_window_by_window(text_bundle, tmp_path):
    text = " ".join(["a red cat sat"] * 20)
    (tmp_path / "long.txt").write_text(text)
    embed(str(tmp_path / "long.txt"), model="words", to="index://passages", parts=True)
    payloads = [payload for _, payload in kept("passages").values()]
    assert len(payloads) > 1
    for payload in payloads:
        assert payload["text"] == text[payload["part"]["start"] : payload["part"]["end"]]


def test_what_cannot_be_read_is_noted_and_stops_nothing(image_bundle, tmp_path):
    folder = pictures(tmp_path / "photos", 2)
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "red" / "0000.png").read_bytes()[:40])
    (folder / "words.jpg").write_text("not an image")
    (folder / "link.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("1", (30_000, 30_000)).save(folder / "huge.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "film.gif", save_all=True, append_images=frames[1:])
    done = embed(str(folder), model="tiny", to="index://things")
    letters = {
        row["item"]: row["reason"] for row in map(json.loads, Path(done["dead_letters"]).read_text().splitlines())
    }
    assert (done["items"], done["failed"], len(kept())) == (2, 7, 2)
    for item, reason in {
        "empty.png": "0 bytes", "cut.png": "cut short|broken", "words.jpg": "no PNG", "link.png": "No such file",
        "dot.png": "1 x 1", "huge.png": "30,000 x 30,000|pixels", "film.gif": "2 frames",
    }.items():  # fmt: skip
        assert any(word in letters[item] for word in reason.split("|")), letters[item]


def test_a_source_of_nothing_readable_says_why(image_bundle, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "empty.png").touch()
    with pytest.raises(BadItem, match="none of the 1 items could be read: the image has 0 bytes"):
        embed(str(tmp_path / "photos"), model="tiny", to="index://things")


def test_the_second_run_does_what_changed_and_nothing_else(image_bundle, tmp_path, small_shards):
    folder = pictures(tmp_path / "photos", 10)
    (folder / "red" / "broken.png").touch()
    embed(str(folder), model="tiny", to="index://things")
    assert embed(str(folder), model="tiny", to="index://things")["skipped"] == 11
    before = kept()
    pictures(folder, 1, side=30, first=0)
    pictures(folder, 2, first=10)
    Image.new("RGB", (9, 9)).save(folder / "red" / "broken.png")
    (folder / "green" / "0004.png").write_bytes(b"broken by now")
    done = embed(str(folder), model="tiny", to="index://things")
    assert (done["items"], done["failed"], done["skipped"], done["vectors"]) == (12, 1, 8, 12)
    after = kept()
    assert len(after) == 12
    gone = set(before) - set(after)
    assert [before[id][1]["item"] for id in gone] == ["green/0004.png"]


def test_a_label_that_was_corrected_reaches_the_index(image_bundle, tmp_path):
    pictures(tmp_path, 2)
    manifest = tmp_path / "list.csv"
    manifest.write_text("path,label\nred/0000.png,rde\ngreen/0001.png,green\n")
    embed(str(manifest), model="tiny", to="index://things")
    manifest.write_text("path,label\nred/0000.png,red\ngreen/0001.png,green\n")
    assert embed(str(manifest), model="tiny", to="index://things")["skipped"] == 1
    assert sorted(payload["label"] for _, payload in kept().values()) == ["green", "red"]


def test_columns_with_the_names_of_our_own_facts_are_left_out(image_bundle, tmp_path):
    pictures(tmp_path, 1)
    (tmp_path / "list.csv").write_text("id,path,part,vector,source,x,when\n7,red/0000.png,a,b,c,0.5,2020-01-01\n")
    embed(str(tmp_path / "list.csv"), model="tiny", to="index://things")
    [(_, payload)] = kept().values()
    assert set(payload) == {"source", "item", "space", "bundle", "x", "when"}
    assert (payload["item"], payload["x"], payload["when"]) == ("7", 0.5, "2020-01-01")
    assert payload["source"].startswith("file://")


def test_parts_that_are_gone_leave_the_index(text_bundle, tmp_path):
    """A long text gives a point per window; cut short it gives one."""
    file = tmp_path / "long.txt"
    file.write_text("red cat sat " * 20)
    assert embed(str(file), model="words", to="index://texts", parts=True)["vectors"] > 3
    assert {payload["part"]["index"] for _, payload in kept("texts").values()} >= {0, 1, 2}
    file.write_text("red cat")
    assert embed(str(file), model="words", to="index://texts", parts=True)["vectors"] == 1
    assert ["part" in payload for _, payload in kept("texts").values()] == [False]


def test_a_collection_that_was_dropped_is_filled_again_without_embedding(image_bundle, tmp_path, small_shards):
    folder = pictures(tmp_path / "photos", 6)
    embed(str(folder), model="tiny", to="index://things")
    index = open_index(settings.load(), "")
    index.drop("things")
    index.close()
    assert embed(str(folder), model="tiny", to="index://things")["skipped"] == 6
    assert len(kept()) == 6


def test_parquet_files_that_were_deleted_are_made_again(image_bundle, tmp_path, small_shards):
    folder, out = pictures(tmp_path / "photos", 10), tmp_path / "out"
    embed(str(folder), model="tiny", to=f"parquet://{out}")
    (out / "part-00002.parquet").unlink()
    assert embed(str(folder), model="tiny", to=f"parquet://{out}")["skipped"] == 6
    assert len(set(parquet.read_table(out)["id"].to_pylist())) == parquet.read_table(out).num_rows == 10


def test_two_jobs_do_not_mix_their_files(image_bundle, tmp_path):
    bundles.image_bundle(settings.load().bundles, "other", seed=1)
    folder, out = pictures(tmp_path / "photos", 2), tmp_path / "out"
    embed(str(folder), model="tiny", to=f"parquet://{out}")
    with pytest.raises(Conflict, match="of another job"):
        embed(str(folder), model="other", to=f"parquet://{out}")
    embed(str(folder), model="tiny", to="index://things")
    with pytest.raises(SpaceMismatch, match="collection 'things' holds"):
        embed(str(folder), model="other", to="index://things")


def test_two_items_of_one_id_are_refused(image_bundle, tmp_path):
    pictures(tmp_path, 2)
    (tmp_path / "list.csv").write_text("id,path\nx,red/0000.png\nx,green/0001.png\n")
    with pytest.raises(WrongUse, match="'x' stands for two items"):
        embed(str(tmp_path / "list.csv"), model="tiny", to="index://things")


@pytest.mark.parametrize("to", ["", "things", "index://", "index://Über", "index://../x", "s3://bucket", "parquet://"])
def test_a_place_that_is_none_is_refused(to):
    with pytest.raises(WrongUse, match=r"argument 'to'|no place for vectors"):
        Embedding.checked(source="x", model="tiny", to=to)


@pytest.mark.parametrize("word", ["--help", "-x", "a\0b"])
def test_no_argument_passes_for_an_option(word):
    with pytest.raises(WrongUse, match=r"argument 'source'"):
        Embedding.checked(source=word, model="tiny", to="index://things")


@pytest.mark.parametrize("to", ["index://things", "parquet://{out}"])
def test_killed_anywhere_it_goes_on(image_bundle, tmp_path, home, to):
    """kill -9 at three moments, then the same command: every item once, as in a run that was left alone."""
    folder, out = pictures(tmp_path / "photos", 240), tmp_path / "out"
    to = to.format(out=out)
    script = "from enfold import cli; from serving.jobs import layout, pipeline; "
    script += "pipeline.SHARD_ITEMS, layout.FEW = 8, 999; cli.main()"
    command = [sys.executable, "-c", script, "embed", str(folder), "--model", "tiny", "--to", to, "--json"]
    folder_of_job = home / "jobs" / Embedding.checked(source=str(folder), model="tiny", to=to).id(settings.load())
    parts = out if to.startswith("parquet") else folder_of_job
    for shards in (2, 9, 17):
        child = subprocess.Popen(command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while child.poll() is None and len(list(parts.glob("part-*.parquet"))) < shards:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    last = subprocess.run(command, env=environment(home), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    done = json.loads(last.stdout)
    assert (done["items"], done["failed"], done["vectors"]) == (240, 0, 240)
    assert done["skipped"] >= 17 * 8 - 8
    expected = {point_id(folder.as_uri(), file.relative_to(folder).as_posix()) for file in folder.rglob("*.png")}
    tables = [parquet.read_table(file, columns=["id"]) for file in parts.glob("part-*.parquet")]
    ids = pa.concat_tables(tables)["id"].to_pylist()
    assert len(ids) == 240
    assert set(ids) == expected
    if to.startswith("index"):
        assert set(kept()) == expected


@pytest.mark.parametrize("to", ["index://things", "parquet://{out}"])
def test_every_write_can_be_the_last(image_bundle, tmp_path, home, monkeypatch, to):
    """Stopped before each of its writes in turn, the same command goes on: nothing lost, nothing twice."""

    class Killed(BaseException):
        pass

    last, left = "", 0

    def tell(name):
        nonlocal last, left
        left -= 1
        if left == 0:
            last = name
            raise Killed

    folder, out, stopped = pictures(tmp_path / "photos", 10), tmp_path / "out", []
    expected = {point_id(folder.as_uri(), file.relative_to(folder).as_posix()) for file in folder.rglob("*.png")}
    faults.before_each(tell, monkeypatch.setattr)
    for number in range(1, 100):
        for made in (home / "jobs", home / "index", out):
            shutil.rmtree(made, ignore_errors=True)
        left = number
        try:
            embed(str(folder), model="tiny", to=to.format(out=out))
        except Killed:
            stopped.append(last)
            embed(str(folder), model="tiny", to=to.format(out=out))
        files = list((out if to.startswith("parquet") else home / "jobs").rglob("part-*.parquet"))
        ids = pa.concat_tables([parquet.read_table(file, columns=["id"]) for file in files])["id"].to_pylist()
        assert len(ids) == 10
        assert set(ids) == expected
        if to.startswith("index"):
            assert set(kept()) == expected
        if len(stopped) < number:
            break
    wanted = {"written", "put", "write"}
    assert set(stopped) >= (wanted | {"create_collection", "upsert", "set_layout"} if "index" in to else wanted)


def test_shards_are_sent_side_by_side_while_others_are_made(image_bundle, tmp_path, small_shards, monkeypatch):
    folder, both, send = pictures(tmp_path / "photos", 16), threading.Barrier(2), pipeline.Index.send

    def met(self, points):
        both.wait(10)  # until another is on its way too
        send(self, points)

    monkeypatch.setattr(pipeline.Index, "send", met)
    done = embed(str(folder), model="tiny", to="index://things")
    assert (done["vectors"], len(kept())) == (16, 16)


def test_a_shard_that_the_index_did_not_take_is_sent_the_next_time(image_bundle, tmp_path, small_shards, monkeypatch):
    folder, send, sent = pictures(tmp_path / "photos", 40), pipeline.Index.send, []

    def refused(self, points):
        sent.append(points.ids)
        if len(sent) == 3:
            raise Unavailable("Qdrant does not answer")
        send(self, points)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Index, "send", refused)
        with pytest.raises(Unavailable):
            embed(str(folder), model="tiny", to="index://things")
    assert not set(sent[2]) & set(kept())
    done = embed(str(folder), model="tiny", to="index://things")
    assert done["skipped"] >= 12  # what was made is not made again
    assert len(kept()) == 40


def test_the_same_job_runs_once_at_a_time(image_bundle, tmp_path):
    folder = pictures(tmp_path / "photos", 2)
    to = f"parquet://{tmp_path / 'out'}"
    from serving.jobs import record

    asked = Embedding.checked(source=str(folder), model="tiny", to=to)
    at = settings.load().jobs / asked.id(settings.load())
    with record.running(at, "embed", ["enfold"]), pytest.raises(Conflict, match="this job is in use"):
        embed(str(folder), model="tiny", to=to)
    assert record.read(at).state == "done"
