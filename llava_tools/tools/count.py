"""count: how many of something an image shows."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from llava_tools.core.constraints import Constraint
from llava_tools.images.access import ImageResolver
from llava_tools.label_scoring import short
from llava_tools.tools.spec import Arguments, ImageName, Plan, Result, VisualTool, answers, question

PROMPT = "How many {things} are there in the image?"

#: The model is not told: it was trained to answer such questions with a number.
_FORM = Constraint(schema={"type": "integer", "minimum": 0, "maximum": 999}, describe=False)


class CountArguments(Arguments):
    """Things to count in an image."""

    image: ImageName
    things: str = Field(
        min_length=1, max_length=500, description="What to count, in the plural: 'red cars'."
    )


class Counted(Result):
    """How many there are, 0 to 999."""

    count: int


def _count(arguments: CountArguments, resolver: ImageResolver) -> Plan[Counted]:
    image = resolver.open(arguments.image)
    asked = question(short(PROMPT.format(things=arguments.things)), image, max_tokens=16)
    (answer,) = yield from answers(replace(asked, constraint=_FORM))
    return Counted(count=int(answer.text))


count = VisualTool("count", "Count things in a picture.", CountArguments, _count)
