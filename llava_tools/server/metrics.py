"""`Metrics`: counters for Prometheus, `GET /metrics`.

Labels are routes, protocols, statuses and classes of errors, so that their number is bounded; no
label or value comes from contents or names a user.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from llava_tools.server.record import RequestRecord
from llava_tools.server.service import Service

#: Upper bounds in seconds.
_DURATIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_FIRST_TOKENS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Methods by their names; others, which anyone can invent, count as one.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The counters of a server.

    Args:
        service: Of the server; its pending requests are read when metrics are written.
    """

    def __init__(self, service: Service) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "llava_http_requests",
            "HTTP requests that are over.",
            ("protocol", "route", "method", "status"),
            registry=registry,
        )
        self._durations = Histogram(
            "llava_http_request_duration_seconds",
            "From a request's arrival to the last byte of its response.",
            ("protocol", "route"),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._first_tokens = Histogram(
            "llava_time_to_first_token_seconds",
            "From a request's arrival to the first token of its answer.",
            ("protocol",),
            buckets=_FIRST_TOKENS,
            registry=registry,
        )
        self._counts = {
            name: Counter(f"llava_{name}", text, ("protocol",), registry=registry)
            for name, text in (
                ("images", "Images in prompts."),
                ("prompt_tokens", "Tokens of prompts, images included."),
                ("cached_tokens", "Tokens of prompts whose KV was reused."),
                ("generated_tokens", "Tokens of answers."),
            )
        }
        self._errors = Counter(
            "llava_generation_errors",
            "Answers that ended with an error, by its class.",
            ("protocol", "error"),
            registry=registry,
        )
        pending = Gauge(
            "llava_pending_requests", "Requests that wait or run now.", registry=registry
        )
        pending.set_function(lambda: service.admission.pending)
        loaded = Gauge("llava_ready", "1 if requests are answered, else 0.", registry=registry)
        loaded.set_function(lambda: service.is_loaded)

    def observe(self, record: RequestRecord) -> None:
        """Count a request that is over."""
        route = record.route or "other"
        method = record.method if record.method in _METHODS else "other"
        self._requests.labels(record.protocol, route, method, str(record.status)).inc()
        self._durations.labels(record.protocol, route).observe(record.seconds)
        if record.first_token is not None:
            self._first_tokens.labels(record.protocol).observe(record.first_token)
        for name, counter in self._counts.items():
            if count := getattr(record, name):
                counter.labels(record.protocol).inc(count)
        if record.error:
            self._errors.labels(record.protocol, record.error).inc()

    def write(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)


async def show_metrics(http: HttpRequest) -> Response:
    """Return the metrics."""
    metrics: Metrics = http.app.state.metrics
    return Response(metrics.write(), media_type=CONTENT_TYPE_LATEST)


ROUTES = [Route("/metrics", show_metrics)]
