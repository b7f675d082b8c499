"""The body of a response, and its translation to a `Request`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.options import sampling_params
from llava_tools.server.bodies import Body, Items, Messages
from llava_tools.server.errors import InvalidFieldError
from llava_tools.server.openai.chat_body import HARMLESS
from llava_tools.server.openai.constraints import Choice, Function, to_constraint
from llava_tools.server.openai.response_items import Item, to_messages
from llava_tools.server.users import User

#: Names an answer's log-probabilities in `include`.
LOGPROBS = "message.output_text.logprobs"


class FlatTool(Function):
    """A function as a tool of a response."""

    ignored: ClassVar[frozenset[str]] = frozenset({"defer_loading"})

    type: Literal["function"]


class TextFormat(Body):
    """The form of the answer's text."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextOptions(Body):
    """Options of the answer's text."""

    ignored: ClassVar[frozenset[str]] = frozenset({"verbosity"})

    format: TextFormat | None = None


class ResponseBody(Body):
    """The body of `POST /v1/responses`."""

    ignored: ClassVar[frozenset[str]] = HARMLESS | {
        "max_tool_calls",
        "reasoning",
        "stream_options",
    }

    model: str | None = None
    input: str | Messages[Item] = Field(min_length=1)
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    include: (
        Items[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None
    ) = None
    tools: Items[FlatTool] | None = None
    tool_choice: Choice = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    truncation: Literal["disabled", None] = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: Any = None
    background: bool | None = None

    @property
    def logprobs(self) -> bool:
        """Whether the answer has log-probabilities."""
        return LOGPROBS in (self.include or ()) or bool(self.top_logprobs)

    def to_request(self, user: User) -> Request:
        """Return the request, with its images opened.

        Raises:
            RequestError: A value that is not possible, or that needs an earlier response.
        """
        self._check_stateless()
        messages = (
            (Message("user", (self.input,)),)
            if isinstance(self.input, str)
            else to_messages(self.input, user)
        )
        system = (Message("system", (self.instructions,)),) if self.instructions else ()
        constraint = to_constraint(
            self.tools or (),
            self.tool_choice,
            self.text.format if self.text else None,
            parallel=self.parallel_tool_calls,
        )
        return Request((*system, *messages), self._sampling(), constraint)

    def _check_stateless(self) -> None:
        for name in ("previous_response_id", "conversation", "prompt", "background"):
            if getattr(self, name):
                raise InvalidFieldError(
                    f"{name} is not possible: this server keeps no responses.",
                    "Send the whole conversation as input.",
                    name,
                )

    def _sampling(self) -> SamplingParams:
        values = {
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "logprobs": self.logprobs,
            "top_logprobs": self.top_logprobs,
        }
        return sampling_params(values, "This request")

    def echo(self) -> dict[str, Any]:
        """Return the fields of the request that its response repeats."""
        dumped = self.model_dump(by_alias=True, exclude_none=True)
        return {
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": self.temperature,
            "text": dumped.get("text") or {"format": {"type": "text"}},
            "tool_choice": self.tool_choice or "auto",
            "tools": dumped.get("tools") or [],
            "top_p": self.top_p,
            "truncation": "disabled",
        }
