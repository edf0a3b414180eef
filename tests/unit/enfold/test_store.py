"""The life of bundles: aliases move and move back, what nothing needs goes, and two bundles can be compared."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from enfold import store
from enfold.aliases import changing
from enfold.bundle import new_bundle
from enfold.diff import diff_bundles, nearest
from enfold.errors import BundleInvalid, UnknownName, WrongUse
from tests import bundles

DAY = 24 * 3600


@pytest.fixture
def folder(home):
    """The store's folder of bundle `tiny`, versions 1 to 4."""
    for seed in range(1, 5):
        bundles.image_bundle(home / "bundles", seed=seed)
    return home / "bundles" / "tiny"


@pytest.fixture
def pictures(tmp_path):
    """40 pictures of noise and, as no items of their own, a copy of the first and a file that is no picture."""
    rng = np.random.default_rng(0)
    for i in range(40):
        pixels = Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8))
        (tmp_path / "pictures").mkdir(exist_ok=True)
        pixels.save(tmp_path / "pictures" / f"{i:02}.png")
    (tmp_path / "pictures" / "copy.png").write_bytes((tmp_path / "pictures" / "00.png").read_bytes())
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "pictures" / "nowhere.png").symlink_to("gone")
    return tmp_path / "pictures"


def versions(folder):
    return store.versions(folder.parent, folder.name)


def test_rollback_goes_back_through_the_versions_an_alias_pointed_at(folder):
    for version in (1, 3, 3, 2):
        store.promote_bundle(f"tiny@{version}")
    assert store.rollback_bundle("tiny")["aliases"] == {"prod": 3}
    assert store.find(folder.parent, "tiny@prod").name == "3"
    assert store.rollback_bundle("tiny")["aliases"] == {"prod": 1}
    with pytest.raises(WrongUse, match=r"points at 1; no other version.* Choose of 1, 2, 3, 4"):
        store.rollback_bundle("tiny")
    assert store.aliases(folder.parent, "tiny") == {"prod": 1}


def test_rollback_moves_only_the_alias_it_names(folder):
    for version in (1, 2):
        store.promote_bundle(f"tiny@{version}")
        store.promote_bundle(f"tiny@{version}", alias="trial")
    assert store.rollback_bundle("tiny", alias="trial")["aliases"] == {"prod": 2, "trial": 1}


def test_rollback_passes_over_versions_that_are_gone(folder):
    for version in (1, 2, 3, 2):
        store.promote_bundle(f"tiny@{version}")
    (folder / "3").rename(folder / "elsewhere")
    assert store.rollback_bundle("tiny")["aliases"] == {"prod": 1}


def test_rollback_refuses_a_version_that_was_damaged(folder):
    for version in (1, 2):
        store.promote_bundle(f"tiny@{version}")
    (folder / "1" / "golden.npz").write_bytes(b"")
    with pytest.raises(BundleInvalid, match="does not match its digest"):
        store.rollback_bundle("tiny")
    assert store.aliases(folder.parent, "tiny") == {"prod": 2}


@pytest.mark.parametrize(("name", "alias"), [("tony", "prod"), ("tiny", "trial"), ("tiny@prod", "prod")])
def test_rollback_of_an_unknown_name_lists_the_known(folder, name, alias):
    with pytest.raises(UnknownName, match="tiny"):
        store.rollback_bundle(name, alias=alias)


@pytest.mark.parametrize("alias", ["2", "", "a/b", "a@b", "Prod", "a\n"])
def test_an_alias_that_could_not_be_asked_for_is_refused(folder, alias):
    with pytest.raises(WrongUse, match="an alias is a letter"):
        store.promote_bundle("tiny@1", alias=alias)
    assert store.aliases(folder.parent, "tiny") == {}


@pytest.mark.parametrize("ref", ["tiny@²", "tiny@01", "tiny@-1", "../bundles/tiny", "tiny\0", "x" * 5000])
def test_a_strange_reference_is_an_unknown_name(folder, ref):
    with pytest.raises(UnknownName):
        store.find(folder.parent, ref)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"prod": 1}', '{"prod": []}', '{"prod": ["x"]}'])
def test_a_damaged_file_of_aliases_is_named(folder, content):
    (folder / "aliases.json").write_text(content)
    with pytest.raises(BundleInvalid, match=r"aliases.json is damaged: delete it"):
        store.promote_bundle("tiny@1")


