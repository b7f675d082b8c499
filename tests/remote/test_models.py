"""A server's models, tokens and scores."""

from __future__ import annotations

import pytest

from llava_tools import Llava
from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Message, Request
from llava_tools.errors import (
    ModelError,
    ModelNotFoundError,
    RequestError,
    ServerError,
)
from llava_tools.testing import ScriptedBackend
from tests.remote.requests import ADD, QUESTION, Connect, Serve, make_image


def test_tokens_are_counted_by_the_server(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    request = Request(
        (Message("user", (make_image(), "What is it?")),), constraint=Constraint((ADD,))
    )
    assert backend.count_tokens(request) == ScriptedBackend().count_tokens(request)
    assert backend.token_ids("three plain words") == [0, 1, 2]


def test_labels_are_scored_by_a_vllm(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    request = Request((Message("user", (make_image(), "Which?")),))
    assert backend.score(request, ["yes", "dark red"]) == [-1.75, -2.75]
    chosen = Llava(backend=backend).choose("Which?", make_image(), ["yes", "dark red"])
    assert chosen.label == "yes"


def test_other_servers_say_that_they_cannot(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(kind="schemas"))
    with pytest.raises(ServerError, match="did not report"):
        backend.score(Request(QUESTION), ["yes"])
    with pytest.raises(ServerError, match="did not report"):
        backend.token_ids("words")


def test_the_model_is_looked_up(serve: Serve, connect: Connect) -> None:
    server = serve(models=("a/llava", "b/llava"), context_length=2048)
    backend = connect(server, model="b/llava")
    assert (backend.model_name, backend.context_length) == ("b/llava", 2048)
    with pytest.raises(ModelNotFoundError, match="no 'a/lava'"):
        connect(server, model="a/lava")
    with pytest.raises(ModelNotFoundError, match="serves: a/llava, b/llava"):
        connect(server)
    with pytest.raises(RequestError, match="context=4096"):
        connect(server, model="b/llava", context_length=4096)


def test_a_server_without_a_list(serve: Serve, connect: Connect) -> None:
    server = serve(models=None, kind="deaf")
    assert connect(server, model="llava").model_name == "llava"
    with pytest.raises(ModelNotFoundError, match=r"does not list.*base_url"):
        connect(server)


def test_a_key_is_wanted(serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-others")
    server = serve(api_key="secret")
    assert connect(server, api_key="secret").model_name == "llava"
    with pytest.raises(ModelError, match="LLAVA_API_KEY"):
        connect(server)
