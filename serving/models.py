"""The bundles of one server, found by name, version, alias or space.

Each is verified when the server starts and opened when it is first needed: at the start as many as the memory budget
holds, later on the first request, when the longest unused makes room. A name or alias that comes to mean another
version is followed: the new one is opened and checked while the old one answers.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from enfold import store, wire
from enfold.bundle import Bundle
from enfold.errors import SpaceMismatch, Unavailable, UnknownName, WrongUse
from enfold.model import Model
from enfold.settings import Settings

LOADED = Gauge("enfold_loaded_bytes", "Bytes of the graphs in memory", ["model"])
LOADS = Counter("enfold_loads", "Models opened and checked", ["model"])
EVICTIONS = Counter("enfold_evictions", "Models closed to make room for another", ["model"])
_log = logging.getLogger(__name__)


class Models:
    """Empty until `load` has run the golden items of the bundles of the settings.

    closed   told of every model that is served no more
    """

    def __init__(self, settings: Settings, closed: Callable[[Model], None]):
        self._settings, self._closed = settings, closed
        self._refs = [ref for ref in map(str.strip, settings.models.split(",")) if ref]
        self._known: dict[tuple[str, str, str | None], Model] = {}  # (name@version, variant, size); the last used last
        self._first: dict[str, Model] = {}  # of each ref, as it is meant when nothing more is said
        self._failed: set[Path] = set()  # versions that were not fit to be followed
        self._leaving: list[Model] = []
        self._opening = threading.Lock()
        self._failure: Unavailable | None = Unavailable("the models are still loading: ask again in a second")

    @property
    def ready(self) -> bool:
        return self._failure is None

    def load(self) -> None:
        """Verify every bundle, open and check those that there is room for; a failure answers every request."""
        try:
            for ref in self._refs:
                model = self._verified(ref, "fp32", None)
                if self._fits(model):
                    self._ready(model)
                self._first[ref] = model
        except Exception as error:  # of a runtime, too: the server lives on and says why it is not ready
            self._failure = Unavailable(f"the server is not ready: {error}")
            raise
        self._failure = None

    def follow(self) -> None:
        """Take up the versions that names and aliases mean now; a version that fails its check is left aside.

        The old one's queue is closed a round later: requests that had just chosen it are in by then.
        """
        for model in self._leaving:
            self._closed(model)
        self._leaving = []
        for ref in self._refs:
            old = self._first[ref]
            now = old.bundle.path
            try:
                now = store.find(self._settings.bundles, ref)
                if now == old.bundle.path or now in self._failed:
                    continue
                new = self._verified(ref, old.variant, None)
                self._ready(new)
            except Exception as error:  # of a runtime, too: the old one goes on, and so does whoever follows
                self._failed.add(now)
                _log.error("%s stays at %s: %s", ref, old.bundle.ref, error)
                continue
            self._first[ref] = new
            _log.warning("%s is %s now, it was %s", ref, new.bundle.ref, old.bundle.ref)
            if all(old.bundle.ref != model.bundle.ref for model in self._first.values()):
                with self._opening:
                    gone = [key for key in self._known if key[0] == old.bundle.ref]
                    self._leaving += [self._known.pop(key) for key in gone]

    def all(self) -> list[Model]:
        """Each bundle once."""
        if self._failure is not None:
            raise Unavailable(str(self._failure))
        return list({model.bundle.ref: model for model in self._first.values()}.values())

    def select(self, ref: str | None) -> Model:
        """The model of that name, version or alias; the only one if unnamed."""
        known = {model.bundle.ref: model for model in self.all()}
        if ref is None:
            if len(known) != 1:
                raise WrongUse(f"name one of the models: {', '.join(known) or 'none is loaded'}")
            return next(iter(known.values()))
        if ref in self._first:
            return self._first[ref]
        name, _, which = ref.partition("@")
        version = store.aliases(self._settings.bundles, name).get(which, which) if which else None
        fitting = [key for key in known if key == f"{name}@{version}" or (not which and key.split("@")[0] == name)]
        if not fitting:
            raise UnknownName.among("model", ref, known, "The server opens what 'enfold serve' names.")
        return known[fitting[0]]

    def variant(self, model: Model, variant: str, size: str | None) -> Model:
        """The model in another precision or size, opened and checked if it is not."""
        key = (model.bundle.ref, variant, size or model.size)
        found = self._known.get(key)
        if found is None:
            with self._opening:
                found = self._known.get(key) or self._known.setdefault(key, self._unopened(model.bundle, variant, size))
        if not found.loaded:
            self._ready(found)
        return found

    def used(self, model: Model) -> None:
        """Note that a request means this model: the longest unused is closed first."""
        key = (model.bundle.ref, model.variant, model.size)
        if len(self._known) > 1 and (found := self._known.pop(key, None)) is not None:
            self._known[key] = found

    def of_space(self, space: str, modality: str, entry: str | None = None) -> tuple[Model, str]:
        """A model and its entry that turn items of `modality` into vectors of `space`.

        Raises SpaceMismatch if there is none, and WrongUse if a model has several and none is named.
        """
        for model in self.all():
            entries = model.bundle.manifest.entries
            takers = [name for name, one in entries.items() if one.modality == modality and entry in (None, name)]
            fitting = [(size, name) for name in takers for size, own in _spaces(model, name).items() if own == space]
            if len(names := list(dict.fromkeys(name for _, name in fitting))) > 1:
                raise WrongUse(
                    f"{model.bundle.ref} has several entries of {modality} items: name one of {', '.join(names)}"
                )
            if fitting:
                size, name = fitting[0]
                return self.variant(model, model.variant, size), name
        by = f" by an entry '{entry}'" if entry else ""
        raise SpaceMismatch(
            f"no loaded model turns {modality} items into vectors of space {space}{by}: serve the one that filled it"
        )

    def _verified(self, ref: str, variant: str, size: str | None) -> Model:
        with self._opening:
            model = self._unopened(store.open_ref(self._settings.bundles, ref), variant, size)
            return self._known.setdefault((model.bundle.ref, variant, model.size), model)

    def _unopened(self, bundle: Bundle, variant: str, size: str | None) -> Model:
        settings = self._settings
        return Model(bundle, variant=variant, size=size, runtime=settings.runtime, threads=settings.threads)

    def _fits(self, model: Model) -> bool:
        budget = self._settings.memory_mb * 2**20
        return not budget or self._bytes() + model.bytes <= budget

    def _bytes(self) -> int:
        return sum(model.bytes for model in self._known.values() if model.loaded)

    def _ready(self, model: Model) -> None:
        """Open and check, closing the longest unused until there is room."""
        with self._opening:
            if model.loaded:
                return
            for other in list(self._known.values()):
                if self._fits(model):
                    break
                if other.loaded and other is not model:
                    other.close()
                    LOADED.labels(other.bundle.ref).set(0)
                    EVICTIONS.labels(other.bundle.ref).inc()
            if not self._fits(model):
                raise Unavailable(
                    f"{model.bundle.ref} has {model.bytes / 2**20:.0f} MB; the server may hold "
                    f"{self._settings.memory_mb}: raise ENFOLD_MEMORY_MB"
                )
            try:
                model.check()
            except Exception:
                model.close()
                raise
            LOADED.labels(model.bundle.ref).set(model.bytes)
            LOADS.labels(model.bundle.ref).inc()


def _spaces(model: Model, entry: str) -> dict[str | None, str]:
    """Of an entry, by size."""
    facts = model.bundle.manifest.entries[entry]
    return {model.size: facts.space} | {size: own.space for size, own in facts.sizes.items()}


def modality_of(items: Sequence[Any]) -> str:
    """The modality of `wire` items. Raises WrongUse if there are several."""
    kinds = sorted({kind for item in items for kind in item.model_fields_set})
    if len(kinds) > 1:
        raise WrongUse(f"the items of one request are of one modality; these are {' and '.join(kinds)}")
    return kinds[0]


def entry_for(model: Model, name: str | None, items: Sequence[Any]) -> str:
    """The entry that takes these `wire` items. Raises WrongUse if it takes others."""
    kind = modality_of(items)
    entry = model.entry(name, modality=kind)
    takes = model.facts(entry).modality
    if takes != kind:
        raise WrongUse(f"entry '{entry}' of {model.bundle.ref} takes {takes} items, not {kind}")
    return entry


def describe(model: Model) -> wire.ModelInfo:
    """What the outside may know of a model."""
    manifest = model.bundle.manifest
    card = model.bundle.path / "README.md"
    return wire.ModelInfo(
        name=manifest.name,
        version=manifest.version,
        entries={
            name: wire.EntryInfo(
                modality=entry.modality,
                space=entry.space,
                dimensions=entry.dimensions,
                tokens=entry.tokens,
                sizes=entry.sizes,
                limits=model.modalities[name].limits.model_dump(),
            )
            for name, entry in manifest.entries.items()
        },
        tasks=list(model.tasks),
        labels={name: list(spec["labels"]) for name, spec in manifest.tasks.items() if "labels" in spec},
        pipelines=manifest.pipelines,
        variants=list(manifest.variants),
        sizes=list(manifest.sizes),
        loaded=model.loaded,
        method=manifest.lineage.method,
        run=manifest.lineage.run,
        licence=manifest.licence,
        metrics=manifest.metrics,
        runtime=model.runtime,
        runtime_reason=model.why,
        card=card.read_text() if card.exists() else "",
    )
