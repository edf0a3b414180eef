"""The recipe: the whole life of one encoder on one page of TOML.

Facts at the top (data, preprocessing, encoder), then a list of [[stage]] tables, each with a verb. A recipe resolves
once (file <- smoke sizes <- --set) into one frozen object; an unknown key fails and lists the known ones.
"""

import hashlib
import json
import tomllib
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from enfold import modalities
from enfold.errors import UnknownName, WrongUse
from enfold.model import open as open_model
from training.data.dataset import Dataset

RECIPES = Path(__file__).parent / "recipes"


def _listed(kind: str, folder: str, name: str) -> str:
    """A name that is a file of a folder of this room; found without importing it."""
    known = [path.stem for path in (Path(__file__).parent / folder).glob("[!_]*.py")]
    if name not in known:
        raise UnknownName.among(kind, name, known)
    return name


Pinned = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*@[1-9][0-9]*$")]  # name@version: an alias could move


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Data(_Table):
    source: str  # built-in name, folder, or CSV/Parquet/JSONL manifest
    only: dict[str, tuple[str, ...]] = {}  # column beside the item -> its values of items that are taken
    exclude: str | None = None  # a CSV file whose column `item` names items of the training split that are left out
    train_items: int | None = Field(None, ge=1)  # at most so many of the training split
    held_out_items: int | None = Field(None, ge=1)  # at most so many of each other split

    def chosen(self, found: Dataset) -> Dataset:
        """What is taken of the source."""
        return found.only(self.only).without(self.exclude).shortened(self.train_items, self.held_out_items)


class Side(_Table):
    """A column beside the item that methods see too: a text (captions), or files of a modality (label maps)."""

    modality: str
    preprocess: dict[str, Any] = {}  # where it is not that of items of the same modality
    tokens: bool = True  # of a text; false where its words are read as they stand, such as names of classes
    joins: Pinned | None = None  # a bundle that reads it, whose space the run joins

    @model_validator(mode="after")
    def _read_one_way(self) -> "Side":
        if self.joins is not None and self.preprocess:
            raise ValueError(f"what joins {self.joins} is read as that bundle does: leave out preprocess")
        return self


class Mixed(_Table):
    """Items of another modality that pretraining takes beside the recipe's own, into one encoder that reads both."""

    data: Data
    preprocess: dict[str, Any] = {}


class Tokenizer(_Table):
    """Trained on the texts of the training split, items and sides alike; or that of a published model."""

    vocabulary: int | None = Field(None, ge=300)  # byte-level: 256 of them are the bytes
    pairs: bool = False  # with tokens to read two texts together, and to hide one
    ends: bool = False  # with a token at the end of every text, for an encoder that reads it there
    model: str | None = None  # whose tokenizer is taken: the name of one that is fetched, or its folder

    @model_validator(mode="after")
    def _one_source(self) -> "Tokenizer":
        if (self.vocabulary is None) == (self.model is None):
            raise ValueError("a tokenizer is trained (vocabulary = 4096) or taken (model = 'minilm'): name one of them")
        return self


class Encoder(_Table):
    name: Annotated[str, AfterValidator(partial(_listed, "encoder", "encoders"))]
    config: dict[str, Any] = {}
    # Published weights: a model that is fetched or its folder, timm's name of one, or a .safetensors file.
    pretrained: str | None = None


class _Stage(_Table):
    name: str = Field(pattern=r"^[a-z0-9_]+$")
    needs: tuple[str, ...] = ()
    data: Data | None = None  # where it is not the recipe's
    preprocess: dict[str, Any] | None = None  # where it is not the recipe's
    seed: int | None = None  # where no seed of a claim shall change it: a model that all of them start from


class Pretrain(_Stage):
    """Train an encoder with a method, from fresh weights or from the whole state of a needed pretraining.

    Writes the encoder, the whole method state, and the head that answers a task where the method has one.
    """

    verb: Literal["pretrain"]
    method: Annotated[str, AfterValidator(partial(_listed, "method", "methods"))]
    encoder: Encoder | None = None  # where it is not the recipe's
    config: dict[str, Any] = {}  # of the method, where it differs from the paper
    train: dict[str, Any] = {}  # of the loop


