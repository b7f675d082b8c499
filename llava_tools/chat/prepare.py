"""What every backend does first with a request: check it, write its prompt, narrow its constraint."""

from __future__ import annotations

from dataclasses import dataclass

from llava_tools.chat import prompt
from llava_tools.chat.image_handles import narrowed
from llava_tools.core.constraints import Constraint
from llava_tools.core.json_schema import check_constraint
from llava_tools.core.requests import Request


@dataclass(frozen=True)
class PreparedRequest:
    """A checked request.

    Attributes:
        request: As it came.
        system: Text of the system turn, "" for none.
        turns: The turns that follow it; see `prompt.conversation`.
        constraint: The request's, whose image arguments take this conversation's handles only.
            The prompt describes the request's own constraint.
    """

    request: Request
    system: str
    turns: list[prompt.Turn]
    constraint: Constraint

    @property
    def images(self) -> int:
        """How many images the prompt holds."""
        return sum(len(turn.images) for turn in self.turns)


def prepare(request: Request) -> PreparedRequest:
    """Check a request, write its turns, and narrow its constraint.

    Raises:
        RequestError: The conversation cannot be answered.
        SchemaError: A schema is no JSON schema.
    """
    prompt.check_results(request.messages)
    check_constraint(request.constraint)
    system, turns = prompt.conversation(request.messages, constraint=request.constraint)
    constraint = narrowed(request.constraint, request.messages)
    return PreparedRequest(request, system, turns, constraint)
