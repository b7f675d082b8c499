"""What the bodies of `/api/chat` and `/api/generate` have in common."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import Field

from llava_tools.chat.openai_schema import ANY_OBJECT
from llava_tools.core.constraints import Schema
from llava_tools.core.duration import parse_duration
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import RequestError
from llava_tools.server.bodies import Body
from llava_tools.server.ollama.sampling import read_options


class GenerationBody(Body):
    """A request for an answer.

    `truncate` and `shift` let Ollama cut a conversation that is too long; here it is an error.
    `runner` chooses among Ollama's engines.
    """

    ignored: ClassVar[frozenset[str]] = frozenset({"truncate", "shift", "runner"})

    model: str
    format: Literal["", "json"] | dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    stream: bool | None = None
    keep_alive: float | str | None = None
    think: bool | str | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: Literal[False, None] = Field(None, alias="_debug_render_only")

    @property
    def streams(self) -> bool:
        """Whether the answer is streamed, which is the default."""
        return self.stream is not False

    @property
    def answer_schema(self) -> Schema | None:
        """The schema of the answer; None for text."""
        return ANY_OBJECT if self.format == "json" else self.format or None

    def check_thinking(self) -> None:
        """Check that the model need not think.

        Raises:
            RequestError: It shall, and cannot.
        """
        if self.think not in (None, False, "", "none"):
            raise RequestError(
                f'"{self.model:.80}" does not support thinking.', "Leave out 'think'."
            )

    def sampling(self) -> tuple[SamplingParams, bool]:
        """Return sampling parameters, and whether the answer may fill the context."""
        return read_options(self.options or {}, bool(self.logprobs), self.top_logprobs or 0)

    def unloads(self) -> bool:
        """Return whether the model shall be unloaded after the answer.

        Raises:
            RequestError: `keep_alive` is no duration.
        """
        if self.keep_alive is None:
            return False
        seconds = parse_duration(self.keep_alive, "keep_alive")
        return not math.isinf(seconds) and seconds == 0