class Select(_Stage):
    """Choose items of a pool that later pretraining adds to the training split. Writes their ids."""

    verb: Literal["select"]
    selection: Annotated[str, AfterValidator(partial(_listed, "selection", "selection"))]
    pool: tuple[str, ...] = Field(min_length=1)  # data sets, of which the training splits are taken
    config: dict[str, Any] = {}
    budget: int | None = Field(None, ge=1)  # items at most; else as many as a needed select stage took


class Adapt(_Stage):
    """Fit the needed encoder, or a fresh one, to labels. Writes a head, and the encoder if it changed."""

    verb: Literal["adapt"]
    side: str | None = None  # the column that stands for the items, with the tower that reads it
    adaptation: Annotated[str, AfterValidator(partial(_listed, "adaptation", "adaptation"))]
    encoder: Encoder | None = None  # of a student, or where there is nothing needed and it is not the recipe's
    config: dict[str, Any] = {}
    train: dict[str, Any] = {}
    # How much of each class's labels is seen: so many (10), or a share (0.1).
    labels: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)] | None = None
    tried_lr: tuple[float, ...] = ()  # what train.lr was chosen from, on the validation split


class Evaluate(_Stage):
    """Judge the needed encoder. Writes figures."""

    verb: Literal["evaluate"]
    side: str | None = None  # as of an adaptation
    encoder: Encoder | None = None  # where there is nothing needed and it is not the recipe's
    evaluations: tuple[Annotated[str, AfterValidator(partial(_listed, "evaluation", "evaluation"))], ...] = (
        "spread",
        "knn",
        "linear_probe",
        "few_label",
    )


class Export(_Stage):
    """Through the gate into a bundle: the needed encoder and heads."""

    verb: Literal["export"]
    bundle: str
    sizes: dict[str, tuple[str, ...]] = {}  # size -> the needed stages that made it; else what the encoder itself has


Stage = Annotated[Pretrain | Select | Adapt | Evaluate | Export, Field(discriminator="verb")]


def side_of(stage: Stage) -> str | None:
    """The column that a stage works on in place of the items, if it does."""
    return getattr(stage, "side", None)


class Arm(_Table):
    """One of the runs that are compared. A recipe's page may name `stages` and what to `set` in them instead."""

    name: str
    stage: tuple[Stage, ...] = Field(min_length=1)
    metric: str  # <stage>.<figure>
    seeds: tuple[int, ...] | None = None  # the claim's, unless it is reported only


class Check(_Table):
    """`arm` beats `baseline`, another arm or a number, by the threshold, seed by seed: by difference or as a ratio.

    An arm stands for its metric; `arm:stage.figure` for another figure of its run. `wins` counts on how many `figures`
    it is no worse. What an arm gains `beyond` another gain (that of an arm over its baseline) is what is left without
    that. Without a threshold it is reported only.
    """

    arm: str
    baseline: str | float
    relation: Literal["difference", "ratio", "wins"] = "difference"
    figures: tuple[str, ...] = ()  # <stage>.<figure>, of wins alone
    beyond: tuple[str, str | float] | None = None
    threshold: float | None = None

    @model_validator(mode="after")
    def _wins_are_of_figures(self) -> "Check":
        if (self.relation == "wins") != bool(self.figures):
            raise ValueError('a check counts wins of figures: give relation = "wins" and figures, or neither')
        return self


class Claim(_Table):
    """What the paper promises, small: every check holds."""

    sentence: str
    remarks: str = ""  # what a reader of the result should know: how this size differs from the paper's
    check: tuple[Check, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=3)
    arms: tuple[Arm, ...] = Field(min_length=2)


class _Named(BaseModel, extra="allow"):
    name: str


class _ArmAsWritten(_Named):
    stages: list[str] = []
    set: dict[str, Any] = {}
    stage: list[_Named] = []


class _ClaimAsWritten(BaseModel, extra="allow"):
    stage: list[_Named] = []
    set: dict[str, Any] = {}
    arms: list[_ArmAsWritten] = []


