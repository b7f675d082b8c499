"""The preamble of a request, common to all backends."""

from __future__ import annotations

from dataclasses import dataclass

from llava_tools.chat import image_handles, prompt
from llava_tools.chat.formats import VICUNA_V1, ConversationFormat
from llava_tools.core.constraints import Constraint
from llava_tools.core.json_schema import check_constraint
from llava_tools.core.requests import Request


@dataclass(frozen=True)
class PreparedRequest:
    """A checked request.

    Attributes:
        system: Text of the system turn; "" for none.
        turns: The turns after it; see `prompt.write_turns`.
        constraint: The request's constraint, narrowed to the conversation's image handles. The
            prompt describes the request's own.
        conversation: The model's conversation format.
    """

    system: str
    turns: list[prompt.Turn]
    constraint: Constraint
    conversation: ConversationFormat

    @property
    def pieces(self) -> list[prompt.Piece]:
        """The prompt."""
        return prompt.join_turns(self.system, self.turns, self.conversation)

    @property
    def images(self) -> int:
        """Number of images in the prompt."""
        return sum(len(turn.images) for turn in self.turns)


def prepare(request: Request, conversation: ConversationFormat = VICUNA_V1) -> PreparedRequest:
    """Check a request, write its turns in a conversation format, and narrow its constraint.

    Raises:
        RequestError: The conversation cannot be answered.
        SchemaError: A schema is not a valid JSON schema.
    """
    prompt.check_tool_results(request.messages)
    check_constraint(request.constraint)
    system, turns = prompt.write_turns(request.messages, request.constraint, conversation)
    constraint = image_handles.narrow(request.constraint, request.messages)
    return PreparedRequest(system, turns, constraint, conversation)
