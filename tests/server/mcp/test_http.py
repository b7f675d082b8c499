"""Over HTTP: bodies, keys, sessions with images of their own, and pages of other sites."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from PIL import Image

from tests.server.mcp.scene import TALL, add, call_every_tool, data_of, error_of, make_server
from tests.server.mcp.servers import listen, serve
from tests.strategies import encoded

KEYS = ("key-of-the-first", "key-of-the-second")
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
HEADERS = {"Accept": "application/json, text/event-stream"}


def _authorized(key: str) -> dict[str, str]:
    return HEADERS | {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("keys", [(), KEYS])
async def test_every_tool_answers(keys: tuple[str, ...], mode: Any) -> None:
    async with (
        serve(make_server(), api_keys=keys) as connect,
        connect(mode, *keys[:1]) as client,
    ):
        await call_every_tool(client)


async def test_an_image_of_5_megabytes_passes(mode: Any) -> None:
    noise = encoded(Image.effect_noise((2400, 2400), 100), "PNG")
    assert len(noise) > 5_000_000
    async with serve(make_server()) as connect, connect(mode) as client:
        handle = await add(client, noise)
        result = await client.call_tool("locate", {"image": handle, "thing": "the car"})
        assert data_of(result)["width"] == 2400
        assert len(result.model_dump_json()) < 1_048_576
        read = await client.read_resource(f"image://{handle}")
        assert read.contents[0].mime_type == "image/jpeg"
        assert len(read.model_dump_json()) < 1_048_576


async def test_a_body_above_the_limit_is_refused() -> None:
    async with listen(make_server(), max_body_bytes=1000) as url, httpx2.AsyncClient() as http:
        response = await http.post(url, json=INITIALIZE | {"x": "x" * 1000}, headers=HEADERS)
    assert response.status_code == 413


async def test_sessions_do_not_see_the_images_of_others(mode: Any) -> None:
    async with serve(make_server()) as connect, connect(mode) as first, connect(mode) as second:
        handle = await add(first)
        await add(second, TALL)
        await _sees_not(second, handle)
        assert [r.name for r in (await first.list_resources()).resources] == [handle]


async def test_without_keys_clients_of_versions_without_sessions_use_an_earlier_one() -> None:
    async with serve(make_server()) as connect, connect("auto") as client:
        assert client.protocol_version == "2025-11-25"


async def test_versions_without_sessions_have_the_images_of_the_key() -> None:
    server = make_server()
    async with serve(server, api_keys=KEYS) as connect:
        async with connect("auto", KEYS[0]) as first:
            assert first.protocol_version == "2026-07-28"
            handle = await add(first)
        async with connect("auto", KEYS[0]) as again, connect("auto", KEYS[1]) as other:
            assert [r.name for r in (await again.list_resources()).resources] == [handle]
            await _sees_not(other, handle)
        async with connect("legacy", KEYS[0]) as session:
            await _sees_not(session, handle)


async def _sees_not(client: Client, handle: str) -> None:
    assert handle not in [r.name for r in (await client.list_resources()).resources]
    result = await client.call_tool("look", {"image": handle, "question": "What?"})
    assert "There is no picture" in error_of(result)
    with pytest.raises(MCPError, match="There is no picture"):
        await client.read_resource(f"image://{handle}")


async def test_images_are_forgotten_when_their_session_ends() -> None:
    server = make_server()
    async with serve(server) as connect:
        async with connect("legacy") as client:
            await add(client)
            assert len(server.sessions) == 1
        assert len(server.sessions) == 0


async def test_a_session_can_be_used_and_ended_with_its_own_key_only() -> None:
    server = make_server()
    async with listen(server, api_keys=KEYS) as url, httpx2.AsyncClient() as http:
        opened = await http.post(url, json=INITIALIZE, headers=_authorized(KEYS[0]))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "resources/list"}
        own = await http.post(url, json=listing, headers=_authorized(KEYS[0]) | session)
        other = await http.post(url, json=listing, headers=_authorized(KEYS[1]) | session)
        deleted = await http.delete(url, headers=_authorized(KEYS[1]) | session)
        assert (own.status_code, other.status_code, deleted.status_code) == (200, 404, 404)
        assert len(server.sessions) == 1
        deleted = await http.delete(url, headers=_authorized(KEYS[0]) | session)
        assert deleted.status_code == 200
        assert len(server.sessions) == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": KEYS[0]}, 401),
        ({"Authorization": f"Bearer {KEYS[1]}"}, 200),
    ],
)
async def test_a_key_is_needed(headers: dict[str, str], status: int) -> None:
    async with listen(make_server(), api_keys=KEYS) as url, httpx2.AsyncClient() as http:
        response = await http.post(url, json=INITIALIZE, headers=HEADERS | headers)
        plain = await http.options(url, headers=headers)
    assert response.status_code == status
    assert plain.status_code < 500


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
async def test_pages_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    async with listen(make_server()) as url, httpx2.AsyncClient() as http:
        response = await http.post(url, json=INITIALIZE, headers=HEADERS | headers)
    assert response.status_code == 403


async def test_pages_of_an_allowed_site_may_read_the_session() -> None:
    site = "https://inspector.example"
    async with (
        listen(make_server(), allowed_origins=(site,)) as url,
        httpx2.AsyncClient() as http,
    ):
        response = await http.post(url, json=INITIALIZE, headers=HEADERS | {"Origin": site})
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == site
    assert response.headers["access-control-expose-headers"] == "mcp-session-id"
