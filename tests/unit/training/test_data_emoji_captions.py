"""Emoji with captions: what is joined, what is kept, and what shares a group."""

import json
from pathlib import Path

import pytest

from enfold import settings
from tests.unit.training.data_pictures import paint
from training.data import builders
from training.data.builders import emoji, emoji_captions
from training.data.sources import open_dataset

FETCHED = settings.load().data  # read before each test gets a home of its own


def test_captions_are_the_name_alone_and_with_keywords_that_say_more():
    annotation = {"tts": ["red apple"], "default": ["apple", "fruit", "health", "school"]}
    assert emoji_captions.captions_of(annotation) == [
        "red apple",
        "red apple, fruit",
        "red apple, health",
        "red apple, school",
        "red apple, fruit, health",
        "red apple, health, school",
    ]
    assert emoji_captions.captions_of({}) == []


def test_code_points_become_the_characters_of_cldr():
    assert emoji_captions.characters("1F34E") == "🍎"
    assert emoji_captions.characters("2764-FE0F") == "❤"
    assert emoji_captions.characters("1F3F3-FE0F-200D-1F308") == "🏳‍🌈"


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    """Nine fruits, eight tools of which one has no name, and a name for each of the others."""
    found = {f"emoji-datasource-{vendor}": tmp_path / vendor for vendor in emoji.VENDORS}
    listed, named = [], {}
    for number in range(17):
        code = f"1F3{number:02X}"
        listed.append(
            {
                "unified": code,
                "image": f"{code.lower()}.png",
                "subcategory": "food-fruit" if number < 9 else "tool",
                **{f"has_img_{vendor}": True for vendor in emoji.VENDORS},
            }
        )
        if number < 16:
            named[chr(int(code, 16))] = {"tts": [f"thing {number}"], "default": ["new"]}
        for offset, vendor in enumerate(emoji.VENDORS):
            paint(tmp_path / vendor / f"package/img/{vendor}/64/{code.lower()}.png", number + 100 * offset)
    (tmp_path / "google/package/emoji.json").write_text(json.dumps(listed))
    annotations = tmp_path / "cldr/package/annotations/en/annotations.json"
    annotations.parent.mkdir(parents=True)
    annotations.write_text(json.dumps({"annotations": {"annotations": named}}))
    return found | {"cldr-annotations-full": tmp_path / "cldr"}


def test_classes_of_eight_groups_are_kept_and_drawings_of_an_emoji_share_a_split(tmp_path: Path, packages):
    target = tmp_path / "data" / "emoji_captions"
    target.mkdir(parents=True)
    emoji_captions.build(packages, target)
    data = open_dataset("emoji_captions", data=tmp_path / "data")
    assert data.classes == ("food-fruit",)  # a tool without a name leaves seven
    assert len(data) == 18
    assert {record.payload["caption"].splitlines()[0] for record in data.records} == {f"thing {n}" for n in range(9)}
    splits: dict[str, set[str]] = {}
    for record in data.records:
        splits.setdefault(record.group, set()).add(record.split)
    assert len(splits) == 9
    assert all(len(found) == 1 for found in splits.values())


def test_the_fetched_set_is_what_the_builder_promises():
    if not builders.is_current(emoji_captions.FACTS, FETCHED / "emoji_captions"):
        pytest.skip("emoji_captions is not fetched: enfold data fetch emoji_captions")
    data = open_dataset("emoji_captions", data=FETCHED)
    assert (len(data), len(data.classes)) == (2790, 64)
    titles = [{str(r.payload["title"]) for r in data.split(split).records} for split in ("train", "test")]
    assert not titles[0] & titles[1]
