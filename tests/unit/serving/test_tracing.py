"""A real server sends its traces to a real, tiny collector."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from enfold import wire
from serving import tracing
from tests import bundles
from tests.servers import Running, enfold, start, stop, until

SECRET = "zebra"  # stands in every item that is sent
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass(frozen=True)
class Span:
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    status: int
    attributes: dict[str, object]


@dataclass
class Collector:
    """OTLP over HTTP: what was sent, read with OpenTelemetry's own messages."""

    url: str = ""
    raw: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def of(self, request_id: str) -> list[Span]:
        """The spans of the trace of one request, its server span first."""
        root = next((span for span in self.spans if span.attributes.get("enfold.request_id") == request_id), None)
        rest = [span for span in self.spans if root and span.trace == root.trace and span is not root]
        return [root, *rest] if root else []


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.raw.append(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                kept.spans += [span_of(span) for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    yield kept
    server.shutdown()
    server.server_close()


def span_of(span) -> Span:
    values = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    return Span(span.name, *ids, span.kind, span.status.code, values)


@pytest.fixture(scope="module")
def traced(tmp_path_factory, collector) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("traced")
    bundles.text_bundle(home / "bundles")
    # The spans come while the server runs, not only when it ends.
    running = start(home, "words", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")
    with running.client() as client:
        until(client.ready)
    yield running
    stop(running)


def ask(running: Running, path: str, body: object, request_id: str, **headers: str) -> httpx.Response:
    with running.http() as http:
        return http.post(path, json=body, headers={"x-request-id": request_id} | headers)


def trace_of(collector: Collector, request_id: str, spans: int) -> list[Span]:
    until(lambda: len(collector.of(request_id)) >= spans)
    return collector.of(request_id)


def test_an_embed_request_is_one_trace_of_prepare_and_encode(traced, collector):
    items = [{"text": f"red {SECRET}"}, {"text": "blue cat"}]
    assert ask(traced, "/embed", {"items": items}, "embed-1").status_code == 200
    server, *parts = trace_of(collector, "embed-1", 3)
    assert (server.name, server.parent, server.kind) == ("POST /embed", "", 2)
    assert server.attributes["http.route"] == "/embed"
    assert server.attributes["http.response.status_code"] == 200
    assert {part.name: part.parent for part in parts} == {"prepare": server.id, "encode": server.id}
    encode = next(part for part in parts if part.name == "encode")
    assert encode.attributes["enfold.batch_items"] in (1, 2)  # the model may take the first at once
    assert encode.attributes["enfold.queue_ms"] >= 0
    assert encode.attributes["enfold.model"] == "words@1"


def test_a_search_is_one_trace_with_one_server_span(traced, collector):
    with traced.client() as client:
        entry = client.models()[0].entries["text"]
        about = {"model": "words@1", "entry": "text", "modality": "text"}
        client.create_collection(
            wire.NewCollection(name="things", space=entry.space, dimensions=entry.dimensions, **about)
        )
    new = {"items": [{"item": {"text": f"a {SECRET}"}, "payload": {"note": SECRET}}]}
    assert ask(traced, "/collections/things/items", new, "add-1").status_code == 200
    asked = {"item": {"text": f"{SECRET} dog"}, "limit": 1}
    assert ask(traced, "/collections/things/search", asked, "search-1").status_code == 200
    for request_id, route, last in (
        ("add-1", "/collections/{c}/items", "index upsert"),
        ("search-1", "/collections/{c}/search", "index query"),
    ):
        server, *parts = trace_of(collector, request_id, 4)
        assert server.name == f"POST {route}"
        assert sorted(part.name for part in parts) == sorted(["prepare", "encode", last])
        assert {part.parent for part in parts} == {server.id}
        assert {part.kind for part in parts} == {1}


def test_a_callers_trace_goes_on(traced, collector):
    ask(traced, "/embed", {"items": [{"text": "red"}]}, "theirs", traceparent=f"00-{TRACE}-{PARENT}-01")
    server, *_ = trace_of(collector, "theirs", 3)
    assert (server.trace, server.parent) == (TRACE, PARENT)


def test_what_a_caller_left_out_of_the_sample_is_not_sent(traced, collector):
    other = TRACE[::-1]
    ask(traced, "/embed", {"items": [{"text": "red"}]}, "unsampled", traceparent=f"00-{other}-{PARENT}-00")
    ask(traced, "/embed", {"items": [{"text": "red"}]}, "after", traceparent="no such thing")
    server, *_ = trace_of(collector, "after", 3)
    assert server.parent == ""
    assert not collector.of("unsampled")


def test_a_bad_request_keeps_its_words_to_itself(traced, collector):
    """Of an error the trace tells the kind, not the sentence: that may quote the item."""
    ask(traced, "/embed", {"items": [{"text": f"red {SECRET}"}], SECRET: SECRET}, "bad-1")
    ask(traced, "/embed", {"items": [{"text": SECRET}], "model": "none"}, "bad-2")
    ask(traced, f"/{SECRET}?{SECRET}", {}, "bad-3")
    assert trace_of(collector, "bad-1", 1)[0].attributes["http.response.status_code"] == 422
    assert trace_of(collector, "bad-2", 1)[0].attributes["http.response.status_code"] == 404
    assert trace_of(collector, "bad-3", 1)[0].name == "POST none"
    assert collector.raw
    assert not any(SECRET.encode() in body for body in collector.raw)


def test_probes_and_scrapes_leave_no_trace(traced, collector):
    with traced.http() as http:
        http.get("/metrics")
        http.get("/readyz")
        http.get("/models", headers={"x-request-id": "models"})
    trace_of(collector, "models", 1)
    assert not any("/metrics" in span.name or "/readyz" in span.name for span in collector.spans)


def test_untraced_no_span_is_made():
    with tracing.request("POST", {"traceparent": f"00-{TRACE}-{PARENT}-01"}) as opened, tracing.span("part") as part:
        assert opened is part is None
        assert tracing.request("POST", {}) is tracing.span("part")
    assert "exporter_type" not in tracing.configuration()


def test_a_share_that_is_none_is_named(home):
    done = enfold("serve", "words", home=home, OTEL_EXPORTER_OTLP_ENDPOINT="http://x", OTEL_TRACES_SAMPLER_ARG="2")
    assert done.returncode == 2
    assert "OTEL_TRACES_SAMPLER_ARG is '2'" in done.stderr