def test_every_alias_of_a_version_is_listed(folder):
    store.promote_bundle("tiny@2")
    store.promote_bundle("tiny@2", alias="trial")
    assert {row["version"]: row["aliases"] for row in store.list_bundles()} == {
        4: [],
        3: [],
        2: ["prod", "trial"],
        1: [],
    }


def test_processes_that_promote_at_once_lose_no_alias(folder):
    script = "import sys; from enfold import store\n"
    script += "for i in range(30): store.promote_bundle('tiny@1', alias=f'{sys.argv[1]}{i}')"
    running = [subprocess.Popen([sys.executable, "-c", script, letter]) for letter in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert len(store.aliases(folder.parent, "tiny")) == 60


def test_who_would_change_aliases_waits_for_who_does(folder):
    other = threading.Thread(target=store.promote_bundle, args=["tiny@2"])
    with changing(folder) as history:
        other.start()
        other.join(0.2)
        assert other.is_alive()
        history["trial"] = [1]
    other.join()
    assert store.aliases(folder.parent, "tiny") == {"trial": 1, "prod": 2}


def test_a_change_that_fails_leaves_the_aliases_as_they_were(folder):
    store.promote_bundle("tiny@1")
    with pytest.raises(ZeroDivisionError), changing(folder) as history:
        history["prod"] = [2 // len(history.pop("trial", ""))]
    assert store.aliases(folder.parent, "tiny") == {"prod": 1}


def test_gc_keeps_the_newest_and_what_aliases_need(folder, home):
    bundles.image_bundle(home / "bundles", seed=5)
    for version in (3, 1, 2):
        store.promote_bundle(f"tiny@{version}")
    done = store.collect_garbage(keep=1)
    assert versions(folder) == [1, 2, 5]  # 1 is where prod would go back to
    assert [row["path"] for row in done["removed"]] == ["tiny/3", "tiny/4"]
    assert store.rollback_bundle("tiny")["aliases"] == {"prod": 1}


def test_gc_keeps_two_versions_of_each_name_and_says_how_much_went(folder, text_bundle):
    size = sum(file.stat().st_size for file in (folder / "1").rglob("*") if file.is_file())
    done = store.collect_garbage()
    assert versions(folder) == [3, 4]
    assert store.names(folder.parent) == ["tiny", "words"]
    assert done["removed"][0] == {"path": "tiny/1", "megabytes": pytest.approx(size / 1e6, abs=0.001)}
    assert done["megabytes"] == pytest.approx(sum(row["megabytes"] for row in done["removed"]))
    assert not list(folder.glob(".draft-*"))
    assert store.collect_garbage()["removed"] == []


def test_a_dry_run_of_gc_says_the_same_and_removes_nothing(folder):
    would = store.collect_garbage(keep=1, dry_run=True)
    assert versions(folder) == [1, 2, 3, 4]
    assert store.collect_garbage(keep=1)["removed"] == would["removed"]


def test_gc_removes_drafts_of_killed_exports_but_none_at_work(folder):
    for name, age in {"killed": 2 * DAY, "slow": 2 * DAY, "fresh": 0}.items():
        draft = folder / f".draft-{name}"
        (draft / "graphs").mkdir(parents=True)
        (draft / "graphs" / "encode.onnx").write_bytes(b"0" * 2_000_000)
        for path in (draft / "graphs" / "encode.onnx", draft / "graphs", draft):
            os.utime(path, (time.time() - age,) * 2)
    os.utime(folder / ".draft-slow" / "graphs" / "encode.onnx")  # written just now
    assert store.collect_garbage(keep=4)["removed"] == [{"path": "tiny/.draft-killed", "megabytes": 2.0}]
    assert sorted(path.name for path in folder.glob(".draft-*")) == [".draft-fresh", ".draft-slow"]


def test_gc_leaves_a_draft_at_work_where_the_clock_jumps_by_days(folder, monkeypatch):
    jumped = time.time() + 2 * DAY
    with suppress(BundleInvalid), new_bundle(folder.parent, "tiny") as draft:
        with monkeypatch.context() as later:
            later.setattr(store.time, "time", lambda: jumped)
            assert store.collect_garbage(keep=4)["removed"] == []
        assert draft.is_dir()
    assert not draft.exists()


def test_gc_of_a_store_that_is_not_there_removes_nothing(home):
    assert store.collect_garbage() == {"dry_run": False, "megabytes": 0, "removed": []}


def test_diff_names_what_the_manifests_say_otherwise(folder):
    edit(folder / "2", metrics={"knn": 0.5}, licence="MIT", variants=["fp32", "fp16"])
    edit(folder / "1", metrics={"knn": 0.25, "rankme": 4.0})
    found = diff_bundles("tiny@1", "tiny@2")
    [space] = found["spaces"]
    assert (space["entry"], space["same"]) == ("image", False)
    assert {row["fact"]: (row["a"], row["b"]) for row in found["differences"]} == {
        "variants": (["fp32"], ["fp32", "fp16"]),
        "licence": ("Apache-2.0", "MIT"),
    }
    assert found["metrics"] == [{"metric": "knn", "a": 0.25, "b": 0.5}, {"metric": "rankme", "a": 4.0, "b": None}]


def test_diff_follows_preprocess_and_resources_of_two_kinds_of_bundle(image_bundle, text_bundle):
    found = diff_bundles("tiny", "words")
    facts = {row["fact"]: (row["a"], row["b"]) for row in found["differences"]}
    assert facts["entries.image.preprocess.size"] == (16, None)
    assert facts["entries.text.preprocess.max_tokens"] == (None, 8)
    assert facts["resources/tokenizer.json"][1] == text_bundle.manifest.files["resources/tokenizer.json"]
    assert [row["entry"] for row in found["spaces"]] == ["image", "text"]


def test_no_item_moves_between_exports_of_the_same_weights(home, pictures):
    for _ in range(2):
        bundles.image_bundle(home / "bundles", seed=7)
    found = diff_bundles("tiny@1", "tiny@2", data=pictures)
    assert found["spaces"][0]["same"]
    assert found["differences"] == []
    assert (found["items"], found["left_out"], found["overlap"], found["moved_most"]) == (40, 3, 1.0, [])


def test_items_of_two_unrelated_encoders_share_few_neighbours(folder, pictures):
    found = diff_bundles("tiny@1", "tiny@2", data=pictures)
    assert found["overlap_by_chance"] == pytest.approx(10 / 39)
    assert 0.1 < found["overlap"] < 0.7
    overlaps = [row["overlap"] for row in found["moved_most"]]
    assert len(overlaps) == 10
    assert overlaps == sorted(overlaps)
    assert overlaps[-1] <= found["overlap"]
    json.dumps(found)


def test_the_item_that_moved_is_named(home, pictures):
    """The same weights, but the second squashes what the first crops: only the one wide picture is another to it."""
    for _ in range(2):
        second = bundles.image_bundle(home / "bundles", seed=7)
    entry = second.manifest.entries["image"].model_dump()
    entry["preprocess"]["fit"] = "squash"
    edit(second.path, entries={"image": entry})
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, :16] = 255
    Image.fromarray(pixels).save(pictures / "wide.png")
    found = diff_bundles("tiny@1", "tiny@2", data=pictures)
    [difference] = found["differences"]
    assert difference == {"fact": "entries.image.preprocess.fit", "a": "crop", "b": "squash"}
    assert found["moved_most"][0]["item"] == "wide.png"
    assert all(row["overlap"] >= 0.9 for row in found["moved_most"][1:])


def test_nearest_are_those_of_a_search_of_all_pairs():
    points = np.random.default_rng(0).normal(size=(600, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = nearest(points)
    for i in (0, 255, 256, 599):
        by_distance = np.argsort(((points - points[i]) ** 2).sum(1))
        assert by_distance[0] == i
        assert list(found[i]) == list(by_distance[1:11])


def test_diff_refuses_data_that_says_nothing(image_bundle, text_bundle, tmp_path):
    picture = tmp_path / "one.png"
    Image.new("RGB", (16, 16)).save(picture)
    for names, data, sentence in [
        (("tiny", "words"), tmp_path, "tiny@1 takes image and words@1 takes text"),
        (("tiny", "tiny"), tmp_path, "1 distinct items that both bundles can read, in 1 files.* at least 20"),
        (("tiny", "tiny"), picture, "is no folder"),
        (("words", "words"), tmp_path, "holds no text files"),
    ]:
        with pytest.raises(WrongUse, match=sentence):
            diff_bundles(*names, data=data)


def edit(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | changes))
