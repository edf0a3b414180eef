"""What travels between client and server: every request and answer of the HTTP API, once.

An item is a JSON object whose one field is its modality: {"text": "…"} or {"image": "<base64>"}.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from enfold import modalities
from enfold.bundle import NAME, Size
from enfold.modalities import Part
from enfold.pipelines import Steps, checked
from enfold.settings import MOST_ITEMS

ARROW = "application/vnd.apache.arrow.stream"
MOST_EXAMPLES = 32  # of a search


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
    tokens: int | None = Field(None, description="numbers of a token's vector, for collections that keep them")
    sizes: dict[str, Size] = Field({}, description="of each size, where the bundle has several")
    limits: dict[str, Any]


class ModelInfo(Record):
    name: str
    version: int
    entries: dict[str, EntryInfo]
    tasks: list[str]
    labels: dict[str, list[str]]
    pipelines: dict[str, Steps] = Field({}, description="ways to search, by name")
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
    tokens: int | None = None
    points: int
    indexed: int = Field(description="points in the HNSW graph; the rest are searched one by one")
    graph: Literal["small", "built", "building", "lacking"] = Field(
        "small", description="small: too few points for one; building, lacking: every search compares with many points"
    )
    quantised: bool = Field(False, description="searched by 8 bits a number first, then by the vectors themselves")
    has_layout: bool = False
    has_health: bool = False


class NewCollection(Record):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    model: str
    entry: str
    modality: str
    space: str
    dimensions: int = Field(ge=1, le=65_536)
    tokens: int | None = Field(
        None, ge=1, le=65_536, description="numbers of each token's vector, where those are kept for late interaction"
    )


class Generations(Record):
    """Those of a collection: `photos@2` names the second of `photos` wherever a collection is named."""

    name: str
    live: int = Field(description="the one that the name means")
    all: list[int]
    leaving: int | None = Field(None, description="left by a switch whose last writes may still be carried over")


class Switch(Record):
    live: int | None = Field(None, ge=1, description="the generation that the name shall mean")
    settled: bool = Field(False, description="what was left is carried over")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Switch":
        if (self.live is None) != self.settled:
            raise ValueError("say either which generation is 'live', or that the switch is 'settled'")
        return self


class Point(Record):
    id: str
    payload: dict[str, Any]


class Hit(Point):
    score: float = Field(
        description="cosine; of words BM25, of both the fused ranks, of a context Qdrant's own; of late "
        "interaction the sum over the query's tokens of their best cosines"
    )


class Condition(Record):
    """What a payload field must be; everything that is said must hold."""

    field: str
    any: list[str | int | bool] = Field([], max_length=1000, description="equal to one of these")
    none: list[str | int | bool] = Field([], max_length=1000, description="equal to none of these")
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None
    exists: bool | None = Field(None, description="whether the point has the field at all")

    @model_validator(mode="after")
    def _says_something(self) -> "Condition":
        if self.model_dump(exclude_defaults=True).keys() == {"field"}:
            raise ValueError("say what the field must be, by any, none, gt, gte, lt, lte or exists")
        return self


class Example(Record):
    """Exactly one of item, vector and id."""

    item: Item | None = None
    vector: list[float] | None = None
    space: str | None = Field(None, description="of the vector: refused unless it is the collection's")
    id: str | None = None


class Pair(Record):
    """The first is to be preferred to the second."""

    like: Example
    unlike: Example


class SearchRequest(Ask, Example):
    """What to look for: an item, vector or id, or several examples; words; or words and examples, fused by rank."""

    like: list[Example] = Field([], max_length=MOST_EXAMPLES, description="more points to be near to")
    unlike: list[Example] = Field([], max_length=MOST_EXAMPLES, description="points to be far from")
    context: list[Pair] = Field([], max_length=MOST_EXAMPLES, description="pairs that say which side of the space")
    words: str | None = Field(None, max_length=10_000, description="rank by BM25 of these in the field `words_in`")
    words_in: str = Field("text", description="payload field that is searched for words")
    late_interaction: bool = Field(
        False, description="order the best by their tokens: for each of the item's, the likest of theirs (MaxSim)"
    )
    pipeline: str | None = Field(None, description="of the collection's model, by name: its steps on a text item")
    limit: int = Field(10, ge=1, le=1000)
    offset: int = Field(0, ge=0, le=100_000, description="how many of the best to pass over")
    min_score: float | None = Field(None, description="leave out what scores less")
    filter: Annotated[list[Condition], Field(max_length=32)] | dict[str, Any] = Field(
        [], description="conditions, all of which hold; or an object: a filter in Qdrant's own words"
    )
    group_by: str | None = Field(None, description="payload field (`item`): at most `group_size` hits of each value")
    group_size: int = Field(1, ge=1, le=100)
    diversity: float = Field(0, ge=0, le=1, description="0: the nearest; towards 1: the less alike (MMR)")
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


class View(Record):
    """What a map showed: the choices that its address holds."""

    name: str = Field(min_length=1, max_length=80, pattern=r"^[^/\x00-\x1f]+$")
    choices: dict[str, str] = Field(max_length=20, description="parameters of the map's address, e.g. lasso")

    @field_validator("choices")
    @classmethod
    def _short(cls, choices: dict[str, str]) -> dict[str, str]:
        if sum(len(key) + len(value) for key, value in choices.items()) > 4000:
            raise ValueError("at most 4,000 characters in all")
        return choices


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


class NewPipeline(Record):
    """A way to search, kept with a model under a name."""

    name: str = Field(pattern=NAME)
    model: str | None = Field(None, description="bundle name, @version or @alias; the only one if left out")
    steps: Annotated[Steps, AfterValidator(checked)]


class Pipeline(Record):
    model: str = Field(description="the new version, which also has the pipeline")
    name: str
    steps: Steps


class Job(Record):
    id: str
    kind: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    created: str
    command: list[str]
    progress: dict[str, Any] = {}
    log: str = Field("", description="the last lines")


class NewJob(Record):
    kind: str = Field(description="embed, layout, health, drift or upgrade")
    arguments: dict[str, str | int | float | bool] = {}


# --- runs and methods -----------------------------------------------------------------------------------------------


class RunStage(BaseModel):
    """A stage of a training run: what it came to, once it is done."""

    name: str
    verb: str
    state: Literal["waiting", "running", "done"]
    seconds: float | None = None
    figures: dict[str, Any] = {}


class RunInfo(BaseModel):
    """A training run of the server's home."""

    id: str
    recipe: str
    data: str
    items: int
    created: str
    state: str = Field(description="done, or running: at work, or stopped before its end")
    heard: str = Field(description="when it last wrote anything")
    stages: list[RunStage]


class Run(RunInfo):
    curves: dict[str, list[dict[str, Any]]] = Field(description="by stage, a row for each logged step")


class Check(BaseModel):
    """One comparison of a claim: an arm beside its baseline, over the seeds."""

    arm: str
    baseline: str | float = Field(description="another arm, or a number")
    beyond: tuple[str, str | float] | None = Field(
        None, description="an arm and a baseline whose own gain is taken off"
    )
    relation: str
    value: float
    interval: tuple[float, float]
    threshold: float | None
    verdict: str


class Claim(BaseModel):
    """What `enfold reproduce` found of what a method's paper claims, at small size."""

    sentence: str
    verdict: str
    seeds: list[int]
    checks: list[Check]


class Method(BaseModel):
    """A published method of the catalogue."""

    slug: str
    paper: str
    family: str
    about: str = Field(description="what the paper works on")
    state: Literal["working", "missing"]
    items: list[str] = Field([], description="modalities that its recipe takes")
    claim: Claim | None = None
