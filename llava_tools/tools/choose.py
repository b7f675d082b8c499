"""choose: which of several labels fits an image, with probabilities."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from llava_tools import label_scoring
from llava_tools.images.access import ImageResolver
from llava_tools.tools.requests import RequestGenerator, build_request, get_calibration, get_scores
from llava_tools.tools.spec import ImageArguments, Text, ToolResult, VisualTool

Label = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]


class ChooseArguments(ImageArguments):
    """A question about an image, and its possible answers."""

    question: Text = Field(description="What to decide.")
    labels: list[Label] = Field(
        min_length=2, max_length=32, description="The possible answers, all different."
    )
    abstain: float | None = Field(
        None, ge=0, le=1, description="Choose nothing below this probability."
    )


class ChooseResult(ToolResult):
    """The likeliest label (None below `abstain`), and the probabilities of all, which sum to 1."""

    label: str | None
    probabilities: dict[str, float]


def _choose(arguments: ChooseArguments, resolver: ImageResolver) -> RequestGenerator[ChooseResult]:
    image = resolver.open(arguments.image)
    question = label_scoring.short_answer_question(arguments.question)
    request = build_request(question, image, max_tokens=1)
    scores = yield from get_scores(request, arguments.labels)
    scaling = (yield from get_calibration()).choice
    result = label_scoring.classify(arguments.labels, scores, arguments.abstain, scaling)
    probabilities = {label: round(value, 4) for label, value in result.probabilities.items()}
    return ChooseResult(label=result.label, probabilities=probabilities)


choose = VisualTool(
    "choose",
    "Decide which of several answers fits a picture, with a probability for each; the label is "
    "null where none is probable enough.",
    ChooseArguments,
    _choose,
    subject="about",
)
