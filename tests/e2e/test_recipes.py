"""Every recipe at its smoke size on its real data: to bundles that embed and answer, and through its claim."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enfold
from enfold import settings, wire
from serving.index import Points, open_index
from tests import servers
from training import catalogue, recipe
from training.data.sources import open_dataset


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the data sets that recipes name."""
    home = tmp_path_factory.mktemp("recipes")
    recipes = [recipe.load(slug) for slug in recipe.names()]
    arms = [arm for facts in recipes if facts.claim is not None for arm in facts.claim.arms]
    stages = [stage for owner in (*recipes, *arms) for stage in owner.stage]
    pools = {name for stage in stages for name in getattr(stage, "pool", ())}
    others = {stage.data.source for stage in stages if stage.data is not None}
    mixed = {one.data.source for facts in recipes for one in facts.mixed.values()}
    for name in sorted({facts.data.source for facts in recipes} | pools | others | mixed):
        done = servers.enfold("data", "fetch", name, home=home)
        assert done.returncode == 0, done.stderr
    return home


def exporting() -> list[str]:
    return [slug for slug in recipe.names() if any(stage.verb == "export" for stage in recipe.load(slug).stage)]


@pytest.mark.parametrize("slug", exporting())
def test_a_recipe_ends_in_bundles_that_embed_and_answer(
    slug: str, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = servers.enfold("run", slug, "--smoke", "--json", home=fetched)
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    exports = [figures for figures in story.values() if isinstance(figures, dict) and "bundle" in figures]
    assert exports
    monkeypatch.setenv("ENFOLD_HOME", str(fetched))
    facts = recipe.load(slug, smoke=True)
    items = few(facts, facts.data.source, facts.modality)
    for figures in exports:
        assert figures["fp32_cosine"] >= 0.99999
        ref = f"{figures['bundle']}@{figures['version']}"
        for size in figures["sizes"] or [None]:
            model = enfold.open(ref, size=size)
            entry = model.entry(modality=facts.modality)
            assert model.embed(items, entry).vectors.shape == (3, model.facts(entry).dimensions)
            assert model.check() > 0.99999
        assert model.bundle.manifest.lineage.method == next(s.method for s in facts.stage if s.verb == "pretrain")
        if "generate" in model.bundle.manifest.tasks:
            assert model.bundle.manifest.tasks["generate"]["confidence"] == story["tune"]["confidence"]
        texts, entries = ["a red heart", "a cat", "smiling"], model.bundle.manifest.entries
        for task in model.bundle.manifest.tasks:
            asked = ("text", texts) if task in ("generate", "paint") else (entry, items)
            assert len(model.predict(asked[1], task, entry=asked[0])) == 3
        if len(entries) > 1:
            others = {name: few(facts, one.data.source, name) for name, one in facts.mixed.items()} or {"text": texts}
            find_across(model, {entry: items, **others})


def few(facts: recipe.Recipe, source: str, modality: str) -> list[Any]:
    """Three decoded items of a source's test split."""
    data = open_dataset(source, data=settings.load().data).split("test")
    reader = facts.mixed_of().get(modality) or facts.modality_of()
    return [data.read(i, reader) for i in range(3)]


def find_across(model: enfold.Model, items: dict[str, list[Any]]) -> None:
    """What goes in by one door of a space is found by what comes in by another, nearest first."""
    assert set(items) == set(model.bundle.manifest.entries)
    assert len({model.facts(entry).space for entry in items}) == 1
    vectors = {entry: model.embed(few, entry).vectors for entry, few in items.items()}
    points = [f"00000000-0000-0000-0000-{number:012}" for number in range(3)]
    index = open_index(settings.load(), "")
    try:
        for entry, stored in vectors.items():
            facts = model.facts(entry)
            new = wire.NewCollection(
                name=f"of-{model.bundle.manifest.name}-{entry}",
                model=model.bundle.ref,
                entry=entry,
                modality=facts.modality,
                space=facts.space,
                dimensions=facts.dimensions,
            )
            collection = index.create(new)
            collection.upsert(Points(points, stored, [{}] * 3, facts.space))
            for asked in vectors.values():
                for vector in asked:
                    hits = collection.query(vector, limit=3, exact=True)
                    assert [hit.id for hit in hits] == [points[i] for i in np.argsort(-(stored @ vector))]
    finally:
        index.close()


def claiming() -> list[str]:
    return [slug for slug in recipe.names() if recipe.load(slug).claim is not None]


@pytest.mark.parametrize("slug", claiming())
def test_a_claim_runs_every_arm_judges_every_check_and_publishes_nothing(slug: str, fetched: Path) -> None:
    published = {file: file.read_bytes() for file in catalogue.RESULTS.iterdir()}
    done = servers.enfold("reproduce", slug, "--smoke", "--json", home=fetched)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file: file.read_bytes() for file in catalogue.RESULTS.iterdir()} == published
    found, claim = json.loads(done.stdout), recipe.load(slug).claim
    assert claim is not None
    assert len(found["seeds"]) == 2
    ran = {name: [int(seed) for seed in arm["seeds"]] for name, arm in found["arms"].items()}
    assert ran == {arm.name: list(arm.seeds or found["seeds"]) for arm in claim.arms}
    assert [(check["arm"], check["baseline"]) for check in found["checks"]] == [
        (check.arm, check.baseline) for check in claim.check
    ]
    for check in found["checks"]:
        low, high = check["interval"]
        assert low <= check["value"] <= high
        words = {"reported"} if check["threshold"] is None else {"holds", "fails", "undecided"}
        assert check["verdict"] in words
    assert found["verdict"] in {"holds", "fails", "undecided"}
