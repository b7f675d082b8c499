from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from llava_tools.server.logs import LogFormat, logs_on_stderr
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.ollama.samples import chat_body


@pytest.fixture
def lines(
    make_client: MakeClient, capsys: pytest.CaptureFixture[str]
) -> Callable[[LogFormat], list[str]]:
    """Return a function that sends requests and returns the lines of the log."""

    def write(log_format: LogFormat) -> list[str]:
        with logs_on_stderr(log_format):
            client = make_client(ScriptedBackend(["secret answer"]), api_keys=("secret-key",))
            headers = {"Authorization": "Bearer secret-key"}
            client.post("/api/chat?secret=1", json=chat_body("a secret question"), headers=headers)
            client.get("/v1/secret")
        error = capsys.readouterr().err
        assert "secret" not in error
        return [line for line in error.splitlines() if "is ready" not in line]

    return write


def test_json_lines_have_the_fields_of_requests(lines: Any) -> None:
    answer, refused = map(json.loads, lines("json"))
    assert datetime.fromisoformat(answer.pop("time")).tzinfo is not None
    assert re.fullmatch("key-[0-9a-f]{8}", answer.pop("user"))
    assert 0 < answer.pop("first_token") <= answer.pop("seconds")
    assert answer.pop("prompt_tokens") > 2
    assert answer == {
        "level": "info",
        "message": "request",
        "method": "POST",
        "route": "/api/chat",
        "status": 200,
        "cached_tokens": 0,
        "generated_tokens": 2,
        "images": 0,
        "finish_reason": "stop",
    }
    assert (refused["route"], refused["status"], "user" in refused) == ("other", 401, False)


def test_text_lines_have_the_same(lines: Any) -> None:
    answer, refused = lines("text")
    assert re.match(
        r"\d{4}-\d\d-\d\dT[\d:.]+Z INFO method=POST route=/api/chat status=200 seconds=", answer
    )
    assert "generated_tokens=2" in answer
    assert "method=GET route=other status=401" in refused


def test_none_writes_warnings_only(lines: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines("none") == []
    with logs_on_stderr("none"):
        logging.getLogger("llava_tools.server.service").error("the model cannot be loaded")
    assert "ERROR the model cannot be loaded" in capsys.readouterr().err


def test_exceptions_are_fields_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with logs_on_stderr("json"):
        try:
            raise ValueError("wrong")
        except ValueError:
            logging.getLogger("llava_tools.server").exception("It failed.")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["message"]) == ("error", "It failed.")
    assert line["exception"].endswith("ValueError: wrong")


def test_the_loggers_are_left_as_they_were() -> None:
    root = logging.getLogger("llava_tools.server")
    before = (root.level, root.propagate, list(root.handlers))
    with logs_on_stderr("json"):
        pass
    assert (root.level, root.propagate, root.handlers) == before
