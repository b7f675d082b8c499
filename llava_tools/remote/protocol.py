"""Requests as fields of chat completions, and chat completion chunks as `Chunk`s. No HTTP."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from llava_tools.chat.formats import ConversationFormat
from llava_tools.chat.prepare import PreparedRequest
from llava_tools.chat.tool_calls import CLOSE_TAG, OPEN_TAG
from llava_tools.core.outputs import Chunk, FinishReason, Timings, TokenLogprob, Usage
from llava_tools.core.requests import DEFAULT_MAX_TOKENS, Request
from llava_tools.core.unicode import well_formed
from llava_tools.errors import OutputError, ServerError
from llava_tools.images import ImageRef
from llava_tools.remote.errors import ERRORS_BY_CODE, StatusError
from llava_tools.structured.stop_strings import StopStringFilter

#: By how much rounding may put a log-probability above 0.
_ROUNDING = 0.01
#: Tokens of an image in LLaVA 1.5. Servers report prompt tokens without a count for images.
IMAGE_TOKENS = 576

#: Matches the `<` or `[` of what may be a special token; the server's vocabulary is not known. It
#: knows those of Llama, Qwen, Phi, Gemma, SmolLM, DeepSeek and Mistral.
_SPECIAL_TOKEN = re.compile(
    r"<(?=(?:/?s|unk|pad|mask|bos|eos|/?img|image|video|audio|im_(?:start|end|patch)"
    r"|(?:start|end)_of_(?:turn|image)|image_soft_token|unused\d+|repo_?name|file_?(?:name|sep)"
    r"|gh_stars|empty_output|(?:issue|jupyter|fim)_\w+|[|\uff5c][^\s<>|\uff5c]{1,64}[|\uff5c])>)"
    r"|\[(?=(?:PAD|UNK|CLS|SEP|MASK|BOS|EOS|IMG(?:_\w+)?|/?INST|TOOL_CALLS|/?TOOL_RESULTS"
    r"|/?AVAILABLE_TOOLS|/?SYSTEM_PROMPT)\])"
)

#: Finish reasons in lower case: OpenAI's, and those of TGI, Anthropic, Cohere, Mistral and Gemini
#: that their servers of this API pass on. Others, like `content_filter`, are no whole answer.
_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_token": "stop",
    "stop_sequence": "stop",
    "stop_string": "stop",
    "end_turn": "stop",
    "end": "stop",
    "complete": "stop",
    "completed": "stop",
    "finished": "stop",
    "done": "stop",
    "tool_calls": "stop",
    "tool_use": "stop",
    "function_call": "stop",
    "length": "length",
    "max_tokens": "length",
    "max_length": "length",
    "max_new_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
}


#: `vllm` takes fields that OpenAI's API does not have. `llama.cpp` leaves out what a chat template
#: writes beside an image. `llava-tools` is ours; see `llava_server`.
ServerKind = Literal["vllm", "llama.cpp", "llava-tools", "other"]


@dataclass(frozen=True)
class ServedModel:
    """A model behind a server. `context_length` counts the tokens of prompt and answer together."""

    name: str
    context_length: int
    server: ServerKind
    conversation: ConversationFormat

    @property
    def is_vllm(self) -> bool:
        """Whether the server takes a vLLM's fields."""
        return self.server == "vllm"


def encode_messages(
    prepared: PreparedRequest, encode_image: Callable[[ImageRef], str], after_image: str = ""
) -> list[dict[str, Any]]:
    """Return the conversation that `prompt.build` writes, as chat messages with data URLs.

    `after_image` is sent after each image, for servers whose chat template does not write it.
    """
    messages: list[dict[str, Any]] = []
    if prepared.system:
        messages.append({"role": "system", "content": escape_special_tokens(prepared.system)})
    for turn in prepared.turns:
        text = escape_special_tokens(turn.text)
        content: str | list[dict[str, Any]] = text
        if turn.images:
            content = []
            for image in turn.images:
                content.append({"type": "image_url", "image_url": {"url": encode_image(image)}})
                content.append({"type": "text", "text": after_image})
            content[-1]["text"] += text  # in one part: servers join two by a line feed
            content = [part for part in content if part.get("text") != ""]
        messages.append({"role": turn.role, "content": content})
    return messages


