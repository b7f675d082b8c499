"""Configurations that users paste into the files of hosts."""

from __future__ import annotations

import pytest

from llava_tools.errors import RequestError
from llava_tools.server.mcp.hosts import HOSTS, command_config, url_config

COMMAND = ["/usr/bin/python", "-m", "llava_tools", "mcp"]
URL = "http://127.0.0.1:8001/mcp"


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_starts_the_command(host: str) -> None:
    ((servers, entries),) = command_config(host, COMMAND).items()
    assert servers == {"vscode": "servers", "zed": "context_servers"}.get(host, "mcpServers")
    entry = entries["llava"]
    assert [entry["command"], *entry["args"]] == COMMAND
    assert entry.get("type") == ("stdio" if host in ("vscode", "claude-code") else None)


@pytest.mark.parametrize("host", sorted(set(HOSTS) - {"claude-desktop"}))
@pytest.mark.parametrize("with_key", [True, False])
def test_a_host_connects_to_an_address(host: str, with_key: bool) -> None:
    ((_, entries),) = url_config(host, URL, with_key=with_key).items()
    entry = entries["llava"]
    field = {"gemini-cli": "httpUrl", "windsurf": "serverUrl"}.get(host, "url")
    assert entry[field] == URL
    assert ("headers" in entry) is with_key
    assert entry.get("type") == ("http" if host in ("vscode", "claude-code") else None)


def test_a_file_that_takes_commands_only_is_refused() -> None:
    with pytest.raises(RequestError, match="takes commands, not addresses"):
        url_config("claude-desktop", URL, with_key=False)


def test_an_unknown_host_is_refused() -> None:
    with pytest.raises(RequestError, match="Did you mean 'cursor'"):
        command_config("curser", COMMAND)
