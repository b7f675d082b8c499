"""Requests in the form that Open WebUI, Ollama's command and Continue send (read in their code)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llava_tools.core.requests import SamplingParams
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.server.conftest import MakeClient
from tests.server.ollama.samples import IMAGE, LOOK, base64_of, lines_of

IMAGES = [base64_of(IMAGE)]
OPTIONS = {
    "temperature": 0.8,
    "top_p": 0.9,
    "top_k": 40,
    "seed": 7,
    "num_ctx": 2048,
    "num_batch": 512,
    "num_keep": 24,
    "num_predict": 128,
    "repeat_last_n": 64,
    "repeat_penalty": 1.1,
    "stop": ["USER:"],
    "use_mmap": True,
    "num_thread": 2,
    "num_gpu": 0,
}
SAMPLING = SamplingParams(
    max_tokens=128,
    temperature=0.8,
    top_p=0.9,
    top_k=40,
    stop=("USER:",),
    seed=7,
    repetition_penalty=1.1,
)
OPEN_WEBUI = {
    "Content-Type": "application/json",
    "Authorization": "Bearer first-key",
    "X-OpenWebUI-User-Name": "Ada",
    "X-OpenWebUI-Chat-Id": "1",
}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {
                "model": "llava:tiny",
                "messages": [{"role": "user", "content": "What?", "images": IMAGES}],
                "stream": True,
                "options": OPTIONS,
                "keep_alive": "5m",
                "format": "",
                "think": False,
            },
            id="Open WebUI",
        ),
        pytest.param(
            {
                "model": "llava",
                "messages": [{"role": "user", "content": "What?", "images": IMAGES}],
                "format": "",
                "keep_alive": "5m0s",
                "tools": None,
                "options": OPTIONS,
                "truncate": None,
                "shift": None,
                "_debug_render_only": False,
                "logprobs": False,
                "top_logprobs": 0,
            },
            id="ollama run",
        ),
        pytest.param(
            {
                "model": "llava",
                "keep_alive": 1800,
                "options": OPTIONS,
                "stream": True,
                "messages": [{"role": "user", "content": "What?", "images": IMAGES}],
            },
            id="Continue",
        ),
    ],
)
def test_conversations(make_client: MakeClient, body: dict[str, Any]) -> None:
    backend = ScriptedBackend()
    client = make_client(backend, api_keys=("first-key",))
    *_, last = lines_of(client.post("/api/chat", content=json.dumps(body), headers=OPEN_WEBUI))
    assert last["done"] is True
    request = backend.requests[-1]
    assert request.messages[-1].content == (IMAGE, "What?")
    assert request.sampling == SAMPLING
    assert request.constraint.unconstrained


def test_tools_of_open_webui(make_client: MakeClient) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": {"question": "?"}}}
    body = {
        "model": "llava:tiny",
        "messages": [
            {"role": "user", "content": "What?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "red", "tool_call_id": "c1"},
        ],
        "stream": True,
        "tools": [LOOK],
        "options": {},
    }
    backend = ScriptedBackend()
    lines_of(make_client(backend).post("/api/chat", json=body))
    *_, result = backend.requests[-1].messages
    assert (result.role, result.text, result.tool_call_id) == ("tool", "red", "c1")


def test_the_start_of_ollama_run(make_client: MakeClient) -> None:
    client = make_client()
    assert client.head("/").status_code == 200
    shown = client.post("/api/show", json={"model": "llava", "system": "", "verbose": False})
    assert "vision" in shown.json()["capabilities"]
    body: dict[str, Any] = {
        "model": "llava",
        "prompt": "",
        "suffix": "",
        "system": "",
        "template": "",
    }
    body |= {"options": None, "_debug_render_only": False}
    assert client.post("/api/generate", json=body).json()["done_reason"] == "load"


def test_a_connection_of_open_webui_is_checked(make_client: MakeClient) -> None:
    client = make_client(api_keys=("first-key",))
    for path in ("/api/version", "/api/tags", "/api/ps"):
        assert client.get(path, headers=OPEN_WEBUI).status_code == 200
        assert client.get(path).status_code == 401
    models = client.get("/api/tags", headers=OPEN_WEBUI).json()["models"]
    assert all(model["model"] and ":" in model["name"] for model in models)


def test_embeddings_of_open_webui(make_client: MakeClient) -> None:
    client = make_client(embedder=ScriptedEmbedder())
    body = {"model": "llava:tiny", "input": ["a", "b"], "truncate": True}
    assert len(client.post("/api/embed", json=body).json()["embeddings"]) == 2
