"""What travels between client and server: every request and answer of the HTTP API, once.

An item is a JSON object whose one field is its modality: {"text": "…"} or {"image": "<base64>"}.
"""

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from enfold import modalities
from enfold.bundle import Size
from enfold.modalities import Part
from enfold.settings import MOST_ITEMS

ARROW = "application/vnd.apache.arrow.stream"


def _modality_of(item: Any) -> str:
    """The discriminator: which modality an item's field names."""
    fields = item if isinstance(item, dict) else getattr(item, "model_fields_set", ())
    return next(iter(fields), "")


if TYPE_CHECKING:
    Item = BaseModel
else:
    Item = Annotated[
        Union[tuple(Annotated[modalities.get(name).Json, Tag(name)] for name in modalities.names())],  # noqa: UP007
        Discriminator(
            _modality_of,
            custom_error_type="not_an_item",
            custom_error_message=f"an item is an object of one field, its modality: {' or '.join(modalities.names())}",
        ),
    ]


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457; `code` is stable, `detail` says what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str


# --- models ---------------------------------------------------------------------------------------------------------


class Ask(Record):
    """What every request to a model may choose."""

    model: str | None = Field(None, description="bundle name, @version or @alias; the only one if left out")
    variant: str = Field("fp32", description="precision")
    size: str | None = Field(None, description="one of the bundle's sizes; its last if left out")
    entry: str | None = Field(None, description="door of the bundle; found from the item's modality if left out")


class Items(Ask):
    items: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    all_or_nothing: bool = Field(False, description="refuse the request if one of its items cannot be read")


class ItemError(Record):
    """Why an item among others has no answer."""

    item: int = Field(description="index in the request")
    code: str
    detail: str


class EmbedRequest(Items):
    parts: bool = Field(False, description="one vector per window or tile of large items, not only the beginning")
    dimensions: int | None = Field(None, description="the first so many, where the model was trained for that")


class Vector(Record):
    item: int = Field(description="index in the request")
    part: Part | None = None
    vector: list[float]


class EmbedResponse(Record):
    model: str
    space: str
    dimensions: int
    vectors: list[Vector]
    errors: list[ItemError] = []


class PredictRequest(Items):
    task: str | None = Field(None, description="the bundle's first task if left out")
    options: dict[str, Any] = {}
    stream: bool = Field(False, description="one item's answer piece by piece, as server-sent events")


class PredictResponse(Record):
    model: str
    task: str
    answers: list[dict[str, Any] | None] = Field(description="one per item; null where `errors` says why")
    errors: list[ItemError] = []


class EntryInfo(Record):
    modality: str
    space: str
    dimensions: int
    sizes: dict[str, Size] = Field({}, description="of each size, where the bundle has several")
    limits: dict[str, Any]


class ModelInfo(Record):
    name: str
    version: int
    entries: dict[str, EntryInfo]
    tasks: list[str]
    labels: dict[str, list[str]]
    variants: list[str]
    sizes: list[str] = Field([], description="smallest first; the last is meant when none is named")
    loaded: bool = Field(True, description="in memory; else its next request opens it first")
    method: str | None
    run: str | None
    licence: str
    metrics: dict[str, float]
    runtime: str = Field(description="what runs it")
    runtime_reason: str = Field(description="why that one: measured, asked for, or the usual one")
    card: str = Field(description="model card, Markdown")


class Limits(Record):
    """What a client must know to split its work."""

    max_items: int
    max_body_bytes: int
    modalities: dict[str, dict[str, Any]]


# --- collections ----------------------------------------------------------------------------------------------------


class CollectionInfo(Record):
    name: str
    model: str = Field(description="bundle that filled it: name@version")
    entry: str
    modality: str
    space: str
    dimensions: int
    points: int
    indexed: int = Field(description="points in the HNSW graph; the rest are searched one by one")
    has_layout: bool = False


class NewCollection(Record):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    model: str
    entry: str
    modality: str
    space: str
    dimensions: int = Field(ge=1, le=65_536)


class Point(Record):
    id: str
    payload: dict[str, Any]


class Hit(Point):
    score: float = Field(description="cosine")


class Condition(Record):
    """One payload field equal to one of the values."""

    field: str
    any: list[str | int | bool] = Field(min_length=1, max_length=1000)


class SearchRequest(Ask):
    """Exactly one of item, vector and id says what to look for."""

    item: Item | None = None
    vector: list[float] | None = None
    space: str | None = Field(None, description="of the vector: refused unless it is the collection's")
    id: str | None = None
    limit: int = Field(10, ge=1, le=1000)
    filter: list[Condition] = Field([], max_length=32)
    exact: bool = Field(False, description="compare with every point instead of walking the graph")


class SearchResponse(Record):
    collection: str
    model: str
    space: str
    hits: list[Hit]
    milliseconds: float


class NewPoint(Record):
    item: Item
    id: str | None = Field(None, description="a UUID; made from the item's bytes if left out")
    payload: dict[str, Any] = {}


class AddRequest(Ask):
    """Raw items to embed and keep; ready vectors travel as an Arrow stream to the same route."""

    items: list[NewPoint] = Field(min_length=1, max_length=MOST_ITEMS)


class UpsertResponse(Record):
    collection: str
    upserted: int


class DeleteRequest(Record):
    source: str | None = Field(None, description="erase every point of this source")
    ids: list[str] = []


class Facet(Record):
    value: str | int | bool
    count: int


class NewHead(Record):
    """A task for the model that filled a collection, from the labels that its points carry."""

    collection: str
    field: str = Field("label", description="payload field that holds the label")


class Head(Record):
    model: str = Field(description="the new version, which also answers the task")
    task: str
    labels: dict[str, int] = Field(description="how many points each was made from")
    left_out: list[str] = Field([], description="labels of a single point")
    leave_one_out_accuracy: float = Field(description="of the points themselves, each judged without it")


class Job(Record):
    id: str
    kind: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    created: str
    command: list[str]
    progress: dict[str, Any] = {}
    log: str = Field("", description="the last lines")


class NewJob(Record):
    kind: str = Field(description="embed or layout")
    arguments: dict[str, str | int | bool] = {}
