"""Debian's packages as graphs: who depends on whom, what of it is looked at, and which words are hidden."""

import json
from pathlib import Path

import numpy as np
import pytest

from enfold.modalities.graph import Graph, GraphPreprocess
from training.data.builders import dependencies
from training.data.sources import open_dataset


def packages(folder: Path, stated: dict[str, dict[str, str]]) -> dict[str, Path]:
    """Two indices of packages, each with its fields and a short description."""
    facts, texts = [], []
    for name, fields in stated.items():
        fields = {"Section": "games", "Description": f"a thing called {name}", **fields}
        short = fields.pop("Description")
        facts.append(
            "\n".join(f"{key}: {value}" for key, value in {"Package": name, **fields, "Description-md5": name}.items())
        )
        texts.append(f"Package: {name}\nDescription-md5: {name}\nDescription-en: {short}\n More of it.")
    for index, content in (("Packages", facts), ("Translations", texts)):
        (folder / index).mkdir()
        (folder / index / "list.txt").write_text("\n\n".join(content) + "\n\n")
    return {index: folder / index for index in ("Packages", "Translations")}


def test_dependencies_join_packages_that_there_are_alternatives_too():
    facts = {
        "a": {"Depends": "b (>= 1.0), c:any | d, not-there", "Pre-Depends": "e"},
        **{name: {} for name in "bcde"},
    }
    beside = dependencies.joined(facts)
    assert beside == {"a": {"b", "c", "d", "e"}, "b": {"a"}, "c": {"a"}, "d": {"a"}, "e": {"a"}}


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Python 3 library for games", "3 for"),
        ("python3.11 bindings, GNU R package", "bindings,"),
        ("development files of a fontshop", "of a fontshop"),
    ],
)
def test_names_of_sections_and_of_forms_are_hidden(text, want):
    hidden = dependencies.boilerplate(["python", "games", "fonts", "gnu-r"])
    assert " ".join(hidden.sub(" ", text).split()) == want


def test_a_network_of_two_layers_sees_of_its_centre_what_it_would_see_of_everything(tmp_path, monkeypatch):
    """Every node at most one step away has all its neighbours that are looked at, hubs last."""
    monkeypatch.setattr(dependencies, "NEAREST", 3)
    monkeypatch.setattr(dependencies, "LABELLED", 1)
    rng = np.random.default_rng(0)
    stated = {
        f"tool-{i:02}": {
            "Depends": ", ".join(["hub", *(f"tool-{j:02}" for j in rng.choice(40, 3))]),
            "Source": f"source-{i // 2}",
            "Section": "sound" if i % 2 else "games",
        }
        for i in range(40)
    } | {"hub": {"Section": "libs", "Description": "what all need"}}
    target = tmp_path / "dependencies"
    target.mkdir()
    dependencies.build(packages(tmp_path, stated), target)
    data = open_dataset("dependencies", data=tmp_path)
    assert data.classes == ("games", "sound")
    assert len(data) == 40, "a form is no item"
    assert len({(one.group, one.split) for one in data.records}) == 20, "sources are whole"
    reader = Graph(GraphPreprocess(neighbours=3))
    facts = {name: {"Package": name, **fields} for name, fields in stated.items()}
    beside = dependencies.joined(facts)
    for i, record in enumerate(data.records):
        value = data.read(i, reader)
        assert value.names[value.centre] == record.id
        heard = {node: {value.names[a] for a, b in value.edges if value.names[b] == node} for node in value.names}
        for node in (record.id, *heard[record.id]):
            assert heard[node] == set(dependencies.fewest_first(node, beside)[:3])
        assert len(value.names) <= 1 + 3 + 9
        assert reader._neighbours(value)[value.centre].all(), "nothing is left out again"
        assert json.loads(record.value)["nodes"][0]["text"] == "a thing called"


def test_it_is_made_from_the_same_indices_as_the_texts():
    assert dependencies.FACTS.packages == dependencies.debian.FACTS.packages