class _Page(BaseModel, extra="allow"):
    """What of a recipe's page is put together before it is a Recipe."""

    stage: list[_Named] = []
    claim: _ClaimAsWritten = _ClaimAsWritten()
    smoke: dict[str, Any] = {}


class Recipe(_Table):
    slug: str = Field(pattern=r"^[a-z0-9_]+$")
    modality: str
    seed: int = 0
    data: Data
    preprocess: dict[str, Any]
    sides: dict[str, Side] = {}
    mixed: dict[str, Mixed] = {}  # by modality
    tokenizer: Tokenizer | None = None
    encoder: Encoder
    stage: tuple[Stage, ...] = Field(min_length=1)
    claim: Claim | None = None

    @model_validator(mode="after")
    def _texts_have_tokens(self) -> "Recipe":
        own = [side for side in self.sides.values() if side.tokens and side.joins is None]
        reads = {self.modality, *self.mixed, *(side.modality for side in own)}
        if self.tokenizer is None and any(map(self.reads_words, reads)):
            raise ValueError("a recipe that reads words trains a tokenizer on them: add [tokenizer] vocabulary = 4096")
        return self

    @model_validator(mode="after")
    def _needs_come_first(self) -> "Recipe":
        for stages in (self.stage, *(arm.stage for arm in (self.claim.arms if self.claim else ()))):
            seen: set[str] = set()
            for stage in stages:
                if unknown := set(stage.needs) - seen:
                    raise ValueError(f"stage '{stage.name}' needs '{unknown.pop()}', which no earlier stage makes")
                seen.add(stage.name)
        return self

    @model_validator(mode="after")
    def _sides_are_named(self) -> "Recipe":
        arms = self.claim.arms if self.claim else ()
        for stage in (*self.stage, *(stage for arm in arms for stage in arm.stage)):
            if (side := side_of(stage)) is not None and side not in self.sides:
                named = ", ".join(self.sides) or "none"
                raise ValueError(f"stage '{stage.name}' works on column '{side}'; [sides] names {named}")
        return self

    def modality_of(self, folder: Path | None = None, stage: Stage | None = None) -> modalities.Modality[Any]:
        """The modality with this recipe's preprocessing, or a stage's own; `folder` holds the resources that names."""
        if stage is not None and (side := side_of(stage)) is not None:
            return self.sides_of(folder)[side]
        if stage is None or stage.preprocess is None:
            return self._reader(self.modality, self.preprocess, folder, "preprocess")
        return self._reader(self.modality, stage.preprocess, folder, f"stage.{stage.name}.preprocess")

    def learnt_from(self, export: Export) -> Data:
        """What a bundle's encoder was pretrained on: a stage's own data, or the recipe's."""
        needed = [stage for stage in self.stage if stage.name in export.needs and isinstance(stage, Pretrain)]
        return next((stage.data for stage in needed if stage.data is not None), self.data)

    @staticmethod
    def reads_words(modality: str) -> bool:
        """Whether the modality cuts words into tokens."""
        return "tokenizer" in modalities.get(modality).Preprocess.model_fields

    def sides_of(self, folder: Path | None = None) -> dict[str, modalities.Modality[Any]]:
        """What reads each side."""
        return {
            name: self._reader(one.modality, one.preprocess or alike, folder, f"sides.{name}")
            if one.joins is None
            else _reader_of(one.joins, one.modality)
            for name, one in self.sides.items()
            for alike in [self.preprocess if one.modality == self.modality else {}]
        }

    def mixed_of(self, folder: Path | None = None) -> dict[str, modalities.Modality[Any]]:
        """What reads the items that are mixed in, by modality."""
        facts = self.mixed.items()
        return {name: self._reader(name, one.preprocess, folder, f"mixed.{name}") for name, one in facts}

    def modality_in(self, data: Data) -> str:
        """Of a data set's items: that of the source that is mixed in, or else the recipe's own."""
        return next((name for name, one in self.mixed.items() if one.data.source == data.source), self.modality)

    def _reader(self, name: str, preprocess: dict[str, Any], folder: Path | None, at: str) -> modalities.Modality[Any]:
        kind = modalities.get(name)
        return kind(validated(kind.Preprocess, preprocess, f"recipe {self.slug}: {at}"), folder=folder)


