"""locate: where something is in an image, in pixels of the image itself."""

from __future__ import annotations

import json
from dataclasses import replace

from pydantic import Field

from llava_tools import label_scoring
from llava_tools.core.constraints import Constraint
from llava_tools.images.access import ImageResolver
from llava_tools.tools.display import Shown
from llava_tools.tools.geometry import Box, unpadded
from llava_tools.tools.spec import (
    Arguments,
    ImageName,
    Plan,
    VisualTool,
    answers,
    question,
    scores,
)

#: The words that LLaVA 1.5 was trained to answer with a box (RefCOCO and Visual Genome).
PROMPT = "Please provide the bounding box coordinate of the region this sentence describes: {thing}"

#: LLaVA writes `[x1, y1, x2, y2]` in hundredths of the padded square. Each is listed, since a range
#: would leave the number of digits open; the model is not told, it was trained on the form.
_FORM = Constraint(
    schema={
        "type": "array",
        "items": {"enum": [hundredth / 100 for hundredth in range(101)]},
        "minItems": 4,
        "maxItems": 4,
    },
    describe=False,
)


class LocateArguments(Arguments):
    """Something to find in an image."""

    image: ImageName
    thing: str = Field(
        min_length=1, max_length=500, description="What to find, such as 'the red car'."
    )


class Located(Shown):
    """Where something is. In a notebook it shows itself as the image with the box.

    Attributes:
        box: Pixels of the image as shown: x1, y1, x2, y2, from the top left corner. None where
            the model named no place on it.
        certainty: How probably the image shows the thing at all, 0 to 1 (see `Llava.score`).
            LLaVA names a box for whatever it is asked, so a low one means a box of nothing.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
    """

    box: Box | None
    certainty: float
    width: int
    height: int


def _locate(arguments: LocateArguments, resolver: ImageResolver) -> Plan[Located]:
    image = resolver.open(arguments.image)
    asked = question(PROMPT.format(thing=arguments.thing), image, max_tokens=48)
    (answer,) = yield from answers(replace(asked, constraint=_FORM))
    shows = question(label_scoring.shows(arguments.thing), image, max_tokens=1)
    certainty = label_scoring.yes((yield from scores(shows, label_scoring.YES_OR_NO)))
    box = unpadded(json.loads(answer.text), image.size)
    width, height = image.size
    located = Located(box=box, certainty=round(certainty, 3), width=width, height=height)
    return located.with_image(image, box)


locate = VisualTool(
    "locate",
    "Find where something is in a picture: its box [x1, y1, x2, y2] in pixels, and how certain it "
    "is (0 to 1) that the picture shows it at all.",
    LocateArguments,
    _locate,
)
