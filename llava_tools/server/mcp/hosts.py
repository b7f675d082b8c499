"""Configurations of MCP hosts: what to paste into which file, so that a host starts the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llava_tools.errors import RequestError, unknown_option

#: Name of the server in a host's configuration.
SERVER_NAME = "llava"


@dataclass(frozen=True)
class Host:
    """A program that uses MCP servers, and the form of its configuration.

    Attributes:
        file: Where the configuration goes.
        servers: Name of the object that has the servers.
        url: Name of the field with the address of an HTTP server; None if its file takes none.
        with_type: Whether a server has a field `type`.
    """

    file: str
    servers: str = "mcpServers"
    url: str | None = "url"
    with_type: bool = False


HOSTS = {
    "claude-code": Host(".mcp.json in the project", with_type=True),
    "claude-desktop": Host("claude_desktop_config.json (Settings, Developer)", url=None),
    "cursor": Host("~/.cursor/mcp.json"),
    "gemini-cli": Host("~/.gemini/settings.json", url="httpUrl"),
    "lm-studio": Host("mcp.json (Program, Install, Edit mcp.json)"),
    "vscode": Host(".vscode/mcp.json in the workspace", servers="servers", with_type=True),
    "windsurf": Host("~/.codeium/windsurf/mcp_config.json", url="serverUrl"),
    "zed": Host("~/.config/zed/settings.json", servers="context_servers"),
}


def command_config(host: str, command: Sequence[str]) -> dict[str, Any]:
    """Return the configuration of a host that starts the server itself.

    Args:
        host: A name of `HOSTS`.
        command: The command of the server, with absolute paths.

    Raises:
        RequestError: An unknown host.
    """
    known = _find(host)
    server = {"command": command[0], "args": list(command[1:])}
    return {known.servers: {SERVER_NAME: _typed(known, "stdio", server)}}


def url_config(host: str, url: str, *, with_key: bool) -> dict[str, Any]:
    """Return the configuration of a host that connects to a server that runs.

    Args:
        host: A name of `HOSTS`.
        url: Of the server's endpoint.
        with_key: Whether the server needs an API key; the user writes it into the configuration.

    Raises:
        RequestError: An unknown host, or one whose file takes commands only.
    """
    known = _find(host)
    if known.url is None:
        raise RequestError(
            f"The configuration file of {host} takes commands, not addresses.",
            "Leave out --http: the host starts the server itself.",
        )
    server: dict[str, Any] = {known.url: url}
    if with_key:
        server["headers"] = {"Authorization": "Bearer YOUR-API-KEY"}
    return {known.servers: {SERVER_NAME: _typed(known, "http", server)}}


def _find(host: str) -> Host:
    if host not in HOSTS:
        raise unknown_option(host, HOSTS, "--print-config")
    return HOSTS[host]


def _typed(host: Host, kind: str, server: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, **server} if host.with_type else server
