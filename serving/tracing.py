"""Traces of requests, sent to an OpenTelemetry collector: a server span each, and below it what took its time.

On where OpenTelemetry's own OTEL_EXPORTER_OTLP_ENDPOINT is set; else no span is made. Whatever a caller sent as an item
or a query stands in no attribute.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from enfold.errors import EnfoldError, WrongUse, require

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SHARE = "OTEL_TRACES_SAMPLER_ARG"
_NOTHING = nullcontext()
_W3C = TraceContextTextMapPropagator()
_tracer: trace.Tracer | None = None


def configuration() -> dict[str, Any]:
    """BentoML's `tracing`, from the environment. Raises WrongUse or MissingExtra.

    BentoML's own server spans are left out: the hot routes never pass it, and a request has one server span. Endpoint,
    headers, certificate and compression are read by the exporter, under OpenTelemetry's names.
    """
    ours: dict[str, Any] = {"excluded_urls": [".*"]}
    if not any(map(os.environ.get, ENDPOINTS)):
        return ours
    require("opentelemetry.exporter.otlp.proto.http", "trace", "sending traces")
    return ours | {"exporter_type": "otlp", "sample_rate": _share(), "otlp": {"protocol": "http"}}


def start() -> None:
    """Trace from now on, if it is configured."""
    global _tracer
    if any(map(os.environ.get, ENDPOINTS)):
        from bentoml._internal.configuration.containers import BentoMLContainer

        _tracer = BentoMLContainer.tracer_provider.get().get_tracer("enfold")


def request(name: str, headers: Mapping[str, str], **attributes: Any) -> AbstractContextManager[None]:
    """The server span of one request; it continues the trace that `traceparent` names."""
    if _tracer is None:
        return _NOTHING
    return _span(name, SpanKind.SERVER, _W3C.extract(headers), attributes)


def span(name: str, **attributes: Any) -> AbstractContextManager[None]:
    """A part of the request under way; nothing outside of one."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return _NOTHING
    return _span(name, SpanKind.INTERNAL, None, attributes)


def note(**attributes: Any) -> None:
    """Tell more of the span under way."""
    if _tracer is not None:
        trace.get_current_span().set_attributes(_ours(attributes))


def answered(method: str, route: str, status: int) -> None:
    """Name the server span by what the request turned out to be."""
    if _tracer is None:
        return
    current = trace.get_current_span()
    current.update_name(f"{method} {route}")
    current.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        current.set_status(StatusCode.ERROR)


@contextmanager
def _span(name: str, kind: SpanKind, parent: Context | None, attributes: dict[str, Any]) -> Iterator[None]:
    assert _tracer is not None
    # Of an exception only the kind is told: its sentence may quote what the caller sent.
    with _tracer.start_as_current_span(
        name, parent, kind, _ours(attributes), record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield
        except BaseException as error:
            opened.set_status(StatusCode.ERROR)
            opened.set_attribute("error.type", error.code if isinstance(error, EnfoldError) else type(error).__name__)
            raise


def _ours(attributes: dict[str, Any]) -> dict[str, Any]:
    return {f"enfold.{name}": value for name, value in attributes.items()}


def _share() -> float:
    value = os.environ.get(SHARE, "1")
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise WrongUse(f"{SHARE} is {value!r}: give the share of requests to trace, from 0 to 1")
    return share
