"""Every recipe at its smoke size on its real data: to bundles that embed and answer, and through its claim."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import enfold
from enfold import modalities, settings, wire
from serving.index import Points, Query, open_index
from tests import derived, servers
from training import catalogue, recipe
from training.data.sources import open_dataset


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all recipes, so that a data set is home once; with parts of those whose fitting takes minutes."""
    found = tmp_path_factory.mktemp("recipes")
    shutil.copytree(derived.KEPT, found / "data")
    return found


def fetch(slug: str, home: Path) -> None:
    """The data sets that a recipe and its claim name."""
    facts = recipe.load(slug)
    arms = facts.claim.arms if facts.claim is not None else []
    stages = [stage for owner in (facts, *arms) for stage in owner.stage]
    pools = {name for stage in stages for name in getattr(stage, "pool", ())}
    others = {stage.data.source for stage in stages if stage.data is not None}
    mixed = {one.data.source for one in facts.mixed.values()}
    for name in sorted({facts.data.source} | pools | others | mixed):
        if not (home / "data" / name).exists():
            done = servers.enfold("data", "fetch", name, home=home)
            assert done.returncode == 0, done.stderr


def exporting() -> list[str]:
    return [slug for slug in recipe.names() if any(stage.verb == "export" for stage in recipe.load(slug).stage)]


@pytest.mark.parametrize("slug", exporting())
def test_a_recipe_ends_in_bundles_that_embed_and_answer(slug: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(slug, home)
    done = servers.enfold("run", slug, "--smoke", "--json", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    exports = [figures for figures in story.values() if isinstance(figures, dict) and "bundle" in figures]
    assert exports
    monkeypatch.setenv("ENFOLD_HOME", str(home))
    facts = recipe.load(slug, smoke=True)
    stages = {stage.name: stage for stage in facts.stage}
    for figures in exports:
        assert figures["fp32_cosine"] >= 0.99999
        made = next(one for one in facts.stage if one.verb == "export" and one.bundle == figures["bundle"])
        side = next((recipe.side_of(stages[name]) for name in made.needs if recipe.side_of(stages[name])), None)
        modality = facts.sides[side].modality if side else facts.modality
        source = facts.learnt_from(made).source
        items = few_beside(facts, side) if side else few(facts, source, facts.modality)
        ref = f"{figures['bundle']}@{figures['version']}"
        for size in figures["sizes"] or [None]:
            model = enfold.open(ref, size=size)
            entry = model.entry(modality=modality)
            assert model.embed(items, entry).vectors.shape == (3, model.facts(entry).dimensions)
            assert model.check() > 0.99999
        assert model.bundle.manifest.lineage.method == next(s.method for s in facts.stage if s.verb == "pretrain")
        if "generate" in model.bundle.manifest.tasks:
            assert model.bundle.manifest.tasks["generate"]["confidence"] == story["tune"]["confidence"]
        texts, entries = ["a red heart", "a cat", "smiling"], model.bundle.manifest.entries
        for task in model.tasks:
            asked = ("text", texts) if task in ("generate", "paint") else (entry, items)
            assert len(model.predict(asked[1], task, model.task(task).trial, entry=asked[0])) == 3
        if len(figures["sizes"]) < 2 and side is None:
            find_over_http(home, ref, entry if len(entries) > 1 else None, facts, source)
        if len(entries) > 1:
            others = {name: few(facts, one.data.source, name) for name, one in facts.mixed.items()}
            others |= {name: few_beside(facts, name) for name in entries if name in facts.sides}
            find_across(model, {entry: items, **(others or {"text": texts})})


def find_over_http(home: Path, ref: str, entry: str | None, facts: recipe.Recipe, source: str) -> None:
    """The beginning of the data set as a collection, by a job of the server; a raw item finds itself in it."""
    data = open_dataset(source, data=settings.load().data)
    name = ref.replace("@", "-")
    server = servers.start(home, ref)
    try:
        with server.client() as client:
            servers.until(client.ready, 60)
            chosen = {"entry": entry} if entry else {}
            to = f"index://{name}"
            job = client.start_job("embed", source=source, model=ref, to=to, limit=12, **chosen)
            servers.until(lambda: client.job(job.id).state in ("done", "failed"), 120)
            assert client.job(job.id).state == "done", client.job(job.id).log
            assert client.collection(name).points == 12
            record = data.records[3]
            stands = record.value is None or modalities.get(facts.modality).written
            inline = record.value if stands else json.loads(record.value)
            raw = record.path if inline is None else inline
            hits = client.search(name, item=raw, modality=facts.modality, exact=True, limit=12).hits
            own = next(hit for hit in hits if hit.payload["item"] == record.id)
            assert own.score == pytest.approx(hits[0].score, abs=1e-4)  # copies may come first
            assert client.thumbnail(name, own.id)[8:12] == b"WEBP"
            reader, shown = facts.modality_of(), client.original(name, own.id)
            assert reader.mark(reader.read(shown)) == pytest.approx(reader.mark(reader.read(raw)))
    finally:
        servers.stop(server)


def few(facts: recipe.Recipe, source: str, modality: str) -> list[Any]:
    """Three decoded items of a source's test split."""
    data = open_dataset(source, data=settings.load().data).split("test")
    reader = facts.mixed_of().get(modality) or facts.modality_of()
    return [data.read(i, reader) for i in range(3)]


def few_beside(facts: recipe.Recipe, side: str) -> list[Any]:
    """Three items of a column, as the modality reads them."""
    data, reader = open_dataset(facts.data.source, data=settings.load().data), facts.sides_of()[side]
    column = data.split("test").beside(side, reader)
    return [column.read(i, reader) for i in range(3)]


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
                    hits = collection.query(Query(vector, limit=3, exact=True))
                    assert [hit.id for hit in hits] == [points[i] for i in np.argsort(-(stored @ vector))]
    finally:
        index.close()


def claiming() -> list[str]:
    return [slug for slug in recipe.names() if recipe.load(slug).claim is not None]


def first_and_slow(slugs: list[str]) -> list[Any]:
    """One stands for the machinery whenever tests run; all of them have a target of their own, `make test-claims`."""
    return [slugs[0], *(pytest.param(slug, marks=pytest.mark.slow) for slug in slugs[1:])]


@pytest.mark.parametrize("slug", first_and_slow(claiming()))
def test_a_claim_runs_every_arm_judges_every_check_and_publishes_nothing(slug: str, home: Path) -> None:
    fetch(slug, home)
    published = {file: file.read_bytes() for file in catalogue.RESULTS.iterdir()}
    done = servers.enfold("reproduce", slug, "--smoke", "--json", home=home)
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
