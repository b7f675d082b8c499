from __future__ import annotations

from typing import Any

import pytest

from llava_tools.core.requests import Message, Request
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.openai.requests import IMAGE, IMAGE_BLOCK, conversation


def test_a_text_has_token_ids(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(context_length=1234))
    fields = {"prompt": "one two three", "add_special_tokens": False}
    assert client.post("/tokenize", json=fields).json() == {
        "count": 3,
        "max_model_len": 1234,
        "tokens": [0, 1, 2],
    }


def test_a_conversation_has_a_count(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    answer = make_client(backend).post("/tokenize", json=conversation([IMAGE_BLOCK])).json()
    expected = backend.count_tokens(Request((Message("user", (IMAGE,)),)))
    assert (answer["count"], answer["tokens"]) == (expected, None)
    assert expected > 576


@pytest.mark.parametrize("field", ["prompt", "messages"])
def test_a_text_of_megabytes_is_not_counted(make_client: MakeClient, field: str) -> None:
    text = "a" * 1_000_001
    fields = conversation(text) if field == "messages" else {"prompt": text}
    response = make_client().post("/tokenize", json=fields)
    assert response.status_code == 400
    assert "The text has 1,000,001 characters" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields", [{}, {"prompt": "a", **conversation()}, {"prompt": "a", "add_special_tokens": True}]
)
def test_impossible_requests_are_refused(make_client: MakeClient, fields: dict[str, Any]) -> None:
    assert make_client().post("/tokenize", json=fields).status_code == 400
