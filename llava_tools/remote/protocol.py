"""Requests as the JSON of chat completions, and its chunks as chunks. Knows no HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llava_tools.chat.prepare import PreparedRequest
from llava_tools.chat.tool_calls import CLOSE, OPEN
from llava_tools.core.outputs import Chunk, FinishReason, Timings, TokenLogprob, Usage
from llava_tools.core.requests import DEFAULT_MAX_TOKENS, Request
from llava_tools.errors import OutputError, ServerError
from llava_tools.images import ImageRef
from llava_tools.structured.stop_strings import StopStringFilter

#: What an image costs LLaVA 1.5; servers report prompt tokens without saying which are images.
IMAGE_TOKENS = 576

#: Tokens of structure. Servers read them in any text, so a text's own are parted by a space of no
#: width after the bracket.
_STRUCTURE = re.compile(r"<(?=(?:image|/?s|unk|pad)>)")

_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}


@dataclass(frozen=True)
class ServedModel:
    """A model behind a server.

    Attributes:
        name: As the server calls it.
        context: Tokens of prompt and answer together.
        vllm: Whether the server was seen to be a vLLM, which takes fields of its own.
    """

    name: str
    context_length: int
    vllm: bool


def messages(prepared: PreparedRequest, url: Callable[[ImageRef], str]) -> list[dict[str, Any]]:
    """Return the conversation as `prompt.build` would write it, in chat messages.

    Args:
        prepared: The request.
        url: Turns an image into a data URL.
    """
    written: list[dict[str, Any]] = []
    if prepared.system:
        written.append({"role": "system", "content": plain(prepared.system)})
    for turn in prepared.turns:
        text = plain(turn.text)
        if turn.images:
            parts = [{"type": "image_url", "image_url": {"url": url(i)}} for i in turn.images]
            said = [{"type": "text", "text": text}] if text else []
            written.append({"role": turn.role, "content": [*parts, *said]})
        else:
            written.append({"role": turn.role, "content": text})
    return written


def plain(text: str) -> str:
    """Return a text in which a server finds no structure."""
    return _STRUCTURE.sub("<\u200b", text)


def body(request: Request, served: ServedModel, said: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a streamed request, but for its constraint.

    Fields that OpenAI's API does not have stand in `extra_body`.
    """
    sampling = request.sampling
    extra: dict[str, Any] = {}
    if served.vllm:
        extra = {"add_special_tokens": True, "return_token_ids": True, "top_k": sampling.top_k}
    elif sampling.top_k:
        extra = {"top_k": sampling.top_k}
    fields: dict[str, Any] = {
        "model": served.name,
        "messages": said,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens or DEFAULT_MAX_TOKENS,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "extra_body": extra,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logprobs:
        fields |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return fields


class ChunkReader:
    """Turns the chunks of one answer into chunks.

    Args:
        request: What was asked.
        arrived: `time.perf_counter()` when it came.
        sent: The same when it was ready to be sent.
        wrapped: Whether the answer is the JSON of a call, to be written as a call.
    """

    def __init__(self, request: Request, arrived: float, sent: float, *, wrapped: bool) -> None:
        self._logprobs = request.sampling.logprobs
        self._images = sum(len(message.images) for message in request.messages)
        self._words = StopStringFilter(request.sampling.stop)
        self._arrived = arrived
        self._sent = sent
        self._wrapped = wrapped
        self._lead = OPEN if wrapped else ""
        self._first = 0.0
        self._usage = Usage()
        self._reason: str | None = None
        self._reported = False
        self._begun = False

    def feed(self, chunk: Any) -> Chunk | None:
        """Take the next chunk; return what it adds to the answer, or None.

        Raises:
            ServerError: The chunk is an error.
            AttributeError, TypeError, ValueError: It is none of an answer.
        """
        if (error := getattr(chunk, "error", None)) is not None:
            said = error.get("message") if isinstance(error, dict) else error
            raise ServerError(f"The server failed while it answered: {str(said)[:300]}")
        self._begun = True
        if chunk.usage is not None:
            self._usage = usage(chunk.usage, self._images)
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        self._reason = choice.finish_reason or self._reason
        logprobs = _logprobs(choice) if self._logprobs else ()
        self._reported |= bool(logprobs)
        tokens = tuple(int(token) for token in getattr(choice, "token_ids", None) or ())
        new = choice.delta.content or ""
        if not (new or tokens or logprobs) or self._words.stopped:
            return None
        self._first = self._first or time.perf_counter()
        text = self._words.feed(new)
        if text:
            text, self._lead = self._lead + text, ""
        return Chunk(text, tokens, logprobs)

    def end(self) -> Chunk:
        """Return the last chunk, once the server has sent everything.

        Raises:
            ServerError: It stopped before the answer was finished, or before it began.
            OutputError: It did not report log-probabilities that were asked for.
        """
        if self._words.stopped:
            reason: FinishReason = "stop"
        elif self._reason in _REASONS:
            reason = _REASONS[self._reason]
        elif not self._begun:
            raise ServerError(
                "The server answered what is no chat completion.",
                "Check base_url: it usually ends in /v1.",
            )
        elif self._reason is None:
            raise ServerError(
                "The server dropped the stream before the answer was finished.", "Ask again."
            )
        else:
            raise ServerError(f"The server ended the answer with {self._reason!r}.", "Ask again.")
        if self._logprobs and not self._reported and self._first:
            raise OutputError(
                "The server ignored logprobs.", "Ask without them, or use a vLLM server."
            )
        now = time.perf_counter()
        text = self._words.rest()
        if self._wrapped:
            text = self._lead + text + (CLOSE if reason == "stop" else "")
        return Chunk(
            text,
            finish_reason=reason,
            usage=self._usage,
            timings=Timings(
                prepare=self._sent - self._arrived,
                first_token=(self._first or now) - self._arrived,
                total=now - self._arrived,
            ),
        )


def usage(told: Any, images: int) -> Usage:
    """Return a server's usage; zeros where it does not tell."""
    prompt_tokens = int(told.prompt_tokens or 0)
    cached = getattr(told.prompt_tokens_details, "cached_tokens", None)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=int(told.completion_tokens or 0),
        image_tokens=min(IMAGE_TOKENS * images, prompt_tokens),
        cached_tokens=int(cached or 0),
    )


def _logprobs(choice: Any) -> tuple[TokenLogprob, ...]:
    if choice.logprobs is None:
        return ()
    return tuple(
        TokenLogprob(
            entry.token,
            float(entry.logprob),
            tuple((other.token, float(other.logprob)) for other in entry.top_logprobs or ()),
        )
        for entry in choice.logprobs.content or ()
    )
