"""Embeds a collection again with another bundle, while it is searched and written to: a next generation of it.

    begin       a generation of the new space, `photos@2`; from then on raw items and erasures reach both
    carry over  every item is read again where it came from, else from what was kept of it; in rounds, until nothing
                is left
    gate        every item is there; the graph finds what comparing with every point finds; the served model gives the
                vectors that are stored
    switch      `photos` means `photos@2`, from one request to the next
    settle      what was written to the first meanwhile is carried over
    back        the same the other way round, and the second generation goes

What has been done is known from the index and from a ledger of the items, so that the same command goes on after a
kill at any moment, and `--back` undoes it.
"""
# N points, D dimensions

import hashlib
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import pyarrow as pa
import typer
from pydantic import Field, model_validator

import enfold
from enfold import listing, settings, wire
from enfold.archives import Packed
from enfold.client import Client
from enfold.errors import Conflict, EnfoldError, GateRefused, UnknownName, WrongUse
from enfold.golden import GOLDEN_COSINE, cosine
from enfold.model import Model
from enfold.settings import Settings
from serving import reach
from serving.index import arrow
from serving.jobs import record
from serving.jobs.layout import place
from serving.jobs.ledger import Ledger
from serving.jobs.pipeline import Maker
from serving.jobs.source import Item, open_source
from serving.originals import ledgers

ROUNDS = 20  # of carrying over what was written during the one before
GOLDEN = 64  # points whose neighbours are looked at
CANARIES = 8  # items that the served model embeds once more
NEIGHBOURS = 10
RECALL = 0.95  # of the graph, at least
SETTLE_SECONDS = 1.0  # after a switch, for requests under way
_ANEW = ("space", "bundle", "run", "part")  # payload that another bundle gives anew


class Upgrade(record.Arguments):
    """Which collection, and to which bundle or back."""

    collection: record.Word
    to: record.Word | None = None
    back: bool = False
    overlap: float = Field(0, ge=0, le=1)

    @model_validator(mode="after")
    def _one_way(self) -> "Upgrade":
        if (self.to is None) != self.back:
            raise ValueError("say either the bundle to go to, or to go back")
        return self

    def id(self, settings: Settings) -> str:
        return hashlib.sha256(f"upgrade\0{self.collection}".encode()).hexdigest()[:16]

    def words(self) -> list[str]:
        way = ["--back"] if self.to is None else ["--to", self.to, "--overlap", str(self.overlap)]
        return ["index", "upgrade", self.collection, *way]


def upgrade(
    collection: Annotated[str, typer.Argument(help="name of the collection")],
    to: Annotated[str | None, typer.Option(help="bundle: name, name@version or name@alias")] = None,
    back: Annotated[
        bool, typer.Option("--back", help="to the generation before, or give up one that is begun")
    ] = False,
    overlap: Annotated[float, typer.Option(min=0, max=1, help="share of neighbours that must stay the same")] = 0.0,
) -> dict[str, Any]:
    """Embed a collection again with another bundle while it is searched; the same command goes on where it was."""
    config, job = settings.load(), Upgrade.checked(collection=collection, to=to, back=back, overlap=overlap)
    folder = config.jobs / job.id(config)
    with (
        reach.collections(config) as home,
        record.running(folder, "upgrade", ["enfold", *job.words()]) as work,
    ):
        kept = home.generations(job.collection)
        if kept.name != job.collection:
            raise WrongUse(f"'{job.collection}' is one generation; an upgrade is of the whole: '{kept.name}'")
        move = Move(home, kept.name, folder, work, config)
        return move.back() if job.to is None else move.forward(job.to, job.overlap)


