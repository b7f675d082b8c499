"""show_evidence: which part of an image an answer depends on.

Not among the tools that agents get by default: a map takes as long as some dozens of questions, and
needs the model in this process.
"""

from __future__ import annotations

from pydantic import Field

from llava_tools.errors import OutputError
from llava_tools.images import open_image
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import ImageResult
from llava_tools.tools.geometry import Box
from llava_tools.tools.requests import (
    RequestGenerator,
    build_request,
    get_answers,
    get_evidence,
)
from llava_tools.tools.spec import ImageArguments, Text, VisualTool


class EvidenceArguments(ImageArguments):
    """A question about an image, and an answer."""

    question: Text = Field(description="The question that was asked about the picture.")
    answer: Text | None = Field(
        None, description="The answer to check; by default the question is answered anew."
    )


class EvidenceResult(ImageResult):
    """What an answer depends on. A notebook displays the image with the evidence as heat.

    Attributes:
        answer: The answer.
        box: The part of the image that the answer depends on, in pixels: x1, y1, x2, y2. None if
            it depends on no single part: many show the same, or the model has guessed.
        image: Handle of the drawing: the image, dimmed, with the evidence as heat.
    """

    answer: str
    box: Box | None
    image: str

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """See `ImageResult.shown`."""
        return self.image, None


def _show(
    arguments: EvidenceArguments, resolver: ImageResolver
) -> RequestGenerator[EvidenceResult]:
    image = resolver.open(arguments.image)
    request = build_request(arguments.question, image, max_tokens=256)
    answer = arguments.answer
    if answer is None:
        (generated,) = yield from get_answers(request)
        answer = generated.text
    if not (answer := answer.strip()):
        raise OutputError("The model gave no answer.", "Ask in other words.")
    evidence = yield from get_evidence(request, answer)
    drawing = open_image(evidence.draw())
    box = None if evidence.region is None else Box(*evidence.region)
    result = EvidenceResult(answer=answer, box=box, image=resolver.add(drawing))
    return result.with_image(drawing)


show_evidence = VisualTool(
    "show_evidence",
    "Show which part of a picture an answer about it depends on: its box [x1, y1, x2, y2] in "
    "pixels, or null if it depends on no single part (many show the same, or it is a guess), and "
    "the handle of a picture with that part lit up.",
    EvidenceArguments,
    _show,
    subject="about",
)
