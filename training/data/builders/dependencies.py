"""dependencies: 8,000 packages of Debian 12, each in the network of what it depends on and what depends on it.

An item is a package as the centre of its network: its nearest packages and theirs, of each at most eight, those with
the fewest dependencies of their own first. So a network of two layers that looks at eight neighbours sees of the centre
what it would see in the whole archive. A node has the short description of its package, in which its own name, its
source's and the names of sections are hidden. Packages of one source share a group; the label is the section. Sections
that tell the form of a package and not its subject (libraries, documentation) are nodes, but no items.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from training.data.builders import Facts, debian, write

ITEMS = 8000  # the packages with the most dependencies, in both directions
SECTIONS, LABELLED = 20, 100  # the largest sections; items that one has at least, to be a label
NEAREST, AWAY = 8, 2  # neighbours of a package that are looked at, and how far from the centre
_FORMS = (
    "cli-mono debug devel doc introspection kernel libdevel libs localization metapackages misc oldlibs tasks utils"
)
_BOILERPLATE = "development documentation file header library libraries module package plugin symbol"

FACTS = Facts(
    name="dependencies",
    modality="graph",
    title="Debian 12: packages in the network of their dependencies, in sections of the archive",
    licence=debian.FACTS.licence,
    packages=debian.FACTS.packages,
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, networks included, into `target`."""
    index, translations = (next(packages[name].iterdir()) for name in ("Packages", "Translations"))
    facts = {one["Package"]: one for one in debian.stanzas(index)}
    short = {
        (one["Package"], one["Description-md5"]): one["Description-en"].partition("\n")[0]
        for one in debian.stanzas(translations)
    }
    beside = joined(facts)
    near = {name: fewest_first(name, beside)[:NEAREST] for name in facts}
    sizes = Counter(one["Section"] for one in facts.values() if one["Section"] not in _FORMS.split())
    hidden = boilerplate(one["Section"] for one in facts.values())
    subjects = {section for section, _ in sizes.most_common(SECTIONS)}
    asked = [name for name in sorted(facts) if facts[name]["Section"] in subjects]
    asked = sorted(sorted(asked, key=lambda name: -len(beside[name]))[:ITEMS])
    labelled = Counter(facts[name]["Section"] for name in asked)
    texts = {
        name: described(name, source_of(one), short.get((name, one["Description-md5"]), ""), hidden)
        for name, one in facts.items()
    }
    rows = [
        {
            "id": name,
            "graph": json.dumps(network(name, near, texts), ensure_ascii=False),
            "label": section if labelled[section] >= LABELLED else None,
            "group": source_of(facts[name]),
        }
        for name in asked
        for section in [facts[name]["Section"]]
    ]
    write(FACTS, rows, target)


def joined(facts: Mapping[str, Mapping[str, str]]) -> dict[str, set[str]]:
    """What each package depends on, alternatives included, and what depends on it, of those that there are."""
    beside = defaultdict[str, set[str]](set)
    for name, one in facts.items():
        for wish in re.split(r"[,|]", f"{one.get('Pre-Depends', '')},{one.get('Depends', '')}"):
            other = wish.split("(")[0].split(":")[0].strip()
            if other in facts and other != name:
                beside[name].add(other)
                beside[other].add(name)
    return beside


def fewest_first(name: str, beside: Mapping[str, set[str]]) -> list[str]:
    """The neighbours of a package: what everything depends on tells least of it, and comes last."""
    return sorted(beside.get(name, ()), key=lambda other: (len(beside[other]), other))


def source_of(facts: Mapping[str, str]) -> str:
    return facts.get("Source", facts["Package"]).split()[0]


def boilerplate(sections: Iterable[str]) -> re.Pattern[str]:
    """What finds the names of sections, and words that tell the form of a package, with a number or an s behind."""
    words = {section.removesuffix("s") for section in sections} | set(_BOILERPLATE.split())
    forms = (re.escape(word).replace(r"\-", "[- ]") for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])({'|'.join(forms)})(s|[\d.]+)?(?![^\W_])", re.IGNORECASE)


def described(name: str, source: str, text: str, hidden: re.Pattern[str]) -> str:
    return " ".join(hidden.sub(" ", debian.names(name, source).sub(" ", text)).split())


def network(centre: str, near: Mapping[str, list[str]], texts: Mapping[str, str]) -> dict[str, object]:
    """The packages at most AWAY from the centre, nearest first; each hears of its own neighbours among them."""
    found, edge = dict.fromkeys([centre]), [centre]
    for _ in range(AWAY):
        edge = [other for name in edge for other in near[name] if other not in found]
        found.update(dict.fromkeys(edge))
    return {
        "directed": True,
        "centre": centre,
        "nodes": [{"id": name, "text": texts[name]} for name in found],
        "edges": [[other, name] for name in found for other in near[name] if other in found],
    }