@dataclass(frozen=True)
class Kept:
    """An item as a generation has it."""

    source: str
    item: str
    payload: dict[str, Any]  # of its first point
    ids: list[str] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)  # where each begins in the item
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def state(self) -> str:
        """Changes when its vectors or payload do."""
        return str(self.digest.hexdigest()[:32])

    @property
    def fields(self) -> dict[str, Any]:
        return {name: value for name, value in self.payload.items() if name not in _ANEW}

    @property
    def text(self) -> str | None:
        """Put together again of its windows, which overlap; between those that do not are spaces."""
        whole = ""
        for start, text in sorted(self.texts):
            whole = whole[:start].ljust(start) + text
        return whole or None


def items_of(table: pa.Table, collection: str) -> dict[str, Kept]:
    """The items of points, by source and name; a point that tells neither is one by itself."""
    points, found = arrow.to_points(table), dict[str, Kept]()
    for row in np.argsort(np.array(points.ids, dtype=object)):
        id, payload = points.ids[row], points.payloads[row]
        known = isinstance(payload.get("source"), str) and isinstance(payload.get("item"), str)
        source, item = (payload["source"], payload["item"]) if known else (f"index://{collection}", id)
        kept = found.setdefault(f"{source}\0{item}", Kept(source, item, payload))
        kept.ids.append(id)
        kept.digest.update(id.encode() + points.vectors[row].tobytes())
        kept.digest.update(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS))
        if isinstance(payload.get("text"), str):
            start = payload["part"].get("start") if _is_part(payload) else None
            kept.texts.append((start if isinstance(start, int) else 0, payload["text"]))
    return found


def _is_part(payload: dict[str, Any]) -> bool:
    return isinstance(payload.get("part"), dict) and "index" in payload["part"]


