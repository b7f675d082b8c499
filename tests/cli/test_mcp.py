"""`llava-tools mcp`: its flags, configurations of hosts, and what is refused before it starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from llava_tools.cli import mcp as command
from llava_tools.cli.main import build_parser, main
from llava_tools.cli.mcp import command_words, split_address
from llava_tools.errors import RequestError

pytest.importorskip("mcp_types")


def _config(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["mcp", *words]) == 0
    config: dict[str, Any] = json.loads(capsys.readouterr().out)
    return config


def test_the_printed_command_is_absolute_and_starts_the_same_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "images", "index"):
        (tmp_path / folder).mkdir()
    flags = [
        "--model",
        "model",
        "--index",
        "index",
        "--tools",
        "look,find",
        "--preload",
        "--no-images",
    ]
    flags += ["--allow-directory", "images", "--allow-host", "a.example", "--local-files-only"]
    config = _config([*flags, "--print-config", "claude-desktop"], capsys)
    server = config["mcpServers"]["llava"]
    assert server["command"] == sys.executable
    assert server["args"][:3] == ["-m", "llava_tools", "mcp"]
    parsed = build_parser().parse_args(server["args"][2:])
    assert parsed.model == str(tmp_path / "model")
    assert parsed.index == str(tmp_path / "index")
    assert parsed.allow_directory == [str(tmp_path / "images")]
    assert parsed.allow_host == ["a.example"]
    assert (parsed.tools, parsed.preload, parsed.local_files_only) == ("look,find", True, True)
    assert (parsed.no_images, parsed.resource_links) == (True, False)
    assert command_words(parsed)[1:] == server["args"]


def test_the_name_of_a_model_and_a_uri_stay_as_they_are() -> None:
    words = ["mcp", "--model", "7b", "--index", "s3://bucket/index"]
    assert command_words(build_parser().parse_args(words))[3:] == words


def test_an_address_is_printed_without_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLAVA_SERVER_API_KEY", "a-secret-key")
    config = _config(["--http", "127.0.0.1:8001", "--print-config", "cursor"], capsys)
    assert config["mcpServers"]["llava"] == {
        "url": "http://127.0.0.1:8001/mcp",
        "headers": {"Authorization": "Bearer YOUR-API-KEY"},
    }


def test_an_address_on_all_interfaces_is_printed_with_the_machines_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "workshop")
    words = ["--http", "0.0.0.0:8001", "--allow-anyone", "--print-config", "zed"]
    config = _config(words, capsys)
    assert config["context_servers"]["llava"] == {"url": "http://workshop:8001/mcp"}


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:81", ("::1", 81)), ("a.b:0", ("a.b", 0))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["8001", "localhost", "localhost:", ":80", "::1:80", "a:b", ""])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="Write HOST:PORT"):
        split_address(text)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--http", "0.0.0.0:8001"], "there is no API key"),
        (["--http", "localhost"], "Write HOST:PORT"),
        (["--http", "127.0.0.1:99999"], "port=99999 is not possible"),
        (["--tools", "lok"], "Did you mean 'look'?"),
        (["--tools", "find"], "The tool find needs an index"),
        (["--index", "nowhere"], "There is no index in 'nowhere'"),
        (["--allow-directory", "nowhere"], "There is no folder"),
        (["--print-config", "curser"], "Did you mean 'cursor'?"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    words: list[str],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_run_http", lambda *_: pytest.fail("it serves"))
    assert main(["mcp", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert main(["mcp"]) == 2
    assert "the extra 'mcp'" in capsys.readouterr().err
