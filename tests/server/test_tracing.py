from __future__ import annotations

import builtins
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llava_tools.server import tracing
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.ollama.samples import chat_body


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Collects spans, in place of the provider that a process sets up once."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return found


def test_a_request_is_a_span_of_its_callers_trace(
    make_client: MakeClient, exporter: InMemorySpanExporter
) -> None:
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
    client = make_client(ScriptedBackend(["secret answer"]))
    client.post("/api/chat", json=chat_body("a secret question"), headers=headers)
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("POST /api/chat", trace.SpanKind.SERVER)
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x} {span.parent.span_id:016x}" == f"{trace_id} {parent_id}"
    attributes: dict[str, Any] = dict(span.attributes or {})
    assert attributes["http.route"] == "/api/chat"
    assert attributes["http.response.status_code"] == 200
    assert attributes["gen_ai.usage.output_tokens"] == 2
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert span.status.is_unset
    assert "secret" not in span.to_json()
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time


def test_failed_requests_are_marked(
    make_client: MakeClient, exporter: InMemorySpanExporter
) -> None:
    client = make_client(ScriptedBackend(image_tokens=4, context_length=64))
    client.post("/api/chat", json=chat_body("word " * 100))
    (span,) = exporter.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "ContextOverflowError"
    assert not span.status.is_ok


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_without_the_sdk_there_are_no_spans(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(tracing, "find_spec", lambda name: None if name == missing else builtins)
    assert tracing.span_sink() is None
