"""Requests to a server on an event loop of their own, so that any can be cancelled at any time.

Another thread cannot interrupt a blocking read, but it can cancel a task. Every request is a task
on one loop in one thread, and all requests share the connections of one `Transport`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, aclosing
from typing import Any, Protocol, TypeVar

from llava_tools.core.connection import without_credentials
from llava_tools.core.outputs import Chunk
from llava_tools.errors import AnswerTimeoutError, LlavaToolsError, RequestError
from llava_tools.remote.credentials import Connection
from llava_tools.remote.errors import (
    StatusError,
    connection_closed,
    forked,
    hidden_secrets,
    not_reported,
    retry_after,
    translated_errors,
    without_secrets,
)
from llava_tools.remote.protocol import answer_text
from llava_tools.remote.transport import Transport

_T = TypeVar("_T")

#: Seconds between the attempts of a request.
RETRY_DELAYS = (0.5, 1.0, 2.0)
#: Seconds without data after which a request fails. Long, since busy servers queue requests.
READ_TIMEOUT = 600.0
#: Seconds after which an answer that has not ended fails.
ANSWER_TIMEOUT = 3600.0
#: Seconds for a server's list of models.
_LIST_TIMEOUT = 60.0
#: Bytes of that list: the longest, of public services, have a million.
MAX_LIST_BYTES = 4 * 2**20
#: Statuses of servers that have no list of models, and refuse the request for it.
_WITHOUT_LIST = (400, 404, 405, 410, 422, 501)
_COMPLETIONS = "chat/completions"


class AnswerParser(Protocol):
    """Parses the chat completion chunks of one answer."""

    def feed(self, chunk: Any) -> Chunk | None:
        """Return what the server's next chunk, as JSON, adds to the answer; None if nothing."""

    def end(self) -> Chunk:
        """Return the final chunk."""


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
        connection: Connection,
        *,
        read_timeout: float,
        answer_timeout: float,
    ) -> None:
        self.url = without_credentials(url)
        self._retry_delays = retry_delays
        self._extra_body = dict(connection.extra_body)
        try:
            self._transport = Transport(
                url, api_key, connection, read_timeout=read_timeout, answer_timeout=answer_timeout
            )
        except (OSError, ValueError) as error:
            raise RequestError(
                f"The connection to {self.url} is not possible: {str(error).rstrip('.')}.",
                "Write base_url like http://host:port/v1.",
            ) from None
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
        return translated_errors(self.url, self._transport.secrets)

    def hidden_secrets(self) -> AbstractContextManager[None]:
        """Leave keys, headers' values and passwords out of errors of this package."""
        return hidden_secrets(self._transport.secrets)

    def without_secrets(self, text: str) -> str:
        """Return a text, which the server may have written, without them."""
        return without_secrets(text, self._transport.secrets)

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
        """Run a task on the loop and return its result; no error of it shows a secret."""
        future = self.start(task)
        try:
            with self.hidden_secrets():
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
        """Return a whole chat completion, as JSON; by default one greedy token."""
        defaults = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0}

        async def attempt() -> Any:
            answer = await self._transport.post(_COMPLETIONS, self._body(defaults | fields))
            answer_text(answer)  # raises if it is no chat completion
            return answer

        return await self.retry(attempt)

    async def stream(
        self, parser: AnswerParser, fields: dict[str, Any], max_tokens: int
    ) -> AsyncGenerator[Chunk]:
        """Yield the parsed chunks of a chat completion; closing the generator ends the request.

        `max_tokens` is the most that the answer can have. The request is not retried.
        """
        with self.translated_errors():
            events = self._transport.events(_COMPLETIONS, self._body(fields), max_tokens)
            async with aclosing(events):
                async for event in events:
                    if (chunk := parser.feed(event)) is not None:
                        yield chunk
                yield parser.end()

    async def list_models(self) -> list[dict[str, Any]] | None:
        """Return the models that the server lists; None if it has no list."""

        async def attempt() -> list[dict[str, Any]] | None:
            try:
                answer = await self._transport.get("models", _LIST_TIMEOUT, MAX_LIST_BYTES)
            except StatusError as error:
                if error.status in _WITHOUT_LIST:
                    return None
                raise
            except ValueError:  # a page of HTML
                return None
            models = answer.get("data") if isinstance(answer, dict) else None
            if not isinstance(models, list):
                return None
            return [m for m in models if isinstance(m, dict) and isinstance(m.get("id"), str)]

        return await self.retry(attempt)

    async def tokenize(self, model: str, text: str) -> list[int]:
        """Return the ids of a text, without `<s>`."""
        # vLLM and SGLang read `prompt`, llama.cpp `content`.
        fields = {"model": model, "prompt": text, "content": text, "add_special_tokens": False}
        with self.translated_errors():
            try:
                answer = await self._transport.post_to_root("tokenize", fields)
            except StatusError as error:
                if error.status in (404, 405, 501):
                    raise not_reported("the ids of a text") from error
                raise
            ids = [int(token) for token in answer["tokens"]]
            if ids and min(ids) < 0:
                raise ValueError(f"{min(ids)} is the id of no token")
            return ids

    async def post_to_root(self, path: str, fields: dict[str, Any]) -> Any:
        """Return the JSON of an address beside the API's, `/v1` left out."""
        return await self.retry(lambda: self._transport.post_to_root(path, fields))

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a request for an answer, with the connection's further fields."""
        return {**self._extra_body, **fields}

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
        await self._transport.close()
        await asyncio.get_running_loop().shutdown_asyncgens()
        left = asyncio.all_tasks() - {asyncio.current_task()}  # generators that ended just now
        await asyncio.gather(*left, return_exceptions=True)