@dataclass
class Move:
    """One run of an upgrade, either way."""

    home: Client | reach.Local
    name: str
    folder: Path
    work: record.Running
    config: Settings

    def forward(self, to: str, overlap: float) -> dict[str, Any]:
        started = time.monotonic()
        if (kept := self.home.generations(self.name)).leaving is not None:
            self._settle(kept)
        encoder = self._encoder(to)
        new = self._meant(encoder)
        if self.home.collection(self.name).space == new.space:
            return {"collection": self.name, "model": self.home.collection(self.name).model, "generation": kept.live}
        self._check_served(new)
        if (newest := kept.all[-1]) != kept.live:
            begun = self.home.collection(f"{self.name}@{newest}")
            if begun.space != new.space:
                raise Conflict(
                    f"an upgrade of '{self.name}' to {begun.model} is begun: let the same command finish it, or give "
                    f"it up first, enfold index upgrade {self.name} --back"
                )
        kept = self.home.next_generation(new)
        draft = kept.all[-1]
        with closing(self._ledger(kept.live, draft)) as ledger:
            ledger.forget_failures()
            way = Way(self, kept.live, draft, ledger)
            way.carry_all()
            if failures := ledger.failures():
                raise GateRefused(
                    f"{len(failures)} items of '{self.name}' cannot be carried over, first "
                    f"{failures[0][0].replace(chr(0), ' ')}: {failures[0][1]}. Bring their files back or delete them, "
                    f"then the same command goes on; --back gives it up"
                )
            self.home.optimize(way.to)
            if self.home.collection(self.name).has_layout:
                self.work.tell("layout")
                place(self.home, way.to)
            report = way.gate(overlap)
        self._remember(draft, kept.live)
        self.work.tell("switch")
        left = self._settle(self.home.switch(self.name, draft))
        return {
            "collection": self.name,
            "model": new.model,
            "generation": draft,
            **report,
            "from_thumbnails": way.from_thumbnails,
            "left_behind": left,
            "seconds": round(time.monotonic() - started, 2),
        }

    def back(self) -> dict[str, Any]:
        kept = self.home.generations(self.name)
        newest = kept.all[-1]
        earlier = [number for number in kept.all if number < kept.live]
        if kept.live == newest and not earlier:
            raise WrongUse(f"collection '{self.name}' has no generation to go back to; there is only {newest}")
        if kept.live == newest:
            self.work.tell("switch")
            kept = self.home.switch(self.name, earlier[-1])
        left = self._settle(kept) if kept.leaving is not None else 0
        if not left:
            self.home.drop_collection(f"{self.name}@{newest}")
        return {
            "collection": self.name,
            "model": self.home.collection(self.name).model,
            "generation": kept.live,
            "left_behind": left,
        }

    def _settle(self, kept: wire.Generations) -> int:
        """Carry over what was written to the generation that was left: how many items could not be."""
        assert kept.leaving is not None
        self.work.tell("settle")
        time.sleep(SETTLE_SECONDS)
        with closing(self._ledger(kept.leaving, kept.live)) as ledger:
            Way(self, kept.leaving, kept.live, ledger, settling=True).carry_all()
            failed = len(ledger.failures())
        self.home.settle(self.name)
        return failed

    def _remember(self, left: int, to: int) -> None:
        """What a way back need not carry: what is there now."""
        file = self._file(left, to)
        file.unlink(missing_ok=True)
        with closing(Ledger(file)) as ledger:
            states = {key: one.state for key, one in self.items(f"{self.name}@{left}").items()}
            ledger.add(1, states, {}, 0)

    def items(self, collection: str) -> dict[str, Kept]:
        return items_of(self.home.points(collection), self.name)

    def _ledger(self, left: int, to: int) -> Ledger:
        return Ledger(self._file(left, to))

    def _file(self, left: int, to: int) -> Path:
        return self.folder / f"from-{left}-to-{to}.sqlite"

    def _encoder(self, ref: str) -> Model:
        encoder = enfold.open(ref, threads=self.config.threads)
        encoder.check()
        return encoder

    def encoder_of(self, collection: str) -> Model:
        """What fills a generation."""
        facts = self.home.collection(collection)
        encoder = self._encoder(facts.model)
        for size in [None, *encoder.bundle.manifest.sizes]:
            sized = encoder if size is None else enfold.open(facts.model, size=size, threads=self.config.threads)
            if sized.facts().space == facts.space:
                return sized
        raise WrongUse(f"{facts.model} gives no vectors of '{collection}' any more")

    def _meant(self, encoder: Model) -> wire.NewCollection:
        facts, now = encoder.facts(), self.home.collection(self.name)
        if facts.modality != now.modality:
            raise WrongUse(f"'{self.name}' is of {now.modality} items; {encoder.bundle.ref} takes {facts.modality}")
        return reach.collection_of(encoder, self.name, tokens=now.tokens is not None)

    def _check_served(self, new: wire.NewCollection) -> None:
        served = self.home.models()
        if served is not None and not any(
            entry.space == new.space for model in served for entry in model.entries.values()
        ):
            raise WrongUse(
                f"the server does not serve {new.model}, and could not embed what '{self.name}' is searched by: start "
                f"it with both bundles, enfold serve {self.home.collection(self.name).model} {new.model}"
            )


