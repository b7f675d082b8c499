"""choose: which of several labels fits an image, with probabilities."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from llava_tools import label_scoring
from llava_tools.images.access import ImageResolver
from llava_tools.tools.spec import Arguments, ImageName, Plan, Result, VisualTool, question, scores

Label = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class ChooseArguments(Arguments):
    """A question about an image, and its possible answers."""

    image: ImageName
    question: str = Field(min_length=1, max_length=500, description="What to decide.")
    labels: list[Label] = Field(
        min_length=2, max_length=32, description="The possible answers, all different."
    )
    abstain: float | None = Field(
        None, ge=0, le=1, description="Choose nothing below this probability."
    )


class Chosen(Result):
    """The choice.

    Attributes:
        label: The likeliest label, or None where it is less probable than was asked for.
        probabilities: Of each label; they sum to 1.
    """

    label: str | None
    probabilities: dict[str, float]


def _choose(arguments: ChooseArguments, resolver: ImageResolver) -> Plan[Chosen]:
    image = resolver.open(arguments.image)
    asked = question(label_scoring.short(arguments.question), image, max_tokens=1)
    told = yield from scores(asked, arguments.labels)
    choice = label_scoring.choose(arguments.labels, told, arguments.abstain)
    shares = {label: round(share, 4) for label, share in choice.probabilities.items()}
    return Chosen(label=choice.label, probabilities=shares)


choose = VisualTool(
    "choose",
    "Decide which of several answers fits a picture, with a probability for each; the label is "
    "null where none is probable enough.",
    ChooseArguments,
    _choose,
)
