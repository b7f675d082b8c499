from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient


def test_the_version_is_that_of_the_api(make_client: MakeClient) -> None:
    assert make_client().get("/api/version").json() == {"version": "0.12.11"}


def test_the_model_is_listed_under_its_names(make_client: MakeClient) -> None:
    models = make_client(model_names=("gpt-4o",)).get("/api/tags").json()["models"]
    assert [model["name"] for model in models] == ["llava:tiny", "gpt-4o:latest"]
    assert len({model["digest"] for model in models}) == 1
    assert len(models[0]["digest"]) == 64
    assert models[0]["model"] == models[0]["name"]
    assert models[0]["details"]["families"] == ["llava", "clip"]
    assert datetime.fromisoformat(models[0]["modified_at"]) < datetime.now(UTC)


@pytest.mark.parametrize("field", ["model", "name"])
def test_the_model_is_described(make_client: MakeClient, field: str) -> None:
    client = make_client(ScriptedBackend(context_length=1000))
    shown = client.post("/api/show", json={field: "llava", "verbose": True}).json()
    assert shown["capabilities"] == ["completion", "vision", "tools"]
    architecture = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{architecture}.context_length"] == 1000
    assert shown["parameters"].split("\n") == ["temperature 0", "num_predict 512"]
    assert shown["template"] == ("{{ .System }} USER: {{ .Prompt }} ASSISTANT: {{ .Response }}</s>")
    assert "FROM llava:tiny" in shown["modelfile"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/show", {"model": "gemma3"}, 404),
        ("/api/show", {}, 400),
        ("/api/pull", {"model": "gemma3"}, 404),
        ("/api/pull", {}, 400),
    ],
)
def test_other_models_are_not_found(
    make_client: MakeClient, path: str, body: dict[str, Any], status: int
) -> None:
    response = make_client().post(path, json=body)
    assert (response.status_code, response.json().keys()) == (status, {"error"})


def test_the_running_model_stays(make_client: MakeClient) -> None:
    (model,) = make_client(ScriptedBackend(context_length=1000)).get("/api/ps").json()["models"]
    assert (model["name"], model["context_length"]) == ("llava:tiny", 1000)
    years = (datetime.fromisoformat(model["expires_at"]) - datetime.now(UTC)).days / 365
    assert years > 20  # clients show it as forever


def test_no_model_runs_before_it_is_loaded(make_client: MakeClient) -> None:
    client = make_client()
    client.app.state.service._loaded.clear()  # type: ignore[attr-defined]
    assert client.get("/api/ps").json() == {"models": []}
    assert client.get("/api/tags").json()["models"]


@pytest.mark.parametrize("stream", [True, False])
def test_pulling_the_model_succeeds(make_client: MakeClient, stream: bool) -> None:
    response = make_client().post("/api/pull", json={"model": "llava", "stream": stream})
    assert (response.status_code, response.json()) == (200, {"status": "success"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("POST", "/api/blobs/sha256:00"),
    ],
)
def test_the_library_cannot_be_changed(make_client: MakeClient, method: str, path: str) -> None:
    response = make_client().request(method, path, json={"model": "llava"})
    assert response.status_code == 403
    assert "--model" in response.json()["error"]


def test_the_root_answers_clients_of_ollama(make_client: MakeClient) -> None:
    client = make_client(api_keys=("first-key",))
    assert client.head("/").status_code == 200
    for accepted in ("*/*", "application/json"):
        response = client.get("/", headers={"Accept": accepted})
        assert (response.status_code, response.text) == (200, "Ollama is running")


def test_browsers_get_no_words_of_ollama(make_client: MakeClient) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert "Ollama" not in make_client().get("/", headers=headers).text