def escape_special_tokens(text: str) -> str:
    """Put a zero-width space into special tokens, since servers parse them in any text."""
    return _SPECIAL_TOKEN.sub(lambda match: f"{match[0]}\u200b", text)


def request_fields(
    request: Request, model: ServedModel, messages: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the fields of a streamed request, without its constraint."""
    sampling = request.sampling
    fields: dict[str, Any] = {
        "model": model.name,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": sampling.max_tokens or DEFAULT_MAX_TOKENS,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if model.is_vllm:
        fields |= {"add_special_tokens": True, "return_token_ids": True}
    if model.is_vllm or sampling.top_k:
        fields["top_k"] = sampling.top_k
    if (penalty := sampling.repetition_penalty) != 1:
        fields["repetition_penalty"] = penalty
        if not model.is_vllm:  # llama.cpp's names; over the whole context, as elsewhere
            fields |= {"repeat_penalty": penalty, "repeat_last_n": model.context_length}
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logprobs:
        least = 1 if model.server == "llama.cpp" else 0  # for 0 it reports not even the token's
        fields |= {"logprobs": True, "top_logprobs": max(sampling.top_logprobs, least)}
    return fields


class ChunkParser:
    """Parses the chat completion chunks of one answer.

    `arrived` and `sent` are `time.perf_counter()` when the request came in and when it was ready to
    be sent. If `untagged_call`, the answer is the JSON of a tool call; the parser adds the tags.
    """

    def __init__(
        self, request: Request, arrived: float, sent: float, *, untagged_call: bool
    ) -> None:
        self._wants_logprobs = request.sampling.logprobs
        self._alternatives = request.sampling.top_logprobs
        self._images = sum(len(message.images) for message in request.messages)
        self._stop_filter = StopStringFilter(request.sampling.stop)
        self._arrived = arrived
        self._sent = sent
        self._untagged_call = untagged_call
        self._prefix = OPEN_TAG if untagged_call else ""
        self._first_token = 0.0
        self._usage = Usage()
        self._finish_reason: str | None = None
        self._stop_reason = ""
        self._has_logprobs = False
        self._has_chunks = False

    def feed(self, chunk: Any) -> Chunk | None:
        """Return what the server's next chunk, as JSON, adds to the answer; None if nothing.

        Raises `ServerError` or `StatusError` if the chunk is an error; `AttributeError`,
        `TypeError` or `ValueError` if it is malformed.
        """
        if error := chunk.get("error"):
            raise stream_error(error)
        self._has_chunks = True
        if (usage := chunk.get("usage")) is not None:
            self._usage = parse_usage(usage, IMAGE_TOKENS * self._images)
        if not (choices := chunk.get("choices")):
            return None
        choice = choices[0]
        if (reason := choice.get("finish_reason")) is not None:
            self._finish_reason = text_of(reason, "finish_reason") or self._finish_reason
        if isinstance(stop := choice.get("stop_reason"), str):  # a vLLM's
            self._stop_reason = stop
        logprobs: tuple[TokenLogprob, ...] = ()
        if self._wants_logprobs:
            logprobs = parse_logprobs(choice.get("logprobs"), self._alternatives)
        self._has_logprobs |= bool(logprobs)
        token_ids = tuple(int(token) for token in choice.get("token_ids") or ())
        # A whole answer, of servers that do not stream, has a message; some last chunks nothing.
        delta = choice.get("delta") or choice.get("message") or {}
        content = well_formed(text_of(delta.get("content") or "", "content"))
        if not (content or token_ids or logprobs) or self._stop_filter.stopped:
            return None
        self._first_token = self._first_token or time.perf_counter()
        text = self._stop_filter.feed(content)
        if text:
            text, self._prefix = self._prefix + text, ""
        return Chunk(text, token_ids, logprobs)

    def end(self) -> Chunk:
        """Return the final chunk, with the text still held back.

        Call it after the server's last chunk. Raises `ServerError` if the answer is not complete,
        `OutputError` without the requested log-probabilities.
        """
        reason = "stop" if self._stop_filter.stopped else self._finish_reason or ""
        if not self._has_chunks:
            raise ServerError(
                "The server did not answer with a chat completion.",
                "Check base_url: it usually ends in /v1.",
            )
        finish_reason = _FINISH_REASONS.get(reason.casefold())
        if finish_reason is None:
            ending = f"with {reason!r}" if reason else "before it was finished"
            raise ServerError(f"The server ended the answer {ending}.", "Try again.")
        if self._wants_logprobs and not self._has_logprobs and self._first_token:
            raise OutputError(
                "The server ignored logprobs.", "Leave them out, or use a vLLM server."
            )
        now = time.perf_counter()
        text = self._stop_filter.flush()
        if self._untagged_call:
            text = self._prefix + text + (CLOSE_TAG if finish_reason == "stop" else "")
        return Chunk(
            text,
            finish_reason=finish_reason,
            usage=self._usage,
            timings=Timings(
                prepare=self._sent - self._arrived,
                first_token=(self._first_token or now) - self._arrived,
                total=now - self._arrived,
            ),
            stop_string=self._stop_filter.found or self._stop_reason,
        )


def answer_text(answer: Any) -> str:
    """Return the text of a whole chat completion, empty if it has none.

    Raises `AttributeError`, `LookupError` or `TypeError` if it is no chat completion.
    """
    return text_of(answer["choices"][0]["message"].get("content") or "", "content")


def text_of(value: Any, name: str) -> str:
    """Return a value that must be a text; `TypeError` if it is none."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is a {type(value).__name__}")
    return value


