"""The `openai` client on an event loop of its own, so that anything can be left at any time.

A blocking read cannot be interrupted from another thread; a task can. Every request is a task of
one loop in one thread, however many there are, and all share the client's connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

import openai

from llava_tools.core.outputs import Chunk
from llava_tools.errors import (
    AnswerTimeoutError,
    EngineClosedError,
    LlavaToolsError,
    RequestError,
    ServerError,
)
from llava_tools.remote.errors import told, wanted_pause
from llava_tools.remote.protocol import ChunkReader

_T = TypeVar("_T")

#: Seconds between attempts of a request of which nothing has come back yet.
PAUSES = (0.5, 1.0, 2.0)
#: Seconds of silence after which a server is given up: a busy one lets requests wait.
SILENCE = 600.0
_CONNECT = 5.0


class Client:
    """Requests to one server.

    Args:
        url: Where its API begins; usually ends in `/v1`.
        api_key: As the server wants it; None where it wants none.
        pauses: Seconds to wait before each further attempt.
        silence: Seconds without a sign after which a request has failed.

    Attributes:
        url: As given.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        *,
        pauses: Sequence[float] = PAUSES,
        silence: float = SILENCE,
    ) -> None:
        self.url = url
        self._pauses = pauses
        try:
            self._client = openai.AsyncOpenAI(
                base_url=url,
                api_key=api_key or "none",  # else it would send the key that OPENAI_API_KEY holds
                timeout=openai.Timeout(silence, connect=_CONNECT),
                max_retries=0,  # it would only repeat what failed before the answer began
            )
        except (openai.OpenAIError, ValueError, TypeError) as error:
            raise RequestError(
                f"base_url={url!r} is not possible: {error}", "Write http://host:port/v1."
            ) from error
        self._closed = False
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="llava-tools-remote", daemon=True
        )
        self._thread.start()

    def start(self, task: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Run a task on the loop; cancelling the future cancels it.

        Raises:
            EngineClosedError: This client was closed.
        """
        with self._lock:
            if self._closed:
                task.close()
                raise closed()
            return asyncio.run_coroutine_threadsafe(task, self._loop)

    def run(self, task: Coroutine[Any, Any, _T]) -> _T:
        """Run a task on the loop and wait for what it returns."""
        future = self.start(task)
        try:
            return future.result()
        except CancelledError:
            raise closed() from None
        finally:
            future.cancel()

    async def complete(self, **fields: Any) -> Any:
        """Return a whole chat completion.

        Raises:
            LlavaToolsError: See `faults.translate`.
        """
        attempt = 0
        while True:
            try:
                with told(self.url):
                    answer = await self._client.chat.completions.create(**fields)
                    _ = answer.choices[0].message.content  # else it is no completion
                    return answer
            except LlavaToolsError as error:
                await self.pause(error, attempt)
                attempt += 1

    async def deltas(self, reader: ChunkReader, fields: dict[str, Any]) -> AsyncGenerator[Chunk]:
        """Yield what a reader makes of a streamed completion; leaving it ends the request.

        The request is not repeated.

        Raises:
            LlavaToolsError: See `faults.translate`.
        """
        with told(self.url):
            chunks = await self._client.chat.completions.create(**fields)
            if not isinstance(chunks, openai.AsyncStream):
                raise TypeError("no stream")
        try:
            rest = aiter(chunks)
            while True:
                with told(self.url):
                    try:
                        delta = reader.feed(await anext(rest))
                    except StopAsyncIteration:
                        break
                if delta is not None:
                    yield delta
            yield reader.end()
        finally:
            await chunks.close()

    async def models(self) -> list[Any] | None:
        """Return the models that the server lists; None where it keeps no list."""
        attempt = 0
        while True:
            try:
                with told(self.url):
                    try:
                        listed = await self._client.models.list()
                    except (openai.NotFoundError, openai.UnprocessableEntityError):
                        return None
                    return [model for model in listed.data if isinstance(model.id, str)]
            except LlavaToolsError as error:
                await self.pause(error, attempt)
                attempt += 1

    async def tokenize(self, model: str, text: str) -> list[int] | None:
        """Return the ids of a text; None where the server does not tell them."""
        root = self.url.rstrip("/").removesuffix("/v1")
        # vLLM and SGLang read `prompt`, llama.cpp `content`.
        fields = {"model": model, "prompt": text, "content": text, "add_special_tokens": False}
        with told(self.url):
            try:
                answer: Any = await self._client.post(
                    f"{root}/tokenize", cast_to=object, body=fields
                )
            except openai.APIStatusError as error:
                if error.status_code in (404, 405, 501):
                    return None
                raise
            return [int(token) for token in answer["tokens"]]

    async def pause(self, error: LlavaToolsError, attempt: int) -> None:
        """Wait before the next attempt, or raise the error where there is none."""
        hopeless = not error.retryable or isinstance(error, AnswerTimeoutError)
        if hopeless or attempt >= len(self._pauses):
            raise error
        await asyncio.sleep(max(self._pauses[attempt], wanted_pause(error)))

    def close(self) -> None:
        """Break off what is in flight and close the connections. More than once is no error."""
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


def closed() -> EngineClosedError:
    """Return the error for requests that outlive their connection."""
    return EngineClosedError("The connection to the server was closed.", "Make a new one.")


def no_answer(what: str) -> ServerError:
    """Return the error for a server that leaves out what was asked for."""
    return ServerError(f"The server did not report {what}.", "Use a vLLM server.")