@dataclass
class Way:
    """From one generation to another.

    settling   the name means the other already: what is there and not here was written to it
    """

    move: Move
    left: int
    number: int
    ledger: Ledger
    settling: bool = False
    from_thumbnails: int = 0

    @property
    def of(self) -> str:
        return f"{self.move.name}@{self.left}"

    @property
    def to(self) -> str:
        return f"{self.move.name}@{self.number}"

    @cached_property
    def encoder(self) -> Model:
        return self.move.encoder_of(self.to)

    def carry_all(self) -> None:
        """Raises Conflict if others write more than can be carried over."""
        for _ in range(ROUNDS):
            if not self._carry():
                return
        raise Conflict(
            f"'{self.move.name}' is written to faster than it can be carried over: pause what writes there, then the "
            "same command goes on"
        )

    def _carry(self) -> int:
        """One round: how many items were new or had changed."""
        home = self.move.home
        there = self.move.items(self.to)  # before the other: what is missing there by then was erased
        here = self.move.items(self.of)
        gone = [id for key in there.keys() - here.keys() for id in there[key].ids]
        if gone and not self.settling:
            home.delete(self.to, ids=gone)
        failed = {key for key, _ in self.ledger.failures()}
        lost = [key for key in here.keys() - there.keys() - failed if self.ledger.state(key) is not None]
        for shard, keys in self.ledger.holding(() if self.settling else lost).items():
            self.ledger.forget(shard, keys, 0)
        wanted = {key: one for key, one in here.items() if self.ledger.state(key) != one.state}
        done, parts = 0, any(_is_part(one.payload) for one in here.values())
        for source in sorted({one.source for one in wanted.values()}):
            own = {one.item: key for key, one in wanted.items() if one.source == source}
            tokens = home.collection(self.to).tokens is not None
            maker = Maker(self.encoder, source, parts, pictures=True, tokens=tokens)
            without: dict[str, str] = {}
            found = self._items(source, {item: wanted[key] for item, key in own.items()}, there, without)
            for prepared in maker.shards(found, self.move.config.threads):
                points, some = maker.points(prepared)
                self._keep(points, {own[one.item.key]: one.reason for one in some}, here, there)
                done += len(some)
                self.move.work.tell("carry over", done=len(here) - len(wanted) + done, total=len(here))
            if without:
                reasons = {own[item]: reason for item, reason in without.items()}
                self._note({key: wanted[key].state for key in reasons}, {k: r for k, r in reasons.items() if r})
        return len(wanted)

    def _keep(self, points: Any, reasons: dict[str, str | None], here: dict[str, Kept], there: dict[str, Kept]) -> None:
        home = self.move.home
        for piece in arrow.pieces(arrow.to_table(points, self.encoder.bundle.ref)):
            home.upsert(self.to, piece)
        made = set(points.ids)
        stale = [id for key in reasons if key in there and reasons[key] is None for id in there[key].ids]
        if gone := [id for id in stale if id not in made]:
            home.delete(self.to, ids=gone)
        self._note({key: here[key].state for key in reasons}, {key: why for key, why in reasons.items() if why})

    def _note(self, states: dict[str, str], failures: dict[str, str]) -> None:
        self.ledger.add(self.ledger.next_shard(), states, failures, 0)

    def _items(
        self, source: str, wanted: dict[str, Kept], there: dict[str, Kept], without: dict[str, str]
    ) -> Iterator[Item]:
        """Items of a source as they can be read; of those that cannot, the reason goes to `without`."""
        left, modality = dict(wanted), self.encoder.facts().modality
        for item in self._source(source):
            if item.key in left and (isinstance(item.raw, str | bytes) or listing.state(item.raw) != "missing"):
                yield _as(item, left.pop(item.key))
        for name, kept in left.items():
            if modality == "text" and kept.text:
                yield _as(Item(name, kept.text), kept)
            elif modality == "image" and (f"{source}\0{name}" in there):
                without[name] = ""  # written to both, from what it was: better than its thumbnail
            elif modality == "image" and (picture := self._picture(kept.ids[0])):
                self.from_thumbnails += 1
                yield _as(Item(name, picture), kept)
            else:
                without[name] = f"it is not in {source} any more, and nothing that can be embedded was kept of it"

    def _source(self, uri: str) -> Iterator[Item]:
        """What a source holds; nothing if it is not there any more, or is none that a job has read: a caller's word."""
        if uri in ledgers(self.move.config, self.move.name):
            with suppress(EnfoldError, OSError):
                modality = self.encoder.facts().modality
                yield from open_source(uri, modality=modality, data=self.move.config.data).items()

    def _picture(self, id: str) -> bytes | None:
        try:
            found: bytes = self.move.home.thumbnail(self.of, id)
        except UnknownName:
            return None
        return found

    def gate(self, overlap: float) -> dict[str, Any]:
        """What the new generation gives. Raises GateRefused."""
        self.move.work.tell("gate")
        here, there = self.move.items(self.of), self.move.items(self.to)
        # What the ledger does not know was written since: it is carried over after the switch.
        if lacking := [key for key in here.keys() - there.keys() if self.ledger.state(key) is not None]:
            raise GateRefused(f"'{self.to}' lacks {len(lacking)} of {len(here)} items: run the same command again")
        keys = sorted(here.keys() & there.keys())
        chosen = [keys[row] for row in np.random.default_rng(0).permutation(len(keys))[:GOLDEN]]
        recall, stay = self._neighbours([(here[key].ids[0], there[key].ids[0]) for key in chosen])
        canary = self._canary({key: here[key] for key in chosen}, there)
        found = {"recall": recall, "overlap": stay, "canary": canary}
        least = {"recall": RECALL, "overlap": overlap, "canary": GOLDEN_COSINE}
        for name, value in found.items():
            if value is not None and not value >= least[name]:
                raise GateRefused(
                    f"the {name} of '{self.to}' is {value:.3f}, at least {least[name]} is asked for; "
                    f"'{self.move.name}' stays as it was. --back gives the upgrade up"
                )
        told = {name: None if value is None else round(value, 4) for name, value in found.items()}
        return {"items": len(here), **told}

    def _neighbours(self, pairs: list[tuple[str, str]]) -> tuple[float | None, float | None]:
        """Recall of the graph, and how many of an item's nearest others stay."""
        found, kept = [], []
        old, new = (self._vectors(name) for name in (self.of, self.to))
        for first, second in pairs:
            before = self._near(self.of, old[first], exact=True)
            exact, walked = (self._near(self.to, new[second], exact=how) for how in (True, False))
            found.append(len(exact.keys() & walked.keys()) / len(exact))
            others = set(before.values()) - {before.get(first)}
            kept += [len(others & set(exact.values())) / len(others)] if others else []
        return (float(np.mean(found)) if found else None), (float(np.mean(kept)) if kept else None)

    def _near(self, collection: str, vector: np.ndarray, *, exact: bool) -> dict[str, str]:
        """id -> item of the nearest points."""
        space = self.move.home.collection(collection).space
        hits = self.move.home.search(
            collection, vector=vector.tolist(), space=space, limit=NEIGHBOURS + 1, exact=exact
        ).hits
        return {hit.id: f"{hit.payload.get('source')}\0{hit.payload.get('item', hit.id)}" for hit in hits}

    def _vectors(self, collection: str) -> dict[str, np.ndarray]:
        points = arrow.to_points(self.move.home.points(collection))
        return dict(zip(points.ids, points.vectors, strict=True))

    def _canary(self, here: dict[str, Kept], there: dict[str, Kept]) -> float | None:
        """The lowest cosine of what the served model gives for items now to what is stored of them."""
        vectors, worst, tried = self._vectors(self.to), 1.0, 0
        parts = any(_is_part(one.payload) for one in here.values())
        for source in sorted({one.source for one in here.values()}):
            wanted = {one.item: one for one in here.values() if one.source == source}
            for item in self._items(source, wanted, there, {}):
                if tried == CANARIES:
                    return worst
                raw = item.raw.read_bytes() if isinstance(item.raw, Packed) else item.raw
                vector = self._embedded(raw, parts)
                stored = np.array([vectors[id] for id in there[f"{source}\0{item.key}"].ids])
                worst, tried = min(worst, float(cosine(stored, vector[None]).max())), tried + 1
        return worst if tried else None

    def _embedded(self, raw: Any, parts: bool) -> np.ndarray:
        home, model = self.move.home, self.encoder
        if isinstance(home, Client):
            modality, size = model.facts().modality, model.size
            found = home.embed([raw], modality=modality, parts=parts, model=model.bundle.ref, size=size)
            return np.asarray(found.vectors[0])
        return np.asarray(model.embed([raw], parts=parts).vectors[0])


def _as(item: Item, kept: Kept) -> Item:
    """An item with what the collection says of it."""
    return replace(item, fields=kept.fields, id=kept.ids[0] if len(kept.ids) == 1 else None)