def stream_error(error: Any) -> Exception:
    """Return the error that a server sent in place of a chunk; some say its HTTP status."""
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 500:
        return StatusError(code, json.dumps({"error": error}))
    if code in ERRORS_BY_CODE:
        return StatusError(500, json.dumps({"error": error}))
    text = " ".join(str(error.get("message") if isinstance(error, dict) else error).split())
    shown = text if len(text) <= 300 else f"{text[:300]}…"
    return ServerError(f"The server failed while it answered: {shown}")


def parse_usage(usage: Any, image_tokens: int) -> Usage:
    """Return a server's usage, 0 for each count that it does not report."""
    prompt_tokens = _count(usage, "prompt_tokens")
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=_count(usage, "completion_tokens"),
        image_tokens=min(image_tokens, prompt_tokens),
        cached_tokens=_count(usage.get("prompt_tokens_details") or {}, "cached_tokens"),
    )


def _count(usage: Any, name: str) -> int:
    count = int(usage.get(name) or 0)
    if not 0 <= count < 2**53:
        raise ValueError(f"{name} is {count:.3g}")
    return count


def parse_logprobs(logprobs: Any, alternatives: int) -> tuple[TokenLogprob, ...]:
    """Return each token's log-probability, with so many alternatives at most."""
    return tuple(
        TokenLogprob(
            *_token(entry),
            tuple(_token(other) for other in (entry.get("top_logprobs") or ())[:alternatives]),
        )
        for entry in (logprobs or {}).get("content") or ()
    )


def _token(entry: Any) -> tuple[str, float]:
    return well_formed(text_of(entry["token"], "token")), log_probability(entry["logprob"])


def log_probability(value: Any) -> float:
    """Return a log-probability; `ValueError` or `TypeError` for what is none, like 5 or 1e999."""
    number = float(value)
    if not math.isfinite(number) or number > _ROUNDING:
        raise ValueError(f"{number} is no log-probability")
    return number
