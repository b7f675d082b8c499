"""`llava-tools serve`: it starts, answers, logs and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from llava_tools.cli.main import build_parser, main
from llava_tools.cli.options import get_flags
from llava_tools.cli.serve import KEY_VARIABLE, listen, read_api_keys, url_of
from llava_tools.errors import RequestError
from llava_tools.options import EngineOptions


@contextmanager
def _serving(*flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; yield its process and its URL."""
    command = [sys.executable, "-m", "llava_tools", "serve", "--port", "0", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        note = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", note)
        assert found, note
        try:
            yield process, found[0]
        finally:
            process.kill()


def _wait_until_ready(url: str) -> None:
    while True:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.ConnectError:
            time.sleep(0)  # the process is starting


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_stopped(number: signal.Signals) -> None:
    with _serving("--log-format", "json") as (process, url):
        _wait_until_ready(url)
        body = {"model": "llava", "prompt": "Is it red?", "stream": False}
        answer = httpx.post(f"{url}/api/generate", json=body, timeout=60)
        assert answer.json()["done"] is True
        process.send_signal(number)
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr if line.startswith("{")]
        assert process.wait(60) in (-number, 130, 0)
    (request,) = [line for line in lines if line.get("route") == "/api/generate"]
    assert (request["status"], request["user"]) == (200, "local")
    assert any("is ready" in line["message"] for line in lines)


@pytest.mark.slow
def test_a_running_stream_ends_before_the_server_does() -> None:
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 40, "maxItems": 40}
    body = {
        "messages": [{"role": "user", "content": "Count."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": numbers}},
        "max_tokens": 500,
        "stream": True,
    }
    with _serving() as (process, url):
        _wait_until_ready(url)
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
            events = (line for line in answer.iter_lines() if line.startswith("data: "))
            next(events)
            process.send_signal(signal.SIGTERM)
            rest = list(events)
        assert process.wait(60) in (-signal.SIGTERM, 0)
    assert rest[-1] == "data: [DONE]"


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert f"port {port}" in error
    assert "--port" in error


@pytest.mark.parametrize(
    "flags",
    [
        ("--host", "0.0.0.0"),
        ("--host", "203.0.113.7", "--allow-anyone"),
        ("--port", "70000"),
        ("--api-key-file", "nowhere.txt"),
        ("--max-images", "0"),
        ("--timeout", "-1"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    flags: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert main(["serve", *flags]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_url_has_the_port_that_was_free(host: str) -> None:
    try:
        listener = listen(host, 0)
    except RequestError:
        pytest.skip(f"no {host} here")
    with listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://{f'[{host}]' if ':' in host else host}:{port}"
        assert listener.proto == socket.IPPROTO_TCP  # then asyncio sets TCP_NODELAY


def test_keys_come_from_file_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.txt"
    file.write_text("# ours\nfirst-key\n")
    monkeypatch.setitem(os.environ, KEY_VARIABLE, "other-key")
    assert read_api_keys(str(file)) == ("other-key", "first-key")
    file.write_text("# none\n")
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(RequestError, match="holds no key"):
        read_api_keys(str(file))


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), ("300", 300), ("1h30m", 5400)])
def test_keep_alive_takes_durations(text: str, seconds: float) -> None:
    arguments = build_parser().parse_args(["serve", "--keep-alive", text])
    assert EngineOptions(**get_flags(arguments, EngineOptions)).idle_seconds == seconds


def test_an_impossible_duration_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--keep-alive", "5x"]) == 2
    assert "keep_alive='5x' is not possible" in capsys.readouterr().err


def test_a_key_file_may_begin_with_the_mark_that_windows_editors_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    file = tmp_path / "keys.txt"
    file.write_bytes(b"\xef\xbb\xbf# d\xc3\xa9p\xc3\xb4t\r\nfirst-key\r\nsecond-key\r\n")
    assert read_api_keys(str(file)) == ("first-key", "second-key")
