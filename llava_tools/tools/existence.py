"""A guard against answers about what is not there: a tool first checks that the image shows it.

LLaVA answers every question, with a box or a number for things that an image does not show. With an
`existence_threshold`, tools that name a thing ask for it first, by the calibrated probability of
`Llava.score`; below the threshold, an `AbsentResult` comes instead of an answer. The tools of
questions get an argument `about` for the thing that a question supposes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field, create_model

from llava_tools import label_scoring
from llava_tools.images.access import ImageResolver
from llava_tools.tools.requests import RequestGenerator, get_certainty
from llava_tools.tools.spec import Text, ToolResult, VisualTool

#: What the argument is that questions get.
_ABOUT = "The thing that the question supposes to be in the picture, such as 'the red car'."


class AbsentResult(ToolResult):
    """Comes instead of a tool's own result: the image, or its region, does not show the thing.

    Attributes:
        thing: What the call is about.
        certainty: How probably it is there, 0 to 1 (see `Llava.score`): less than the threshold.
    """

    thing: str
    certainty: float

    def __str__(self) -> str:
        """Return the line for the agent."""
        certainty = f"certainty {self.certainty:.2f}"
        return f'"{self.thing}" is not there ({certainty}), so there is no answer about it.'


def check_existence(tool: VisualTool[Any, Any], threshold: float | None) -> VisualTool[Any, Any]:
    """Return a tool that checks what a call is about, before it answers; see the module.

    Args:
        tool: A tool; one whose `subject` is None stays as it is.
        threshold: Minimum probability, 0 to 1, that the thing is there; None for no check.

    Raises:
        RequestError: The threshold is impossible.
    """
    label_scoring.check_probability("existence_threshold", threshold)
    if threshold is None or tool.subject is None:
        return tool
    subject, arguments = tool.subject, tool.arguments
    if subject not in arguments.model_fields:
        field: Any = {subject: (Text | None, Field(None, description=_ABOUT))}
        arguments = create_model(arguments.__name__, __base__=arguments, **field)

    def guarded(call: Any, resolver: ImageResolver) -> RequestGenerator[ToolResult]:
        thing = getattr(call, subject)
        if thing is not None:
            certainty = yield from get_certainty(thing, tool.view(call, resolver))
            if certainty < threshold:
                return AbsentResult(thing=thing, certainty=round(certainty, 3))
        result: ToolResult = yield from tool.function(call, resolver)
        return result

    return replace(tool, arguments=arguments, function=guarded, can_refuse=True)
