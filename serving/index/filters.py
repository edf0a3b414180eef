"""Filters in Qdrant's own words, as its REST API takes them, for the engines that do not read those themselves.

Imported where such a filter is asked for: qdrant-client takes a second, which a server on the embedded engine would
lose whenever it starts.
"""

from typing import Any

import numpy as np
import qdrant_edge as engine
from pydantic import ValidationError
from qdrant_client import models

from enfold.errors import WrongUse
from serving.index.checks import MAX_LEVELS, is_flat

_ELSEWHERE = "a Qdrant server (ENFOLD_QDRANT_URL) may, or say it otherwise"
_BOUNDS = ("gt", "gte", "lt", "lte")


def read(told: dict[str, Any]) -> models.Filter:
    """Raises WrongUse naming the place that is none of Qdrant's."""
    if not is_flat(told):
        raise WrongUse(f"the filter nests deeper than {MAX_LEVELS} levels")
    try:
        return models.Filter.model_validate(told)
    except ValidationError as error:
        # Of all the shapes that a condition may have, the one that fitted farthest is the one that was meant.
        meant = max(error.errors(include_url=False), key=lambda one: len(_place(one["loc"])))
        place = ".".join(_place(meant["loc"])) or "the whole"
        raise WrongUse(
            f"the filter is none of Qdrant's at {place}: {meant['msg']}. Write it as Qdrant's REST API has it, "
            "or as a list of conditions"
        ) from None


def for_edge(told: models.Filter) -> Any:
    """The same for the embedded engine. Raises WrongUse for what no engine takes."""
    try:
        return _filter(told)
    except (ValueError, TypeError, OverflowError) as error:
        raise WrongUse(f"the filter cannot be asked for: {str(error).splitlines()[0]}") from None


def _filter(told: models.Filter) -> Any:
    some = told.min_should
    if some is not None and some.min_count < 1:
        raise ValueError(f"min_count is {some.min_count}; it must be 1 or more")
    least = None if some is None else engine.MinShould([_condition(one) for one in some.conditions], some.min_count)
    return engine.Filter(_all(told.must), _all(told.should), _all(told.must_not), least)


def _all(told: Any) -> list[Any] | None:
    return None if told is None else [_condition(one) for one in (told if isinstance(told, list) else [told])]


def _condition(told: Any) -> Any:
    match told:
        case models.Filter():
            return _filter(told)
        case models.FieldCondition():
            return _field(told)
        case models.NestedCondition(nested=nested):
            return engine.NestedCondition(nested.key, _filter(nested.filter))
        case models.IsEmptyCondition(is_empty=field):
            return engine.IsEmptyCondition(field.key)
        case models.IsNullCondition(is_null=field):
            return engine.IsNullCondition(field.key)
        case models.HasIdCondition(has_id=ids):
            return engine.HasIdCondition(set(ids))
        case models.HasVectorCondition(has_vector=name):
            return engine.HasVectorCondition(name)
        case models.SliceCondition(slice=part):
            return engine.SliceCondition(part.total, part.index)  # type: ignore[attr-defined]
    raise WrongUse(f"the embedded engine knows no {type(told).__name__}: {_ELSEWHERE}")


def _field(told: Any) -> Any:
    box, circle, shape = told.geo_bounding_box, told.geo_radius, told.geo_polygon
    return engine.FieldCondition(
        told.key,
        match=told.match and _match(told.match),
        range=told.range and _range(told.range),
        geo_bounding_box=box and engine.GeoBoundingBox(_point(box.top_left), _point(box.bottom_right)),
        geo_radius=circle and engine.GeoRadius(_point(circle.center), circle.radius),
        geo_polygon=shape and engine.GeoPolygon(_line(shape.exterior), [_line(one) for one in shape.interiors or ()]),
        values_count=told.values_count and engine.ValuesCount(**_bounds(told.values_count)),
        is_empty=told.is_empty,
        is_null=told.is_null,
    )


def _match(told: Any) -> Any:
    match told:
        case models.MatchValue(value=value):
            # A Python bool would reach the engine as an integer; numpy's does not.
            ours: Any = np.bool_(value) if isinstance(value, bool) else value
            return engine.MatchValue(ours)
        case models.MatchExcept(except_=values):
            return engine.MatchExcept(values)
    [(name, value)] = told.model_dump().items()  # text, phrase, any, … of a class that is called as it is
    known = getattr(engine, type(told).__name__, None)
    if known is None:
        raise WrongUse(f"the embedded engine cannot match by '{name}': {_ELSEWHERE}")
    return known(value)


def _range(told: models.Range | models.DatetimeRange) -> Any:
    if isinstance(told, models.Range):
        return engine.RangeFloat(**_bounds(told))
    return engine.RangeDateTime(**{name: day and day.isoformat() for name, day in _bounds(told).items()})


def _bounds(told: Any) -> dict[str, Any]:
    return {name: getattr(told, name) for name in _BOUNDS}


def _point(told: models.GeoPoint) -> Any:
    return engine.GeoPoint(told.lon, told.lat)


def _line(told: models.GeoLineString) -> list[Any]:
    return [_point(one) for one in told.points]


def _place(path: tuple[int | str, ...]) -> list[str]:
    """The way through what was sent, without the classes that pydantic tried."""
    return [str(step) for step in path if isinstance(step, int) or (step.islower() and step.isidentifier())]
