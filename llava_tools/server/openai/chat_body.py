"""The body of a chat completion, and its translation to a `Request`."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from llava_tools.core.requests import Request, SamplingParams
from llava_tools.options import sampling_params
from llava_tools.server.bodies import Body, Items, Messages
from llava_tools.server.openai.constraints import (
    Choice,
    FunctionTool,
    ResponseFormat,
    to_constraint,
)
from llava_tools.server.openai.messages import ChatMessage, to_messages
from llava_tools.server.users import User

#: Fields of OpenAI's API that change nothing here.
HARMLESS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)


class StreamOptions(Body):
    """Options of a stream."""

    ignored: ClassVar[frozenset[str]] = frozenset({"include_obfuscation", "continuous_usage_stats"})

    include_usage: bool = False


class ConversationBody(Body):
    """A conversation and the form of its answer; the base of bodies with messages."""

    ignored: ClassVar[frozenset[str]] = HARMLESS

    model: str | None = None
    messages: Messages[ChatMessage] = Field(min_length=1)
    tools: Items[FunctionTool] | None = None
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    describe: bool = True

    def to_request(self, user: User) -> Request:
        """Return the request, with its images opened.

        Raises:
            RequestError: A value that is not possible.
        """
        constraint = to_constraint(
            self.tools or (),
            self.tool_choice,
            self.response_format,
            parallel=self.parallel_tool_calls,
            describe=self.describe,
        )
        return Request(to_messages(self.messages, user), self._sampling(), constraint)

    def _sampling(self) -> SamplingParams:
        return SamplingParams()


class ChatBody(ConversationBody):
    """The body of `POST /v1/chat/completions`."""

    ignored: ClassVar[frozenset[str]] = HARMLESS | {"reasoning_effort", "verbosity"}

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: str | Items[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    return_token_ids: bool = False
    n: Literal[1, None] = None
    frequency_penalty: Literal[0, None] = None
    presence_penalty: Literal[0, None] = None
    logit_bias: dict[str, float] | None = Field(None, max_length=0)
    modalities: Items[Literal["text"]] | None = None

    def _sampling(self) -> SamplingParams:
        max_tokens = self.max_completion_tokens
        values = {
            "max_tokens": self.max_tokens if max_tokens is None else max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0 if self.top_k == -1 else self.top_k,  # vLLM's -1 means all tokens
            "repetition_penalty": self.repetition_penalty,
            "seed": self.seed,
            "stop": self.stop,
            "logprobs": self.logprobs,
            "top_logprobs": self.top_logprobs,
        }
        return sampling_params(values, "This request")
