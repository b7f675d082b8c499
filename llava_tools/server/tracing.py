"""OpenTelemetry spans, one for each request, if its SDK is installed.

The SDK is set up from outside, as by `opentelemetry-instrument llava-tools serve`; without that its
spans go nowhere. Attributes follow the semantic conventions for HTTP servers and generative models;
none holds contents.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from llava_tools.server.record import RequestRecord


def span_sink() -> Callable[[RequestRecord], None] | None:
    """Return a function that writes the span of a record; None without the SDK."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        return None
    return _write_span


def _write_span(record: RequestRecord) -> None:
    """Write the span of a request that is over."""
    from opentelemetry import propagate, trace

    span = trace.get_tracer("llava_tools.server").start_span(
        f"{record.method} {record.route}".strip(),
        context=propagate.extract(record.headers),
        kind=trace.SpanKind.SERVER,
        attributes=_attributes(record),
        start_time=round(record.started * 1e9),
    )
    if record.status >= 500 or record.error:
        span.set_status(trace.StatusCode.ERROR, record.error)
    span.end(round((record.started + record.seconds) * 1e9))


def _attributes(record: RequestRecord) -> dict[str, str | int | float | list[str]]:
    attributes: dict[str, str | int | float | list[str]] = {
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "llava.protocol": record.protocol,
    }
    texts = {"http.route": record.route, "llava.user": record.user, "error.type": record.error}
    attributes |= {name: text for name, text in texts.items() if text}
    if record.first_token is not None:
        attributes |= {
            "gen_ai.operation.name": "chat",
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.generated_tokens,
            "gen_ai.response.finish_reasons": [record.finish_reason],
            "llava.images": record.images,
            "llava.cached_tokens": record.cached_tokens,
            "llava.time_to_first_token": record.first_token,
        }
    return attributes
