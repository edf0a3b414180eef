"""emoji: the emoji of Unicode 16 as Google and Twitter draw them, 64 x 64 pixels, one class for each kind of thing.

Both drawings of an emoji are one group, and so are emoji that look alike (24 clock faces, a person facing left and
right). A class is the first word of the Unicode subcategory. Left out: skin tones, which repeat their base emoji;
letters and digits; "other", which is no kind of thing.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enfold import modalities
from training.data import splits
from training.data.builders import Facts, Package, write

VENDORS = ("google", "twitter")
NO_CLASS = {"keycap", "alphanum", "other", "skin"}
LEAST_GROUPS = 25  # of a class

FACTS = Facts(
    name="emoji",
    modality="image",
    title="Emoji of Unicode 16 in two drawing styles, 64 x 64 pixels",
    licence="Google's: Apache-2.0; Twitter's: CC-BY-4.0; list: MIT",
    packages=(
        Package(
            registry="npm",
            name="emoji-datasource-google",
            version="16.0.0",
            file="emoji-datasource-google-16.0.0.tgz",
            size_bytes=74_344_091,
            sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
            wanted=("package/emoji.json", "package/img/google/64/"),
        ),
        Package(
            registry="npm",
            name="emoji-datasource-twitter",
            version="16.0.0",
            file="emoji-datasource-twitter-16.0.0.tgz",
            size_bytes=61_683_754,
            sha256="f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
            wanted=("package/img/twitter/64/",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write items/<vendor>/<code point>.png and the manifest into `target`."""
    listed = json.loads((packages["emoji-datasource-google"] / "package/emoji.json").read_bytes())
    images = {vendor: packages[f"emoji-datasource-{vendor}"] / f"package/img/{vendor}/64" for vendor in VENDORS}
    rows = [
        _row(emoji, vendor, images[vendor] / emoji["image"])
        for emoji in listed
        if label_of(emoji["subcategory"]) not in NO_CLASS and all(emoji[f"has_img_{name}"] for name in VENDORS)
        for vendor in VENDORS
    ]
    reader = modalities.get("image")(None)
    looks = [reader.mark(reader.read(row["file"])) for row in rows]
    groups = splits.near_duplicates(looks, [row["group"] for row in rows])
    rows = [{**row, "group": group} for row, group in zip(rows, groups, strict=True)]
    kept = _large_classes(rows)
    for row in kept:
        place = target / row["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(row.pop("file").read_bytes())
    write(FACTS, kept, target)


def label_of(subcategory: str) -> str:
    """The class of a Unicode subcategory: "food-fruit" is food, "sky & weather" is sky, "country-flag" is flag."""
    return "flag" if subcategory.endswith("flag") else subcategory.replace("-", " ").split()[0]


def _row(emoji: dict[str, Any], vendor: str, file: Path) -> dict[str, Any]:
    code = file.stem
    return {
        "id": f"{vendor}/{code}",
        "path": f"items/{vendor}/{file.name}",
        "label": label_of(emoji["subcategory"]),
        "group": code,
        "title": (emoji["name"] or emoji["short_name"]).lower(),
        "vendor": vendor,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "file": file,
    }


def _large_classes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups = defaultdict(set)
    for row in rows:
        groups[row["label"]].add(row["group"])
    return [row for row in rows if len(groups[row["label"]]) >= LEAST_GROUPS]
