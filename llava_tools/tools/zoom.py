"""zoom: a region of an image at its full resolution, as a new image.

Only a planner calls it; no other tool zooms by itself. Question answering over an index zooms on
its own (`llava_tools.retrieval.tiling`), since it can compare answers by log-probabilities.
"""

from __future__ import annotations

from pydantic import Field

from llava_tools.errors import RequestError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import ImageResult
from llava_tools.tools.geometry import Box, clip_box
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers
from llava_tools.tools.spec import ImageArguments, Text, VisualTool


class ZoomArguments(ImageArguments):
    """A region of an image, and optionally a question about it."""

    box: list[int] = Field(
        min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels, from the top left."
    )
    question: Text | None = Field(None, description="What to find out about the region.")


class ZoomResult(ImageResult):
    """The region as a new image (handle and size in pixels), and the answer about it."""

    image: str
    width: int
    height: int
    answer: str | None = None

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """See `ImageResult.shown`."""
        return self.image, None


def _region(arguments: ZoomArguments, resolver: ImageResolver) -> ImageRef:
    image = resolver.open(arguments.image)
    box = clip_box(arguments.box, image.size)
    if box is None:
        raise RequestError(
            f"The box {arguments.box} has no area on the picture, which is {image.size[0]} x "
            f"{image.size[1]} pixels.",
            "Give x1 < x2 and y1 < y2 within it.",
        )
    with image.decoded() as pixels:
        return open_image(pixels.crop(box))


def _zoom(arguments: ZoomArguments, resolver: ImageResolver) -> RequestGenerator[ZoomResult]:
    region = _region(arguments, resolver)
    handle = resolver.add(region)
    text = None
    if arguments.question is not None:
        request = build_request(arguments.question, region, max_tokens=256)
        (answer,) = yield from get_answers(request)
        text = answer.text
    width, height = region.size
    result = ZoomResult(image=handle, width=width, height=height, answer=text)
    return result.with_image(region)


zoom = VisualTool(
    "zoom",
    "Cut a region out of a picture at its full resolution, to see small things: gives the handle "
    "of the new picture and, if asked, an answer about it.",
    ZoomArguments,
    _zoom,
    subject="about",
    view=_region,
)
