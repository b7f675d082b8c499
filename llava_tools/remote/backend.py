"""`RemoteBackend`: requests in, streams out, like the engine, with the model behind a server."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from difflib import get_close_matches
from typing import Any

from llava_tools.chat.prepare import PreparedRequest, prepare
from llava_tools.core.backend import Stream, check_labels
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    LlavaToolsError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
)
from llava_tools.options import CONTEXTS
from llava_tools.remote import protocol, scoring
from llava_tools.remote.client import PAUSES, SILENCE, Client, no_answer
from llava_tools.remote.constraint_encoding import ConstraintEncoder, ConstraintEncoding, Fields
from llava_tools.remote.image_encoding import SIDE, ImageEncoder
from llava_tools.remote.stream import RemoteStream
from llava_tools.structured.parser import constrained

#: Context of LLaVA 1.5, for servers that do not tell theirs.
_CONTEXT = 4096
_HELLO = [{"role": "user", "content": "Hello."}]


class RemoteBackend:
    """A model behind an OpenAI-compatible server. Making one asks the server what it serves.

    Args:
        url: Where its API begins; usually ends in `/v1`.
        model: As the server calls it; None for the only one that it has.
        api_key: For servers that want one.
        context: Tokens of prompt and answer; None for what the server says.
        max_queue: Requests in flight at most; one more is refused.
        side: Pixels a side of the images that are sent: what the model looks at.
        pauses: Seconds to wait before each further attempt of a request that met a busy or failing
            server, as long as nothing of its answer has come.
        silence: Seconds without a sign from the server after which a request has failed.

    Raises:
        ModelNotFoundError: The server has no such model.
        ModelError: It wants another key.
        ServerError: It cannot be reached, or answers what no such server would.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        context_length: int | None = None,
        max_concurrent_requests: int = 256,
        side: int = SIDE,
        pauses: Sequence[float] = PAUSES,
        silence: float = SILENCE,
    ) -> None:
        self._urls = ImageEncoder(side)
        self._max_queue = max_concurrent_requests
        self._places = threading.BoundedSemaphore(max_concurrent_requests)
        self._closed = False
        self._client = Client(url, api_key, pauses=pauses, silence=silence)
        try:
            self._served = self._client.run(self._look(model, context_length))
        except LlavaToolsError:
            self._client.close()
            raise
        self._enforcement = ConstraintEncoder(self._ask)

    @property
    def model_name(self) -> str:
        """Name of the model, as the server calls it."""
        return self._served.name

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self._served.context_length

    @property
    def device(self) -> str:
        """Where the model runs, as `info` shows it."""
        return self._client.url

    def stream(self, request: Request) -> Stream:
        """Send a request and return its answer on the way.

        Raises:
            RequestError: A bad image or conversation, or a schema that is none. What the server
                refuses is raised by the stream.
            QueueFullError: `max_concurrent_requests` requests are in flight.
            EngineClosedError: This backend was closed.
            ServerError: It could not be asked whether it enforces constraints.
        """
        arrived = time.perf_counter()
        prepared = self._prepare(request)
        constraint = prepared.constraint
        messages = protocol.messages(prepared, self._urls)
        form = ConstraintEncoding()
        if not constraint.free:
            form = self._client.run(self._enforcement.form(constraint))
        if not self._places.acquire(blocking=False):
            raise QueueFullError(
                f"{self._max_queue} requests are in flight, the most that are sent at once.",
                "Try again later, or set a larger max_queue.",
            )
        try:
            deltas = self._deltas(request, messages, form, arrived)
            stream = RemoteStream(deltas, self._client.start, self._places.release)
        except EngineClosedError:
            self._places.release()
            raise
        return constrained(stream, constraint, best_effort=form.best_effort)

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """Return the log-probabilities of labels as answers; see `Backend.score`. vLLM only."""
        check_labels(labels)
        messages = protocol.messages(self._prepare(request), self._urls)
        return self._client.run(scoring.score(self._client, self._served, messages, labels))

    def count_tokens(self, request: Request) -> int:
        """Return the prompt's tokens: the server reads it, and keeps it for the question."""
        messages = protocol.messages(self._prepare(request), self._urls)
        return self._client.run(scoring.prompt_tokens(self._client, self._served, messages))

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of plain text, without `<s>`.

        Raises:
            ServerError: The server does not tell them.
        """
        ids = self._client.run(self._client.tokenize(self._served.name, protocol.plain(text)))
        if ids is None:
            raise no_answer("the ids of a text")
        return ids

    def close(self) -> None:
        """Fail what is in flight and close the connections."""
        self._closed = True
        self._client.close()

    def _prepare(self, request: Request) -> PreparedRequest:
        if self._closed:
            raise EngineClosedError("This backend is closed.", "Make a new one.")
        return prepare(request)

    async def _deltas(
        self,
        request: Request,
        messages: list[dict[str, Any]],
        form: ConstraintEncoding,
        arrived: float,
    ) -> AsyncGenerator[Chunk]:
        """Yield an answer, asking again as long as nothing of it has come."""
        fields = _merged(protocol.body(request, self._served, messages), form.fields)
        sent = time.perf_counter()
        attempt = 0
        while True:
            reader = protocol.ChunkReader(request, arrived, sent, wrapped=form.wrapped)
            begun = False
            try:
                async with aclosing(self._client.deltas(reader, fields)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta
                return
            except ContextOverflowError:
                if begun or request.sampling.max_tokens is not None or "max_tokens" not in fields:
                    raise
                del fields["max_tokens"]  # nobody asked for so many: what is left will do
            except LlavaToolsError as error:
                if begun:
                    raise
                await self._client.pause(error, attempt)
                attempt += 1

    async def _ask(self, fields: Fields) -> str:
        """Ask something that needs no image, for what its answer shows of the server."""
        plain = {"model": self._served.name, "messages": _HELLO, "max_tokens": 48, "temperature": 0}
        answer = await self._client.complete(**_merged(plain, fields))
        return str(answer.choices[0].message.content or "")

    async def _look(self, model: str | None, context_length: int | None) -> protocol.ServedModel:
        """Ask the server which models it has, what they hold, and whether it is a vLLM."""
        listed = await self._client.models()
        name, found = _chosen(listed, model, self._client.url)
        told = getattr(found, "max_model_len", None)
        holds = told if isinstance(told, int) else CONTEXTS.get(name, _CONTEXT)
        if context_length is not None and isinstance(told, int) and context_length > told:
            raise RequestError(
                f"context={context_length} is more than {name} is served with ({told}).",
                f"Use at most {told}.",
            )
        vllm = getattr(found, "owned_by", None) == "vllm" or await self._is_vllm(name)
        return protocol.ServedModel(name, context_length or holds, vllm)

    async def _is_vllm(self, name: str) -> bool:
        """Ask for what only vLLM returns: behind Ray Serve nothing else tells."""
        try:
            answer = await self._client.complete(
                model=name, messages=_HELLO, max_tokens=1, extra_body={"return_token_ids": True}
            )
        except RequestError:
            return False
        return isinstance(getattr(answer, "prompt_token_ids", None), list)


def _chosen(listed: list[Any] | None, model: str | None, url: str) -> tuple[str, Any]:
    """Return the model to ask and what the server's list says of it."""
    if listed is None:
        if model is None:
            raise ModelNotFoundError(
                f"The server at {url} does not list its models.",
                "Check base_url, which usually ends in /v1, or name one: model=…",
            )
        return model, None
    names = [found.id for found in listed]
    if model is None and len(listed) == 1:
        return names[0], listed[0]
    if model in names:
        return str(model), listed[names.index(model)]
    near = get_close_matches(model or "", names, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    wrong = "the model has to be named" if model is None else f"there is no {model!r}"
    raise ModelNotFoundError(
        f"At {url} {wrong}.", f"{hint}It serves: {', '.join(names[:20]) or 'nothing'}."
    )


def _merged(fields: Fields, more: Fields) -> Fields:
    """Return the fields of both, those in `extra_body` put together."""
    extra = {**fields.get("extra_body", {}), **more.get("extra_body", {})}
    return {**fields, **more, "extra_body": extra}