def _reader_of(bundle: str, modality: str) -> modalities.Modality[Any]:
    """What reads items of a modality as a bundle of the store does."""
    model = open_model(bundle)
    return model.modalities[model.entry(modality=modality)]


def names() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load(ref: str, *, smoke: bool = False, overrides: Sequence[str] = ()) -> Recipe:
    """A built-in recipe by slug or any by path, with `a.b=c` overrides; `stage` names address stages."""
    path = Path(ref) if ref.endswith(".toml") else RECIPES / f"{ref}.toml"
    if not path.exists():
        if ref.endswith(".toml"):
            raise WrongUse(f"there is no recipe file {ref}")
        raise UnknownName.among("recipe", ref, names(), "A recipe of your own is given by path: my.toml.")
    try:
        raw = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongUse(f"{path} is not TOML: {error}") from None
    validated(_Page, raw, path.name)
    _spell_out(raw, path.name)
    small = raw.pop("smoke", {})
    if smoke:
        _shrink(raw, small, path.name)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise WrongUse(f"--set {override}: write it as key=value")
        _set(raw, key, _value(text), path.name)
    recipe: Recipe = validated(Recipe, raw, path.name)
    recipe.modality_of()
    for stage in recipe.stage:
        recipe.modality_of(stage=stage)
    recipe.sides_of()
    recipe.mixed_of()
    _check_sources(recipe, path.name)
    _check_configs(recipe, path.name)
    return recipe


def _stages(recipe: Recipe) -> "list[Stage]":
    """Of the recipe and of all arms of its claim."""
    arms = recipe.claim.arms if recipe.claim else ()
    return [*recipe.stage, *(stage for arm in arms for stage in arm.stage)]


def _check_configs(recipe: Recipe, where: str) -> None:
    """Whether encoders, methods and selections know their settings: told before the first stage begins, not the last.

    Raises WrongUse.
    """
    from training.schedule import train_config

    def check(kind: str, name: str, owner: Any, config: dict[str, Any]) -> None:
        validated(owner.Config, config, f"{where}: {kind} '{name}'")

    encoders = [recipe.encoder]
    for stage in _stages(recipe):
        encoders += [stage.encoder] if isinstance(stage, Pretrain | Adapt | Evaluate) and stage.encoder else []
        if isinstance(stage, Pretrain):
            check("method", stage.method, import_module(f"training.methods.{stage.method}").METHOD, stage.config)
        if isinstance(stage, Select):
            check("selection", stage.selection, import_module(f"training.selection.{stage.selection}"), stage.config)
        if isinstance(stage, Pretrain | Adapt) and stage.train:
            train_config(stage.train)
    for one in encoders:
        check("encoder", one.name, import_module(f"training.encoders.{one.name}").ENCODER, one.config)


def _check_sources(recipe: Recipe, where: str) -> None:
    """Whether the columns and further modalities that the recipe names are those that its stages take.

    Columns may be for the method or for an adaptation that says so by TAKES_SIDES. Raises WrongUse.
    """
    stages = _stages(recipe)
    # Last and by name: a method imports torch, and what can be told without it is told before.
    adaptations = {stage.adaptation for stage in stages if isinstance(stage, Adapt)}
    adapted = any(getattr(import_module(f"training.adaptation.{name}"), "TAKES_SIDES", False) for name in adaptations)
    for slug in dict.fromkeys(stage.method for stage in stages if isinstance(stage, Pretrain)):
        method = import_module(f"training.methods.{slug}").METHOD
        if method.takes_sides and not recipe.sides:
            raise WrongUse(f"{where}: method '{slug}' learns from columns beside the item: name them in [sides.*]")
        if recipe.sides and not method.takes_sides and not adapted:
            named = ", ".join(recipe.sides)
            raise WrongUse(f"{where}: method '{slug}' takes no columns beside the item: leave out [sides] ({named})")
        if set(recipe.mixed) | {recipe.modality} != {*method.mixes} | {recipe.modality}:
            takes = " and ".join(method.mixes) or f"{recipe.modality} alone"
            named = ", ".join(recipe.mixed) or "none"
            raise WrongUse(f"{where}: method '{slug}' learns from {takes}: [mixed.*] names {named}")


