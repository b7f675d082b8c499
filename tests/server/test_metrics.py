from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llava_tools import Llava
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.live_server import LiveServer
from tests.server.ollama.samples import IMAGE, base64_of, chat_body, prompt_body


def samples_of(client: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values of metrics by name and labels, the labels in the order of their names."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            if sample.name.startswith("llava_") and not sample.name.endswith("_created"):
                found.setdefault(sample.name, {})[
                    tuple(sample.labels[name] for name in sorted(sample.labels))
                ] = sample.value
    return found


def test_answers_are_counted(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"], image_tokens=10))
    body = chat_body(stream=False)
    body["messages"][0]["images"] = [base64_of(IMAGE)]
    answers = [client.post("/api/chat", json=body).json() for _ in range(2)]
    lines = client.post("/api/generate", json=prompt_body()).text
    assert "ball" in lines
    found = samples_of(client)
    assert found["llava_images_total"] == {("ollama",): 2}
    assert found["llava_generated_tokens_total"] == {("ollama",): 9}
    assert found["llava_prompt_tokens_total"][("ollama",)] > 2 * answers[0]["prompt_eval_count"]
    assert found["llava_time_to_first_token_seconds_count"] == {("ollama",): 3}
    assert found["llava_http_requests_total"] == {
        ("POST", "ollama", "/api/chat", "200"): 2,
        ("POST", "ollama", "/api/generate", "200"): 1,
    }
    assert found["llava_http_request_duration_seconds_count"][("ollama", "/api/chat")] == 2
    assert (found["llava_pending_requests"], found["llava_ready"]) == ({(): 0}, {(): 1})


def test_labels_are_bounded(make_client: MakeClient) -> None:
    client = make_client(api_keys=("first-key",))
    headers = {"Authorization": "Bearer first-key"}
    for number in range(5):
        client.get(f"/nowhere/{number}", headers=headers)
        client.request(f"X{number}", "/health")
        client.post(f"/api/blobs/{number}", headers=headers)
    client.get("/api/tags")
    client.headers.update(headers)
    requests = samples_of(client)["llava_http_requests_total"]
    assert requests == {
        ("GET", "server", "other", "404"): 5,
        ("other", "server", "/health", "405"): 5,
        ("POST", "ollama", "/api/blobs/{digest}", "403"): 5,
        ("GET", "ollama", "/api/tags", "401"): 1,
    }


def test_metrics_need_the_key(make_client: MakeClient) -> None:
    assert make_client(api_keys=("first-key",)).get("/metrics").status_code == 401


def test_errors_of_answers_are_counted_by_class(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(image_tokens=4, context_length=64))
    response = client.post("/api/generate", json=prompt_body("word " * 100))
    assert response.status_code == 400
    found = samples_of(client)
    assert found["llava_generation_errors_total"] == {("ContextOverflowError", "ollama"): 1}
    assert "llava_time_to_first_token_seconds_count" not in found


def test_requests_of_openai_are_counted(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    body = {"messages": [{"role": "user", "content": "What?"}], "stream": True}
    assert "ball" in client.post("/v1/chat/completions", json=body).text
    found = samples_of(client)
    assert found["llava_generated_tokens_total"] == {("openai",): 3}


def test_contents_are_in_no_metric(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["secret answer"]))
    client.post("/api/chat?secret=1", json=chat_body("a secret question"))
    client.get("/secret")
    assert "secret" not in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/api/generate", "/v1/chat/completions"])
def test_an_answer_that_a_client_leaves_is_counted(path: str) -> None:
    steps = threading.Semaphore(1)
    backend = ScriptedBackend(["one two three"])
    body = {"model": "llava", "prompt": "?", "stream": True}
    if path != "/api/generate":
        body = {"messages": [{"role": "user", "content": "?"}], "stream": True}
    with LiveServer(Llava(backend=backend)) as server, httpx.Client() as client:
        backend._pause = steps.acquire  # type: ignore[assignment]
        with client.stream("POST", server.url + path, json=body) as response:
            assert "one" in next(text for text in response.iter_text() if "one" in text)
        while "Cancelled" not in (text := client.get(f"{server.url}/metrics").text):
            assert response.status_code == 200
        protocol = "ollama" if path == "/api/generate" else "openai"
        assert f'llava_generated_tokens_total{{protocol="{protocol}"}} 1.0' in text
        steps.release(10)
