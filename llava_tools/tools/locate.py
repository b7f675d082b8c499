"""locate: where something is in an image, in pixels of the image itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from llava_tools.core.constraints import Constraint
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import ImageResult
from llava_tools.tools.geometry import Box, unpad_box
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers, get_certainty
from llava_tools.tools.spec import ImageArguments, Text, VisualTool

#: The prompt that LLaVA 1.5 was trained to answer with a box (RefCOCO and Visual Genome).
PROMPT = "Please provide the bounding box coordinate of the region this sentence describes: {thing}"

#: LLaVA writes `[x1, y1, x2, y2]` in hundredths of the padded square. The schema lists all of them,
#: since a range would not limit the number of digits. Not described in the prompt, since LLaVA was
#: trained on this form.
_BOX = Constraint(
    schema={
        "type": "array",
        "items": {"enum": [hundredth / 100 for hundredth in range(101)]},
        "minItems": 4,
        "maxItems": 4,
    },
    describe=False,
)


class LocateArguments(ImageArguments):
    """Something to find in an image."""

    thing: Text = Field(description="What to find, such as 'the red car'.")


class LocateResult(ImageResult):
    """Where something is. A notebook displays the image with the box.

    Attributes:
        box: Pixels of the image as shown: x1, y1, x2, y2, from the top left corner. None if the
            model's box does not lie on the image.
        certainty: How probably the image shows the thing at all, 0 to 1 (see `Llava.score`). LLaVA
            names a box for every question; with a low certainty, the box shows nothing.
        width, height: Of the image, in pixels.
        image: Handle of the image; the agent, which named it, does not read it again.
    """

    program_only: ClassVar[Any] = {"image"}

    box: Box | None
    certainty: float
    width: int
    height: int
    image: str = ""

    @property
    def shown(self) -> tuple[str | None, Box | None]:
        """See `ImageResult.shown`."""
        return self.image or None, self.box


def _locate(arguments: LocateArguments, resolver: ImageResolver) -> RequestGenerator[LocateResult]:
    image = resolver.open(arguments.image)
    request = build_request(PROMPT.format(thing=arguments.thing), image, max_tokens=48)
    (answer,) = yield from get_answers(replace(request, constraint=_BOX))
    certainty = round((yield from get_certainty(arguments.thing, image)), 3)
    box = unpad_box(json.loads(answer.text), image.size)
    width, height = image.size
    result = LocateResult(
        box=box, certainty=certainty, width=width, height=height, image=image.handle
    )
    return result.with_image(image)


locate = VisualTool(
    "locate",
    "Find where something is in a picture: its box [x1, y1, x2, y2] in pixels, and how certain it "
    "is (0 to 1) that the picture shows it at all.",
    LocateArguments,
    _locate,
    subject="thing",
)
