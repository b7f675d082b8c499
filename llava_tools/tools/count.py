"""count: how many of something an image shows."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from llava_tools.core.constraints import Constraint
from llava_tools.images.access import ImageResolver
from llava_tools.label_scoring import short_answer_question
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers
from llava_tools.tools.spec import ImageArguments, Text, ToolResult, VisualTool

PROMPT = "How many {things} are there in the image?"

#: Not described in the prompt: LLaVA was trained to answer such questions with a number.
_NUMBER = Constraint(schema={"type": "integer", "minimum": 0, "maximum": 999}, describe=False)


class CountArguments(ImageArguments):
    """Things to count in an image."""

    things: Text = Field(description="What to count, in the plural: 'red cars'.")


class CountResult(ToolResult):
    """How many there are, 0 to 999."""

    count: int


def _count(arguments: CountArguments, resolver: ImageResolver) -> RequestGenerator[CountResult]:
    image = resolver.open(arguments.image)
    question = short_answer_question(PROMPT.format(things=arguments.things))
    request = replace(build_request(question, image, max_tokens=16), constraint=_NUMBER)
    (answer,) = yield from get_answers(request)
    return CountResult(count=int(answer.text))


count = VisualTool("count", "Count things in a picture.", CountArguments, _count, subject="things")
