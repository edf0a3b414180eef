"""What the handlers of every API call: settings, models, engine, index, jobs."""

from dataclasses import dataclass

from starlette.requests import Request

from enfold.errors import TooLarge
from enfold.model import Model
from enfold.settings import Settings
from serving.engine import Engine
from serving.index import Index
from serving.jobs.queue import Jobs
from serving.models import Models


@dataclass(frozen=True)
class Rooms:
    settings: Settings
    models: Models
    engine: Engine
    index: Index
    jobs: Jobs

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


def rooms_of(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms
