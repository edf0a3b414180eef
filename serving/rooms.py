"""What the handlers of every API call: settings, models, engine, index, jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from enfold import wire
from enfold.errors import TooLarge
from enfold.model import Model
from enfold.settings import Settings
from enfold.space import same_space
from serving.engine import Encoded, Engine
from serving.index import Index
from serving.jobs.queue import Jobs
from serving.keys import Keys
from serving.models import Models, entry_for, modality_of


@dataclass(frozen=True)
class Rooms:
    settings: Settings
    models: Models
    engine: Engine
    index: Index
    jobs: Jobs
    keys: Keys

    async def model(self, ref: str | None, items: int, *, variant: str = "fp32", size: str | None = None) -> Model:
        """The model that a request of so many items means, open. Raises TooLarge, UnknownName or WrongUse."""
        if items > self.settings.max_items:
            raise TooLarge(
                f"{items} items in one request; at most {self.settings.max_items}: send them in turns, see GET /limits"
            )
        model = self.models.select(ref)
        if (variant, size or model.size) != (model.variant, model.size) or not model.loaded:
            model = await self.engine.run(self.models.variant, model, variant, size)
        self.models.used(model)
        return model

    async def meant(self, ask: wire.Ask, items: Sequence[Any], count: int | None = None) -> tuple[Model, str]:
        """The model and entry that a request means; `items` say their modality, `count` how many there really are."""
        model = await self.model(ask.model, count or len(items), variant=ask.variant, size=ask.size)
        return model, entry_for(model, ask.entry, items)

    async def filling(
        self, facts: wire.NewCollection, ask: wire.Ask, items: Sequence[Any], *, tokens: bool = False
    ) -> tuple[Model, str, Encoded]:
        """Items through the model that a request names, which must be of the collection's space; else a loaded one."""
        if ask.model is None:
            model, entry = await self.engine.run(self.models.of_space, facts.space, modality_of(items), ask.entry)
            ask = wire.Ask(model=model.bundle.ref, variant=ask.variant, size=model.size, entry=entry)
        model, entry = await self.meant(ask, items)
        where = f"collection '{facts.name}'"
        same_space(model.facts(entry).space, facts.space, what=f"what {model.bundle.ref} gives", where=where)
        return model, entry, await self.engine.encode(model, entry, items, tokens=tokens)


def rooms_of(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms
