"""`RemoteBackend`: the backend interface for a model behind an OpenAI-compatible server."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from llava_tools.chat.formats import VICUNA_V1, ConversationFormat
from llava_tools.chat.prepare import PreparedRequest, prepare
from llava_tools.core.backend import Stream, check_labels
from llava_tools.core.calibration import UNCALIBRATED, read_calibration
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import (
    ContextOverflowError,
    EngineClosedError,
    LlavaToolsError,
    QueueFullError,
    RequestError,
)
from llava_tools.options import CONTEXT_LENGTHS
from llava_tools.remote import llava_server, protocol, scoring
from llava_tools.remote.client import (
    ANSWER_TIMEOUT,
    READ_TIMEOUT,
    RETRY_DELAYS,
    AnswerParser,
    Client,
)
from llava_tools.remote.constraint_encoding import ConstraintEncoder, ConstraintEncoding, Fields
from llava_tools.remote.credentials import Connection
from llava_tools.remote.errors import forked
from llava_tools.remote.image_encoding import IMAGE_SIZE, ImageEncoder
from llava_tools.remote.model_selection import select_model
from llava_tools.remote.stream import RemoteStream, SecretlessStream
from llava_tools.structured.constrained_stream import constrained

#: Context of LLaVA 1.5, for servers that do not report theirs.
_DEFAULT_CONTEXT = 4096
#: What servers call themselves in their list of models.
_SERVERS: dict[str, protocol.ServerKind] = {
    "vllm": "vllm",
    "llamacpp": "llama.cpp",
    llava_server.OWNER: "llava-tools",
}
#: Creates the parser of an answer, for the time at which its request is ready to be sent.
_MakeParser = Callable[[float], AnswerParser]
_PROBE_MESSAGES = [{"role": "user", "content": "Hello."}]


class RemoteBackend:
    """A model behind an OpenAI-compatible server. Construction looks the model up on the server.

    Args:
        url: Base URL of the API; usually ends in `/v1`.
        model: The server's name for the model; None if it serves only one.
        api_key: For servers that require one.
        context_length: Tokens of prompt and answer; None for what the server reports.
        max_concurrent_requests: Most requests in flight; more are refused.
        image_size: Width and height of the images sent, in pixels: the vision tower's input size.
        retry_delays: Seconds to wait before each further attempt of a request that met a busy or
            failing server. A request is repeated only before the first chunk of its answer.
        read_timeout: Seconds without data from the server after which a request fails.
        answer_timeout: Seconds after which an answer that has not ended fails.
        conversation: Format that the server's model was trained on: its system sentence, and the
            end of an answer that is scored. The server's own chat template writes the rest.
        calibration: File of a calibration of the model's probabilities; None for none.
        connection: Headers, further fields, proxy and HTTP client; None for none.

    Raises:
        ModelNotFoundError: The server has no such model.
        ModelError: The server rejects the API key, or the calibration is damaged or that of another
            model.
        ServerError: The server cannot be reached, or does not speak this API.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        context_length: int | None = None,
        max_concurrent_requests: int = 256,
        image_size: int = IMAGE_SIZE,
        retry_delays: Sequence[float] = RETRY_DELAYS,
        read_timeout: float = READ_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
        conversation: ConversationFormat = VICUNA_V1,
        calibration: Path | None = None,
        connection: Connection | None = None,
    ) -> None:
        self.calibration = UNCALIBRATED
        if calibration is not None:
            self.calibration = read_calibration(calibration.expanduser())
        self._encode_image = ImageEncoder(image_size)
        self._conversation = conversation
        self._max_concurrent_requests = max_concurrent_requests
        self._slots = threading.BoundedSemaphore(max_concurrent_requests)
        self._client = Client(
            url,
            api_key,
            retry_delays,
            connection or Connection(),
            read_timeout=read_timeout,
            answer_timeout=answer_timeout,
        )
        try:
            self._model = self._client.run(self._discover_model(model, context_length))
            if calibration is not None:
                self.calibration.check_model(calibration, self._model.name, None)
        except LlavaToolsError:
            self._client.close()
            raise
        self._constraint_encoder = ConstraintEncoder(self._probe)

    @property
    def _is_own(self) -> bool:
        """Whether the server is this project's, which builds the prompt itself."""
        return self._model.server == "llava-tools"

    @property
    def model_name(self) -> str:
        """The server's name for the model."""
        return self._model.name

    @property
    def context_length(self) -> int:
        """See `Backend.context_length`."""
        return self._model.context_length

    @property
    def device(self) -> str:
        """The server's URL; `info` shows it as the device."""
        return self._client.url

    def stream(self, request: Request) -> Stream:
        """See `Backend.stream`. The stream raises the server's own refusals.

        Raises:
            QueueFullError: `max_concurrent_requests` requests are in flight.
            EngineClosedError: This backend is closed.
            EngineError: This process was forked from the one that made this backend.
            ServerError: The probe for constraint support failed.
        """
        return SecretlessStream(self._start(request), self._client.hidden_secrets)

    def _start(self, request: Request) -> Stream:
        arrived = time.perf_counter()
        prepared = self._prepare(request)
        if self._is_own:
            fields = llava_server.request_fields(request, self._model.name)
            own_parser = partial(llava_server.LlavaChunkParser, request, arrived)
            return self._open(request, fields, own_parser)
        messages = self._messages(prepared)
        encoding = ConstraintEncoding()
        if not prepared.constraint.unconstrained:
            encoding = self._client.run(self._constraint_encoder.encode(prepared.constraint))
        fields = protocol.request_fields(request, self._model, messages) | encoding.fields
        parser = partial(
            protocol.ChunkParser, request, arrived, untagged_call=encoding.untagged_call
        )
        return constrained(
            self._open(request, fields, parser),
            prepared.constraint,
            best_effort=encoding.best_effort,
            stop=request.sampling.stop,
        )

    def _open(self, request: Request, fields: Fields, make_parser: _MakeParser) -> Stream:
        """Return the stream of a request that is sent in a task of its own."""
        if not self._slots.acquire(blocking=False):
            limit = self._max_concurrent_requests
            raise QueueFullError(
                f"{limit} requests are in flight, and max_concurrent_requests={limit}.",
                "Try again later, or raise max_concurrent_requests.",
            )
        try:
            chunks = self._chunks(request, fields, make_parser)
            return RemoteStream(chunks, self._client.start, self._slots.release)
        except EngineClosedError:
            self._slots.release()
            raise

    @property
    def scores_labels(self) -> bool:
        """Whether the server can score labels; see `llava_tools.core.backend.scores_labels`."""
        return self._model.server in ("vllm", "llava-tools")

    @cached_property
    def reports_logprobs(self) -> bool:
        """Whether answers have log-probabilities on request; the first use asks the server."""
        if self._model.server != "other":
            return True
        name = self._model.name
        return self._client.run(scoring.reports_logprobs(self._client, name, _PROBE_MESSAGES))

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """See `Backend.score`; `ServerError` if the server is neither a vLLM nor ours."""
        check_labels(labels)
        prepared = self._prepare(request)
        if self._is_own:
            own = llava_server.score(self._client, self._model.name, request, labels)
            return self._client.run(own)
        messages = self._messages(prepared)
        return self._client.run(scoring.score(self._client, self._model, messages, labels))

    def count_tokens(self, request: Request) -> int:
        """See `Backend.count_tokens`. The server prefills the prompt, and may cache it."""
        prepared = self._prepare(request)
        if self._is_own:
            own = llava_server.count_tokens(self._client, self._model.name, request)
            return self._client.run(own)
        messages = self._messages(prepared)
        return self._client.run(scoring.count_tokens(self._client, self._model, messages))

    def token_ids(self, text: str) -> list[int]:
        """See `Backend.token_ids`; `ServerError` if the server has no endpoint for tokenizing."""
        text = text if self._is_own else protocol.escape_special_tokens(text)
        return self._client.run(self._client.tokenize(self._model.name, text))

    def close(self) -> None:
        """Fail the requests in flight and close the connections."""
        self._client.close()

    def _prepare(self, request: Request) -> PreparedRequest:
        if self._client.is_forked:  # the locks behind this may be held by the parent's threads
            raise forked()
        return prepare(request, self._conversation)

    def _messages(self, prepared: PreparedRequest) -> list[dict[str, Any]]:
        after_image = ""
        if self._model.server == "llama.cpp":  # it puts images into texts before its template runs
            after_image = "".join(map(str, self._conversation.image.after))
        return protocol.encode_messages(prepared, self._encode_image, after_image)

    async def _chunks(
        self,
        request: Request,
        fields: Fields,
        make_parser: _MakeParser,
    ) -> AsyncGenerator[Chunk]:
        """Yield an answer's chunks. Failures before the first chunk are retried."""
        sent = time.perf_counter()

        async def start() -> tuple[Chunk, AsyncGenerator[Chunk]]:
            parser = make_parser(sent)
            max_tokens = fields.get("max_tokens", self._model.context_length)
            chunks = self._client.stream(parser, fields, max_tokens)
            try:
                return await anext(chunks), chunks
            except ContextOverflowError:
                if request.sampling.max_tokens is not None or "max_tokens" not in fields:
                    raise
                del fields["max_tokens"]  # a default: the rest of the context is enough
                return await start()

        first, chunks = await self._client.retry(start)
        async with aclosing(chunks):
            yield first
            async for chunk in chunks:
                yield chunk

    async def _probe(self, fields: Fields) -> str:
        """Send a short request with the fields of a constraint; return the answer's text."""
        name = self._model.name
        answer = await self._client.complete(name, _PROBE_MESSAGES, max_tokens=48, **fields)
        return protocol.answer_text(answer)

    async def _discover_model(
        self, name: str | None, context_length: int | None
    ) -> protocol.ServedModel:
        """Look the model up: its name, its context length, and whether the server is a vLLM."""
        name, entry = select_model(await self._client.list_models(), name, self._client.url)
        meta = entry.get("meta")
        limit = entry.get("max_model_len") or (
            meta.get("n_ctx") if isinstance(meta, dict) else None
        )
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            limit = None
        elif context_length is not None and context_length > limit:
            raise RequestError(
                f"context_length={context_length} is more than {name} is served with ({limit}).",
                f"Use at most {limit}.",
            )
        context_length = context_length or limit or CONTEXT_LENGTHS.get(name, _DEFAULT_CONTEXT)
        server = _SERVERS.get(str(entry.get("owned_by"))) or (
            "vllm" if await self._is_vllm(name) else "other"
        )
        return protocol.ServedModel(name, context_length, server, self._conversation)

    async def _is_vllm(self, name: str) -> bool:
        """Request a field that only vLLM returns. Behind Ray Serve, `owned_by` is not vLLM's."""
        try:
            answer = await self._client.complete(name, _PROBE_MESSAGES, return_token_ids=True)
        except RequestError:
            return False
        return isinstance(answer.get("prompt_token_ids"), list)
