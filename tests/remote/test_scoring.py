"""Token counts and log-probabilities of labels."""

from __future__ import annotations

import pytest

from llava_tools import Llava
from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Message, Request
from llava_tools.errors import ServerError
from llava_tools.testing import ScriptedBackend
from tests.remote.requests import ADD, QUESTION, Connect, Serve, make_image


def test_server_counts_tokens(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    request = Request(
        (Message("user", (make_image(), "What is it?")),), constraint=Constraint((ADD,))
    )
    assert backend.count_tokens(request) == ScriptedBackend().count_tokens(request)
    assert backend.token_ids("three plain words") == [0, 1, 2]


def test_vllm_scores_labels(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    request = Request((Message("user", (make_image(), "Which?")),))
    assert backend.score(request, ["yes", "dark red"]) == [-1.75, -2.75]
    classification = Llava(backend=backend).choose("Which?", make_image(), ["yes", "dark red"])
    assert classification.label == "yes"


def test_other_servers_raise_for_scores_and_token_ids(serve: Serve, connect: Connect) -> None:
    backend = connect(serve(kind="schemas"))
    with pytest.raises(ServerError, match="did not report"):
        backend.score(Request(QUESTION), ["yes"])
    with pytest.raises(ServerError, match="did not report"):
        backend.token_ids("words")
