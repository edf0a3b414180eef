"""The bundles of one server: opened and checked when it starts, found by name, version, alias or space."""

import threading
from collections.abc import Sequence
from typing import Any

import enfold
from enfold import store, wire
from enfold.errors import SpaceMismatch, Unavailable, UnknownName, WrongUse
from enfold.model import Model
from enfold.settings import Settings


class Models:
    """Empty until `load` has run the golden items of every bundle of the settings."""

    def __init__(self, settings: Settings):
        self._settings = settings
        self._opened: dict[tuple[str, str, str | None], Model] = {}  # (name@version, variant, size)
        self._first: list[Model] = []  # each bundle once, as it is meant when nothing more is said
        self._opening = threading.Lock()
        self._failure: Unavailable | None = Unavailable("the models are still loading: ask again in a second")

    @property
    def ready(self) -> bool:
        return self._failure is None

    def load(self) -> None:
        """Open and check; a failure becomes the answer to every request."""
        try:
            for ref in filter(None, map(str.strip, self._settings.models.split(","))):
                model = self._open(ref, "fp32", None)
                if model not in self._first:
                    self._first.append(model)
        except Exception as error:  # of a runtime, too: the server lives on and says why it is not ready
            self._failure = Unavailable(f"the server is not ready: {error}")
            raise
        self._failure = None

    def all(self) -> list[Model]:
        """Each bundle once."""
        if self._failure is not None:
            raise Unavailable(str(self._failure))
        return list(self._first)

    def select(self, ref: str | None) -> Model:
        """The model of that name, version or alias; the only one if unnamed."""
        known = {model.bundle.ref: model for model in self.all()}
        if ref is None:
            if len(known) != 1:
                raise WrongUse(f"name one of the models: {', '.join(known) or 'none is loaded'}")
            return next(iter(known.values()))
        name, _, which = ref.partition("@")
        version = store.aliases(self._settings.bundles, name).get(which, which) if which else None
        fitting = [key for key in known if key == f"{name}@{version}" or (not which and key.split("@")[0] == name)]
        if not fitting:
            raise UnknownName.among("model", ref, known, "The server opens what 'enfold serve' names.")
        return known[fitting[0]]

    def variant(self, model: Model, variant: str, size: str | None) -> Model:
        """The model in another precision or size, opened and checked at its first use."""
        key = (model.bundle.ref, variant, size or model.size)
        return self._opened.get(key) or self._open(*key)

    def of_space(self, space: str, modality: str) -> tuple[Model, str]:
        """A model and its entry that turn items of `modality` into vectors of `space`."""
        for model in self.all():
            for name, entry in model.bundle.manifest.entries.items():
                if entry.modality != modality:
                    continue
                spaces = {model.size: entry.space} | {size: facts.space for size, facts in entry.sizes.items()}
                for size, own in spaces.items():
                    if own == space:
                        return self.variant(model, model.variant, size), name
        raise SpaceMismatch(
            f"no loaded model turns {modality} items into vectors of space {space}: serve the one that filled it"
        )

    def _open(self, ref: str, variant: str, size: str | None) -> Model:
        with self._opening:
            model = enfold.open(ref, variant=variant, size=size, threads=self._settings.threads)
            model.check()
            return self._opened.setdefault((model.bundle.ref, variant, model.size), model)


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
                sizes=entry.sizes,
                limits=model.modalities[name].limits.model_dump(),
            )
            for name, entry in manifest.entries.items()
        },
        tasks=list(manifest.tasks),
        labels={name: list(spec["labels"]) for name, spec in manifest.tasks.items() if "labels" in spec},
        variants=list(manifest.variants),
        sizes=list(manifest.sizes),
        method=manifest.lineage.method,
        run=manifest.lineage.run,
        licence=manifest.licence,
        metrics=manifest.metrics,
        runtime=model.runtime,
        runtime_reason=model.why,
        card=card.read_text() if card.exists() else "",
    )
