"""HTTP to one model server: what it is sent, and how much of its answers is read.

One policy for every request: the headers are those of the options and nothing of the environment;
redirects are not followed, since they could lead the prompt, its images and the key to another
host; an answer has at most so many bytes, events and seconds, and is strict JSON. Errors are those
of `errors`, the HTTP library and `ValueError` for malformed answers; `errors.translated_errors`
makes them this project's.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

import httpx

from llava_tools.core.connection import without_credentials
from llava_tools.core.unicode import well_formed
from llava_tools.remote.credentials import Connection, find_secrets, write_headers
from llava_tools.remote.errors import (
    AnswerTooLongError,
    StatusError,
    connection_closed,
    exchange_errors,
)
from llava_tools.remote.server_events import MAX_EVENT_BYTES, read_events
from llava_tools.remote.strict_json import parse_json

_CONNECT_TIMEOUT = 5.0
#: Bytes of an answer that is one JSON document: log-probabilities of a prompt of 100,000 tokens
#: are the longest. Read, it may take 25 times the bytes.
MAX_ANSWER_BYTES = 16 * 2**20
#: Bytes that are read of an error's body.
_MAX_ERROR_BYTES = 64 * 2**10
#: Bytes of a stream for each token that it may hold; and with 20 alternatives to it.
_TOKEN_BYTES, _TOKEN_LOGPROBS_BYTES = 2 * 2**10, 16 * 2**10
#: Events of a stream for each token.
_TOKEN_EVENTS = 4
#: Most tokens of an answer, whatever context a server claims to have.
MAX_TOKENS = 65_536
#: Events beside those: roles, usage, progress, empty ones.
_FURTHER_EVENTS = 1024
#: Seconds for the end of a body whose last event has come.
_DRAIN_TIMEOUT = 0.5


class Transport:
    """Requests to the server at `base_url`.

    Args:
        base_url: Its address, possibly with a user's name and password.
        api_key: Sent as a bearer token; None for none.
        connection: Headers, proxy and HTTP client.
        read_timeout: Seconds without data after which a request fails.
        answer_timeout: Seconds after which an answer that has not ended fails.

    Attributes:
        url: The address without a user's name and password, for messages.
        secrets: What error messages must not show: the key, headers' values, passwords.

    Raises:
        ValueError: The address or the proxy is not possible.
        OSError: The certificates that the environment names cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        connection: Connection,
        *,
        read_timeout: float,
        answer_timeout: float,
    ) -> None:
        self.url = without_credentials(base_url)
        self.secrets = find_secrets(base_url, api_key, connection)
        self._base = self.url.rstrip("/")
        self._headers = write_headers(base_url, api_key, connection.default_headers)
        self._answer_timeout = answer_timeout
        timeout = httpx.Timeout(read_timeout, connect=_CONNECT_TIMEOUT)
        try:
            _check_ports(self.url, connection.proxy)
            self._client = connection.http_async_client or httpx.AsyncClient(
                headers={"user-agent": "llava-tools"},
                timeout=timeout,
                proxy=connection.proxy,
                verify=_certificates(),
                trust_env=False,
                limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100),
            )
        except ImportError as error:
            raise ValueError("a SOCKS proxy needs the package socksio") from error
        except (httpx.InvalidURL, TypeError) as error:
            raise ValueError(str(error)) from error

    async def get(self, path: str, seconds: float, max_bytes: int) -> Any:
        """Return the JSON at a path below the address, within so many seconds and bytes."""
        async with asyncio.timeout(seconds):
            return await self._read("GET", f"{self._base}/{path}", None, max_bytes)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON of the answer to a JSON body."""
        async with asyncio.timeout(self._answer_timeout):
            return await self._read("POST", f"{self._base}/{path}", body)

    async def post_to_root(self, path: str, body: Mapping[str, Any]) -> Any:
        """Like `post`, below the address without its `/v1`."""
        async with asyncio.timeout(self._answer_timeout):
            root = self._base.removesuffix("/v1")
            return await self._read("POST", f"{root}/{path}", body)

    async def events(
        self, path: str, body: Mapping[str, Any], max_tokens: int
    ) -> AsyncGenerator[Any]:
        """Yield the JSON of each event of a streamed answer of `max_tokens` at most.

        An answer that is no stream but one JSON document is its only event.
        """
        deadline = asyncio.get_running_loop().time() + self._answer_timeout
        max_tokens = min(max_tokens, MAX_TOKENS)
        token_bytes = _TOKEN_LOGPROBS_BYTES if body.get("logprobs") else _TOKEN_BYTES
        max_bytes = MAX_EVENT_BYTES + token_bytes * max_tokens
        max_events = _FURTHER_EVENTS + _TOKEN_EVENTS * max_tokens
        async with self._opened("POST", f"{self._base}/{path}", body, deadline) as response:
            pieces = _pieces(response, max_bytes, deadline)
            if _media_type(response) == "application/json":
                yield parse_json(b"".join([piece async for piece in pieces]))
                return
            count = 0
            async for event in read_events(pieces):
                count += 1
                if count > max_events:
                    raise AnswerTooLongError(f"{max_events} events")
                yield parse_json(event)
            await _drain(pieces)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _read(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Any:
        async with self._opened(method, url, body) as response:
            pieces = _pieces(response, max_bytes)
            return parse_json(b"".join([piece async for piece in pieces]))

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None,
        deadline: float | None = None,
    ) -> AsyncIterator[Any]:
        """Send a request; the value is the response, whose body has not been read."""
        if self._client.is_closed:  # one of the user's
            raise connection_closed()
        content = None if body is None else json.dumps(_encodable(body)).encode()
        kind = {} if content is None else {b"content-type": b"application/json"}
        request = self._client.build_request(
            method, url, content=content, headers={**kind, **self._headers}
        )
        async with asyncio.timeout_at(deadline):
            response = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            if not 200 <= response.status_code < 300:
                async with asyncio.timeout_at(deadline):
                    raise await _status_error(response)
            yield response
        finally:
            await response.aclose()


def _check_ports(*urls: str | None) -> None:
    """Check what the HTTP library checks too late, or not; `ValueError` or its own error."""
    for port in (httpx.URL(url).port for url in urls if url):
        if port is not None and not 0 < port < 65536:
            raise ValueError(f"there is no port {port}")


async def _pieces(
    response: Any, max_bytes: int, deadline: float | None = None
) -> AsyncGenerator[bytes]:
    """Yield the bytes of a body as they come.

    Raises:
        AnswerTooLongError: There are more than `max_bytes`.
        ValueError: They are compressed, which was not accepted: few bytes could become many.
    """
    if coding := _compression(response):
        raise ValueError(f"compressed as {coding}, which was not accepted")
    size = 0
    pieces = response.aiter_bytes()
    while True:
        async with asyncio.timeout_at(deadline):
            piece = await anext(pieces, None)
        if piece is None:
            return
        size += len(piece)
        if size > max_bytes:
            raise AnswerTooLongError(f"{max_bytes:,} bytes")
        yield piece


async def _drain(pieces: AsyncGenerator[bytes]) -> None:
    """Read what comes after the last event, so that the connection can be used again."""
    with suppress(*exchange_errors()):  # then it is closed, and the answer is whole
        async with asyncio.timeout(_DRAIN_TIMEOUT):
            async for _ in pieces:
                pass


async def _status_error(response: Any) -> StatusError:
    """Return the error for a status that is no success, with the beginning of its body."""
    body = b""
    if not _compression(response):
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) >= _MAX_ERROR_BYTES:
                break
    text = body[:_MAX_ERROR_BYTES].decode(errors="replace")
    return StatusError(response.status_code, text, response.headers)


def _compression(response: Any) -> str:
    """Return how a body is compressed, empty if it is not."""
    coding = str(response.headers.get("content-encoding", "")).strip().lower()
    return "" if coding == "identity" else coding


def _media_type(response: Any) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _certificates() -> ssl.SSLContext:
    """Return the authorities that the environment names, else the default ones."""
    return _read_certificates(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache  # reading them takes longer than connecting
def _read_certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    if not file and not folder:
        return httpx.create_ssl_context(trust_env=False)
    return ssl.create_default_context(cafile=file or None, capath=folder or None)


def _encodable(value: Any) -> Any:
    """Return a JSON value whose texts are well-formed: servers refuse others."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
