"""zoom: a region of an image at its full resolution, as an image of its own.

It is called by a planner, with any model; no other tool zooms by itself. What does is `ask` over an
index, where answers are weighed by log-probabilities (`llava_tools.retrieval.tiling`).
"""

from __future__ import annotations

from pydantic import Field

from llava_tools.errors import RequestError
from llava_tools.images import open_image
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import Shown
from llava_tools.tools.geometry import clipped
from llava_tools.tools.spec import Arguments, ImageName, Plan, VisualTool, answers, question


class ZoomArguments(Arguments):
    """A region of an image, and perhaps a question about it."""

    image: ImageName
    box: list[int] = Field(
        min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels, from the top left."
    )
    question: str | None = Field(
        None, min_length=1, max_length=500, description="What to find out about the region."
    )


class Zoomed(Shown):
    """The region as a new image. In a notebook it shows itself.

    Attributes:
        image: Handle of the new image.
        width: Of the new image, in pixels.
        height: Of the new image, in pixels.
        answer: To the question, where there was one.
    """

    image: str
    width: int
    height: int
    answer: str | None = None


def _zoom(arguments: ZoomArguments, resolver: ImageResolver) -> Plan[Zoomed]:
    whole = resolver.open(arguments.image)
    box = clipped(arguments.box, whole.size)
    if box is None:
        raise RequestError(
            f"The box {arguments.box} has no area on the picture, which is {whole.size[0]} x "
            f"{whole.size[1]} pixels.",
            "Give x1 < x2 and y1 < y2 within it.",
        )
    region = open_image(whole.rgb().crop(box))
    handle = resolver.add(region)
    answer = None
    if arguments.question is not None:
        (said,) = yield from answers(question(arguments.question, region, max_tokens=256))
        answer = said.text
    width, height = region.size
    zoomed = Zoomed(image=handle, width=width, height=height, answer=answer)
    return zoomed.with_image(region)


zoom = VisualTool(
    "zoom",
    "Cut a region out of a picture at its full resolution, to see small things: gives the handle "
    "of the new picture and, if asked, an answer about it.",
    ZoomArguments,
    _zoom,
)
