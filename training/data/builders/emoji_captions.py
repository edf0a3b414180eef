"""emoji_captions: emoji as Google and Twitter draw them, 64 x 64 pixels, each with captions in English.

Captions are the emoji's CLDR name, and the name with one or two of its keywords, one a line. A class is a Unicode
subcategory with at least eight groups; a group is all drawings of an emoji and of those that look like it, as in
`emoji`, whose packages these are. Left out: skin tones, which repeat their base emoji, and what CLDR names by a rule
instead of an entry (flags of countries, sequences such as "woman farmer").
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from enfold import modalities
from training.data import splits
from training.data.builders import Facts, Package, emoji, write

LEAST_GROUPS = 8  # of a class
VARIATION = "\ufe0f"  # asks for a coloured drawing; CLDR leaves it out

FACTS = Facts(
    name="emoji_captions",
    modality="image",
    title="Emoji of Unicode 16 in two drawing styles, 64 x 64 pixels, with English captions",
    licence=f"{emoji.FACTS.licence}; captions: Unicode-3.0",
    packages=(
        *emoji.FACTS.packages,
        Package(
            registry="npm",
            name="cldr-annotations-full",
            version="48.2.0",
            file="cldr-annotations-full-48.2.0.tgz",
            size_bytes=6_537_823,
            sha256="28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
            wanted=("package/annotations/en/",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<vendor>/<code point>.png and the manifest into `target`."""
    listed = json.loads((packages["emoji-datasource-google"] / "package/emoji.json").read_bytes())
    cldr = packages["cldr-annotations-full"] / "package/annotations/en/annotations.json"
    named = json.loads(cldr.read_bytes())["annotations"]["annotations"]
    rows = [
        _row(one, vendor, packages[f"emoji-datasource-{vendor}"] / f"package/img/{vendor}/64" / one["image"], captions)
        for one in listed
        if (captions := captions_of(named.get(characters(one["unified"]), {})))
        and all(one[f"has_img_{name}"] for name in emoji.VENDORS)
        for vendor in emoji.VENDORS
    ]
    reader = modalities.get("image")(None)
    looks = [reader.mark(reader.read(row["file"])) for row in rows]
    groups = splits.near_duplicates(looks, [row["group"] for row in rows])
    members = defaultdict(set)
    for row, group in zip(rows, groups, strict=True):
        row["group"] = group
        members[row["label"]].add(group)
    kept = [row for row in rows if len(members[row["label"]]) >= LEAST_GROUPS]
    for row in kept:
        place = target / row["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(row.pop("file").read_bytes())
    write(FACTS, kept, target)


def characters(unified: str) -> str:
    """The emoji that "1F3F3-FE0F-200D-1F308" stands for, as CLDR writes it."""
    return "".join(chr(int(code, 16)) for code in unified.split("-")).replace(VARIATION, "")


def captions_of(annotation: Mapping[str, Any]) -> list[str]:
    """The name, the name with each keyword that is not in it, and with each two that follow one another."""
    if not annotation.get("tts"):
        return []
    [name], words = annotation["tts"], annotation.get("default", [])
    new = [word for word in words if word not in name]
    return [name, *(f"{name}, {word}" for word in new), *(f"{name}, {a}, {b}" for a, b in pairwise(new))]


def _row(one: dict[str, Any], vendor: str, file: Path, captions: list[str]) -> dict[str, Any]:
    return {
        "id": f"{vendor}/{file.stem}",
        "path": f"items/{vendor}/{file.name}",
        "label": one["subcategory"],
        "group": file.stem,
        "title": captions[0],
        "caption": "\n".join(captions),
        "vendor": vendor,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "file": file,
    }
