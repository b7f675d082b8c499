from __future__ import annotations

from typing import Any

import pytest

from llava_tools.testing import ScriptedEmbedder
from tests.server.conftest import MakeClient

EMBEDDER = ScriptedEmbedder(lambda text: (3.0, 4.0) if text == "a" else (0.0, 1.0))


@pytest.mark.parametrize(
    ("value", "vectors"),
    [("a", [[0.6, 0.8]]), (["a", "b"], [[0.6, 0.8], [0.0, 1.0]]), ([], []), ("", []), (None, [])],
)
def test_texts_become_vectors(make_client: MakeClient, value: Any, vectors: Any) -> None:
    body = {"model": "llava", "input": value, "truncate": True, "options": {}, "keep_alive": "5m"}
    answer = make_client(embedder=EMBEDDER).post("/api/embed", json=body).json()
    assert (answer["model"], answer["embeddings"]) == ("llava", vectors)
    assert answer["total_duration"] >= 0


@pytest.mark.parametrize(("prompt", "vector"), [("a", [0.6, 0.8]), ("", [])])
def test_a_prompt_becomes_a_vector(make_client: MakeClient, prompt: str, vector: Any) -> None:
    body = {"model": "llava", "prompt": prompt}
    answer = make_client(embedder=EMBEDDER).post("/api/embeddings", json=body).json()
    assert answer == {"embedding": vector}


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"truncate": False}, 400, "truncate"),
        ({"dimensions": 1}, 400, "The vectors have 2"),
        ({"input": [1]}, 400, "input"),
        ({"model": "nomic-embed-text"}, 404, "not found"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    make_client: MakeClient, fields: dict[str, Any], status: int, message: str
) -> None:
    body = {"model": "llava", "input": "a", **fields}
    response = make_client(embedder=EMBEDDER).post("/api/embed", json=body)
    assert response.status_code == status
    assert message in response.json()["error"]