def _spell_out(raw: dict[str, Any], where: str) -> None:
    """Give every arm that names its `stages` the tables of that name, changed by `set` of the claim and of the arm.

    Tables come from [[claim.stage]], else from the recipe itself.
    """
    claim = raw.get("claim", {})
    tables = {row.get("name"): row for row in [*raw.get("stage", []), *claim.pop("stage", [])]}
    shared = claim.pop("set", {})
    for arm in claim.get("arms", []):
        names = arm.pop("stages", None)
        if names is None:
            continue
        for name in names:
            if name not in tables:
                raise UnknownName.among(f"stage of arm '{arm.get('name')}' in {where}:", name, map(str, tables))
        arm["stage"] = [deepcopy(tables[name]) for name in names]
        for key, value in (shared | arm.pop("set", {})).items():
            if key.split(".")[0] in names:
                _set(arm, f"stage.{key}", value, where)


def _shrink(raw: dict[str, Any], small: dict[str, Any], where: str) -> None:
    """Set smoke sizes; those of a stage wherever one of its name stands, in the recipe or in an arm."""
    for key, value in small.items():
        kind, *rest = key.split(".")
        pages = [raw, *raw.get("claim", {}).get("arms", [])] if kind == "stage" else [raw]
        holding = [page for page in pages if rest and rest[0] in [row.get("name") for row in page.get("stage", [])]]
        for page in holding or [raw]:
            _set(page, key, value, where)
        validated(_Page, raw, f"{where}: smoke.{key}")


def digest(*facts: Any) -> str:
    """sha256 of JSON facts, in canonical form."""
    plain = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(plain.encode()).hexdigest()


def _set(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set `a.b.c` in nested tables; in a list of tables a step names the table by its `name`."""
    *steps, last = key.split(".")
    table: Any = raw
    for step in steps:
        table = _step(table, step, key, where)
    if not isinstance(table, dict):
        raise WrongUse(f"{where}: there is no '{key}' to set")
    table[last] = value


def _step(table: Any, step: str, key: str, where: str) -> Any:
    if isinstance(table, list):
        named = {row["name"]: row for row in table}
        if step not in named:
            raise UnknownName.among(f"'{step}' in {where}, in '{key}':", step, named)
        return named[step]
    if not isinstance(table, dict):
        raise WrongUse(f"{where}: there is no '{key}' to set: what holds '{step}' is {table!r}")
    return table.setdefault(step, {})


def _value(text: str) -> Any:
    """A TOML value, or the bare words themselves."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def validated(model: type[Any], raw: dict[str, Any], where: str) -> Any:
    """`raw` as `model`. Raises WrongUse: an unknown key fails and lists the known ones."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise WrongUse(f"{where}: {_first_problem(error, model)}") from None


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{place}'. Known: {', '.join(sorted(_fields_at(model, problem['loc'][:-1])))}."
    if problem["type"] == "missing":
        return f"'{place}' is missing"
    return f"'{place}' is {problem['input']!r}: {problem['msg']}" if place else str(problem["msg"])


def _fields_at(model: type[BaseModel], steps: Sequence[Any]) -> list[str]:
    """Field names of the table that `steps` (keys, list indices, verbs) lead to."""
    found = [model]
    for step in steps:
        inner = [field for table in found for field in _tables_in(table, step)]
        found = inner or found
    return [name for table in found for name in table.model_fields]


def _tables_in(table: type[BaseModel], step: Any) -> list[type[BaseModel]]:
    verbs = {cls.__name__.lower(): cls for cls in (Pretrain, Select, Adapt, Evaluate, Export)}
    if step in verbs:
        return [verbs[step]]
    known: dict[Any, type[BaseModel]] = {
        "data": Data,
        "mixed": Mixed,
        "tokenizer": Tokenizer,
        "encoder": Encoder,
        "claim": Claim,
        "check": Check,
        "arms": Arm,
        "stage": _Stage,
    }
    return [known[step]] if step in known and step in table.model_fields else []
