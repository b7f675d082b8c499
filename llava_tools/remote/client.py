"""The `openai` client on its own event loop, so that any request can be cancelled at any time.

Another thread cannot interrupt a blocking read, but it can cancel a task. Every request is a task
on one loop in one thread, and all requests share the client's connections.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai

from llava_tools.core.outputs import Chunk
from llava_tools.core.unicode import well_formed
from llava_tools.errors import AnswerTimeoutError, LlavaToolsError, RequestError
from llava_tools.remote.errors import (
    connection_closed,
    forked,
    not_reported,
    retry_after,
    translated_errors,
)
from llava_tools.remote.protocol import ChunkParser

_T = TypeVar("_T")

#: Seconds between the attempts of a request.
RETRY_DELAYS = (0.5, 1.0, 2.0)
#: Seconds without data after which a request fails. Long, since busy servers queue requests.
READ_TIMEOUT = 600.0
_CONNECT_TIMEOUT = 5.0
#: Characters of a value that is a secret; shorter ones may be part of any message.
_SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Connection:
    """How requests get to a server; see `llava_tools.options.EngineOptions`."""

    default_headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    proxy: str | None = None
    http_async_client: Any = None


class Client:
    """Requests to one server; `RemoteBackend` documents the arguments.

    Coroutine methods raise the errors of `errors.translate`.

    Attributes:
        url: The server's URL for messages, without a user's name and password.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        retry_delays: Sequence[float],
        read_timeout: float,
        connection: Connection,
    ) -> None:
        self.url = _without_credentials(url)
        self._root = url.rstrip("/").removesuffix("/v1")
        self._retry_delays = retry_delays
        self._extra_body = dict(connection.extra_body)
        self._secrets = _secrets(url, api_key, connection)
        timeout = openai.Timeout(read_timeout, connect=_CONNECT_TIMEOUT)
        own_client = connection.http_async_client
        try:
            self._client = openai.AsyncOpenAI(
                base_url=url,
                api_key=api_key or "none",  # for None it would send OPENAI_API_KEY
                # A client of the user's has timeouts of its own.
                timeout=timeout if own_client is None else own_client.timeout,
                max_retries=0,  # see `retry`
                default_headers=connection.default_headers,
                # Without the environment's proxies, and without redirects, which could lead the
                # prompt, its images and the headers to another host.
                http_client=own_client
                or openai.DefaultAsyncHttpxClient(
                    timeout=timeout,
                    proxy=connection.proxy,
                    verify=_certificates(),
                    trust_env=False,
                    follow_redirects=False,
                ),
            )
        except (openai.OpenAIError, OSError, ValueError, TypeError) as error:
            raise RequestError(
                f"base_url={self.url!r} is not possible: {error}", "Write http://host:port/v1."
            ) from error
        self._closed = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="llava-tools-remote", daemon=True
        )
        self._thread.start()

    def translated_errors(self) -> AbstractContextManager[None]:
        """See `errors.translated_errors`; no message has a key, a header or a password."""
        return translated_errors(self.url, self._secrets)

    def _body(self, fields: dict[str, Any]) -> Any:
        """Return the arguments of a request for an answer, with the connection's `extra_body`."""
        extra = {**self._extra_body, **fields.get("extra_body", {})}
        return _encodable({**fields, "extra_body": extra})

    @property
    def is_forked(self) -> bool:
        """Whether this process was forked from the one that has the loop's thread."""
        return os.getpid() != self._process

    def start(self, task: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a task on the loop; cancelling the future cancels it. Fails if closed or forked."""
        if self.is_forked:
            task.close()
            raise forked()
        with self._lock:
            if self._closed:
                task.close()
                raise connection_closed()
            return asyncio.run_coroutine_threadsafe(task, self._loop)

    def run(self, task: Coroutine[Any, Any, _T]) -> _T:
        """Run a task on the loop and return its result."""
        future = self.start(task)
        try:
            return future.result()
        except CancelledError:
            raise connection_closed() from None
        finally:
            future.cancel()

    async def retry(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `attempt` returns, repeating it after retryable errors except timeouts."""
        delays = iter(self._retry_delays)
        while True:
            try:
                with self.translated_errors():
                    return await attempt()
            except LlavaToolsError as error:
                delay = next(delays, None)
                if delay is None or not error.retryable or isinstance(error, AnswerTimeoutError):
                    raise
                await asyncio.sleep(max(delay, retry_after(error)))

    async def complete(self, model: str, messages: list[dict[str, Any]], **fields: Any) -> Any:
        """Return a whole chat completion; by default one greedy token."""
        defaults = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0}

        async def attempt() -> Any:
            answer = await self._client.chat.completions.create(**self._body(defaults | fields))
            _ = answer.choices[0].message.content  # raises if it is no chat completion
            return answer

        return await self.retry(attempt)

    async def stream(self, parser: ChunkParser, fields: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """Yield the parsed chunks of a chat completion; closing the generator ends the request.

        The request is not retried.
        """
        with self.translated_errors():
            chunks = await self._client.chat.completions.create(**self._body(fields))
            if not isinstance(chunks, openai.AsyncStream):
                raise TypeError("no stream")
            async with chunks:
                async for chunk in chunks:
                    if (parsed := parser.feed(chunk)) is not None:
                        yield parsed
                yield parser.end()

    async def list_models(self) -> list[Any] | None:
        """Return the models that the server lists; None if it has no list."""

        async def attempt() -> list[Any] | None:
            try:
                models = await self._client.models.list()
            except (openai.NotFoundError, openai.UnprocessableEntityError):
                return None
            return [model for model in models.data if isinstance(model.id, str)]

        return await self.retry(attempt)

    async def tokenize(self, model: str, text: str) -> list[int]:
        """Return the ids of a text, without `<s>`."""
        # vLLM and SGLang read `prompt`, llama.cpp `content`.
        fields = {"model": model, "prompt": text, "content": text, "add_special_tokens": False}
        with self.translated_errors():
            try:
                answer: Any = await self._client.post(
                    f"{self._root}/tokenize", cast_to=object, body=_encodable(fields)
                )
            except openai.APIStatusError as error:
                if error.status_code in (404, 405, 501):
                    raise not_reported("the ids of a text") from error
                raise
            return [int(token) for token in answer["tokens"]]

    def close(self) -> None:
        """Cancel all tasks and close the connections. Repeated calls have no effect."""
        if self.is_forked:
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()
        await asyncio.get_running_loop().shutdown_asyncgens()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # generators that ended just now
        await asyncio.gather(*left, return_exceptions=True)


def _certificates() -> ssl.SSLContext | bool:
    """Return the authorities that the environment names, True for the default ones."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        return True
    return ssl.create_default_context(cafile=file or None, capath=folder or None)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _secrets(url: str, api_key: str | None, connection: Connection) -> tuple[str, ...]:
    """Return what error messages must not show: the key, headers' values, passwords of URLs."""
    passwords = [urlsplit(item).password for item in (url, connection.proxy or "")]
    values = [api_key, *connection.default_headers.values(), *passwords]
    return tuple(value for value in values if value and len(value) >= _SHORTEST_SECRET)


def _encodable(value: Any) -> Any:
    """Return a JSON value whose texts are well-formed: the client cannot encode others."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
