"""No body makes the server fail: what it cannot read is an error of the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from llava_tools import Llava
from llava_tools.server.app import create_app
from llava_tools.server.options import ServerOptions
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.server.ollama.samples import IMAGE, LOOK, base64_of

FIELDS = {
    "/api/chat": ("model", "messages", "tools", "format", "options", "think", "logprobs"),
    "/api/generate": ("model", "prompt", "images", "system", "format", "options", "keep_alive"),
    "/api/embed": ("model", "input", "truncate", "dimensions"),
    "/api/embeddings": ("model", "prompt"),
    "/api/show": ("model", "name"),
    "/api/pull": ("model", "name"),
}
MESSAGE = ("role", "content", "images", "tool_calls", "tool_call_id", "tool_name")

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["llava", "user", "tool", "assistant", "json", "\ud800", base64_of(IMAGE)]),
)
OPTIONS = ("temperature", "num_predict", "top_k", "top_p", "seed", "stop", "repeat_penalty")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*MESSAGE, *OPTIONS, "type", "function"]), inner),
        st.just(LOOK),
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    def answer(request: Any) -> str:
        return "{}" if request.constraint.schema is not None else "ok"

    model = Llava(backend=ScriptedBackend(answer))
    app = create_app(ServerOptions(), model, ScriptedEmbedder())
    app.state.service.load()
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as connected:
        yield connected


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_body_makes_the_server_fail(client: TestClient, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(FIELDS)))
    body = data.draw(st.dictionaries(st.sampled_from(FIELDS[path]), VALUES))
    if data.draw(st.booleans()):
        body["model"] = "llava"
        message = data.draw(st.dictionaries(st.sampled_from(MESSAGE), VALUES))
        if path == "/api/chat" and data.draw(st.booleans()):
            body["messages"] = [{"role": "user", "content": "?"} | message]
    response = client.post(path, content=json.dumps(body).encode())
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.json().keys() == {"error"}
