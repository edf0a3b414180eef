"""Debian's descriptions: unwrapped, names hidden, each paragraph in one document, sources whole in one split."""

import hashlib

import pytest

from training.data import builders, fetch
from training.data.builders import Package, debian
from training.data.sources import open_dataset
from training.views.text import paragraphs, sentences

LONG = [
    " It reads files. It writes",
    " them too.",
    " .",
    " Features of foo:",
    "  * fast",
    "  * small",
]


def test_lines_become_running_text_and_lists_stay_lists():
    text = debian.unwrapped(LONG)
    assert paragraphs(text) == ["It reads files. It writes them too.", "Features of foo:\n* fast\n* small"]
    assert sentences(paragraphs(text)[0]) == ["It reads files.", "It writes them too."]
    assert sentences(paragraphs(text)[1]) == ["Features of foo:", "* fast", "* small"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (
            "Uses e.g. numbers, version 1.2 of them. Then ends.",
            ["Uses e.g. numbers, version 1.2 of them.", "Then ends."],
        ),
        ('He said "no." Then "yes!" (It was.) So?', ['He said "no."', 'Then "yes!"', "(It was.)", "So?"]),
        ("no mark at the end", ["no mark at the end"]),
    ],
)
def test_sentences_end_where_another_may_begin(text, want):
    assert sentences(text) == want


@pytest.mark.parametrize(
    ("package", "text", "want"),
    [
        ("libfoo-bar-perl", "Foo::Bar and libfoo-bar-perl, foo bar too", "# and #, # too"),
        ("python3-zlib2", "Zlib2 is in python3-zlib2, as is zlib", "# is in #, as is #"),
        ("golang-github-spam-dev", "spam, Spamming, spam-dev", "#, Spamming, #"),
        ("ed", "ed edits", "# edits"),
        ("libgd3", "the gd library", "the gd library"),  # two letters are left, and hidden they would hide words
    ],
)
def test_a_package_is_hidden_by_all_its_names(package, text, want):
    assert debian.names(package, "source").sub("#", text) == want


def stanza(**fields: str) -> str:
    return "\n".join(f"{name.replace('_', '-')}: {value}" for name, value in fields.items())


def index(tmp_path, packages: dict[str, tuple[str, str, list[str]]]) -> dict:
    """Two indices of packages, each with its source, short and long description."""
    facts, texts = [], []
    for name, (source, short, long) in packages.items():
        facts.append(stanza(Package=name, Source=f"{source} (1.0)", Section="utils", Description_md5=name[::-1]))
        long = [" " + line for line in long]
        texts.append(stanza(Package=name, Description_md5=name[::-1], Description_en="\n".join([short, *long])))
    for folder, content in (("Packages", facts), ("Translations", texts)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "list.txt").write_text("\n\n".join(content) + "\n\n")
    return {name: tmp_path / name for name in ("Packages", "Translations")}


def test_a_shared_paragraph_stays_with_the_first_and_sources_are_whole(tmp_path):
    shared = "This package contains the manual of {}."
    packages = {
        f"tool{i}{kind}": (
            f"tool{i}",
            f"does thing {i} with {kind or 'itself'} for tool{i}",
            [
                f"Word{kind} of {'abcdefghij'[i]}. More of it.",
                ".",
                f"Second of {'klmnopqrst'[i]}{kind}.",
                ".",
                shared.format(f"tool{i}"),
            ],
        )
        for i in range(10)
        for kind in ("", "-extra")
    }
    target = tmp_path / "out"
    target.mkdir()
    debian.build(index(tmp_path, packages), target)
    data = open_dataset(str(target / "manifest.parquet"), data=tmp_path / "data")
    texts = {record.id: record.value for record in data.records}
    assert "PACKAGE" in texts["tool0"]
    assert sum("contains the manual" in text for text in texts.values()) == 1
    splits = {}
    for record in data.records:
        splits.setdefault(record.id.removesuffix("-extra"), set()).add(record.split)
        assert record.payload["question"] == " ".join(record.payload["question"].split())
        assert "tool" not in record.payload["question"]
    assert all(len(found) == 1 for found in splits.values())
    assert len({next(iter(found)) for found in splits.values()}) == 3


def test_an_index_is_one_file_checked_like_any_archive(tmp_path, monkeypatch):
    content = b"Package: a\n\n"
    package = Package(
        registry="debian-index",
        name="Packages",
        version="bookworm",
        file="list.txt",
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        wanted=("",),
    )
    monkeypatch.setitem(
        fetch.DOWNLOAD, "debian-index", lambda package, folder: (folder / package.file).write_bytes(content)
    )
    found = fetch.unpack(fetch.fetch_package(package, data=tmp_path), tmp_path / "out", package.wanted)
    assert [file.read_bytes() for file in found.iterdir()] == [content]


def test_what_it_is_made_from_is_pinned():
    facts = builders.facts("debian")
    assert [package.registry for package in facts.packages] == ["debian-index"] * 2
    assert all(len(package.sha256) == 64 for package in facts.packages)
