"""debian: what 13,000 packages of Debian 12 are and do, in paragraphs; column `question` is the short description.

A document is the long description of a package. Its own name and its source package's are hidden in both texts, and a
paragraph that several packages share, but for their names, stays with the first of them alone: so a question shares no
name with its answer, and no other document holds the same answer. Packages of one source share a group; the label is
the archive's section. Documents have two paragraphs or more, one of them of two sentences or more.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from training.data.builders import Facts, Package, write
from training.views.text import paragraphs, sentences

NAME = "PACKAGE"  # what a package's name is replaced with
LABELLED = 100  # documents that a section has at least, to be a label
_LETTERS = 4  # of what is left of a name without its affixes, to be hidden too
_AFFIXES = (
    re.compile(r"^(lib|python3?-|ruby-|node-|golang-github-|golang-|haskell-|r-cran-|fonts-|php-)"),
    re.compile(r"(-(dev|doc|data|common|bin|utils|tools|perl|java|ruby|ocaml|el)|[\d.-]+)$"),
)

FACTS = Facts(
    name="debian",
    modality="text",
    title="Debian 12: short and long descriptions of packages, in sections of the archive",
    licence="each package's own (free by the Debian guidelines)",
    packages=(
        Package(
            registry="debian-index",
            name="Translations",
            version="bookworm",
            file="bookworm-main-Translations.txt",
            size_bytes=32_699_363,
            sha256="62f59c3cdca9786e4f7adf9002f9f5729a684adcb4667e58e448dec9b5a46c7f",
            wanted=("",),
        ),
        Package(
            registry="debian-index",
            name="Packages",
            version="bookworm",
            file="bookworm-main-Packages.txt",
            size_bytes=50_060_337,
            sha256="515e692f2c4121c6fcec444ef100cc18f79a991910615f3a88c8b7becfc94d2f",
            wanted=("",),
        ),
    ),
)


def build(packages: Mapping[str, Path], target: Path) -> None:
    """Write the manifest, texts included, into `target`."""
    index, translations = (next(packages[name].iterdir()) for name in ("Packages", "Translations"))
    described = {(one["Package"], one["Description-md5"]): one["Description-en"] for one in stanzas(translations)}
    rows, seen = [], set[str]()
    for facts in sorted(stanzas(index), key=lambda facts: facts["Package"]):
        name, source = facts["Package"], facts.get("Source", facts["Package"]).split()[0]
        short, *body = described.get((name, facts["Description-md5"]), "").split("\n")
        hidden = names(name, source)
        question = " ".join(hidden.sub(" ", short).split())
        own = []
        for paragraph in paragraphs(hidden.sub(NAME, unwrapped(body))):
            mark = " ".join(re.findall(r"[^\W\d_]+", paragraph.casefold()))
            if mark not in seen:
                own.append(paragraph)
            seen.add(mark)
        if len(own) > 1 and any(len(sentences(one)) > 1 for one in own) and len(question.split()) > 1:
            text = "\n\n".join(own)
            rows.append({"id": name, "text": text, "question": question, "label": facts["Section"], "group": source})
    sizes = Counter(row["label"] for row in rows)
    write(FACTS, [{**row, "label": row["label"] if sizes[row["label"]] >= LABELLED else None} for row in rows], target)


def stanzas(file: Path) -> Iterator[dict[str, str]]:
    """Of a Debian control file (deb-control(5)): fields of each paragraph, further lines with what they begin with."""
    for block in file.read_text().split("\n\n"):
        fields = dict[str, str]()
        name = ""
        for line in block.splitlines():
            if line.startswith(" "):
                fields[name] += f"\n{line}"
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def names(package: str, source: str) -> re.Pattern[str]:
    """What finds a package called by name: its own, its source's, either without affixes, however parts are joined."""
    known = {package, source}
    while shorter := {affix.sub("", name) for affix in _AFFIXES for name in known} - known:
        known |= shorter
    called = sorted((name for name in known if name in (package, source) or len(name) >= _LETTERS), key=len)
    forms = (r"[-_.: ]*".join(map(re.escape, re.split(r"[-_.]", name))) for name in reversed(called))
    return re.compile(rf"(?<![^\W_])({'|'.join(forms)})(?![^\W_])", re.IGNORECASE)


def unwrapped(lines: list[str]) -> str:
    """A long description as running text: paragraphs apart by an empty line, those of a list on lines of their own."""
    text = ""
    for line in lines:
        content = line[1:]
        if content.strip() in ("", "."):
            text += "\n\n"
        elif content.startswith((" ", "* ", "- ")) or text.endswith("\n"):
            text += f"\n{content.strip()}"
        else:
            text += f" {content.strip()}"
    return text.strip()
