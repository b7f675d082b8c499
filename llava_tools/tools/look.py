"""Tools that put an image into words: look (a question), describe, read_text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llava_tools.core.outputs import Answer
from llava_tools.images.access import ImageResolver
from llava_tools.tools.spec import Arguments, ImageName, Plan, Result, VisualTool, answers, question

#: LLaVA 1.5's own words for a caption (TextCaps) and for a detailed description (LLaVA-Instruct).
BRIEF = "Provide a one-sentence caption for the provided image."
FULL = "Describe this image in detail."
READ = "What text is written in the image? Answer with the text exactly as it is written."


class LookArguments(Arguments):
    """A question about an image."""

    image: ImageName
    question: str = Field(min_length=1, max_length=500, description="What to find out.")


class DescribeArguments(Arguments):
    """An image to describe."""

    image: ImageName
    detail: Literal["brief", "full"] = Field(
        "full", description="One sentence, or everything that matters."
    )


class ReadArguments(Arguments):
    """An image to read."""

    image: ImageName


class Words(Result):
    """What the model said.

    Attributes:
        text: Its words.
        cut_off: Whether it had more to say than there was room for.
    """

    text: str
    cut_off: bool = False


class Description(Words):
    """What the model said, and how large the image is in pixels."""

    width: int
    height: int


def _words(answer: Answer) -> tuple[str, bool]:
    return answer.text, answer.finish_reason == "length"


def _look(arguments: LookArguments, resolver: ImageResolver) -> Plan[Words]:
    image = resolver.open(arguments.image)
    (answer,) = yield from answers(question(arguments.question, image, max_tokens=256))
    text, cut_off = _words(answer)
    return Words(text=text, cut_off=cut_off)


def _describe(arguments: DescribeArguments, resolver: ImageResolver) -> Plan[Description]:
    image = resolver.open(arguments.image)
    brief = arguments.detail == "brief"
    asked = question(BRIEF if brief else FULL, image, max_tokens=64 if brief else 512)
    (answer,) = yield from answers(asked)
    text, cut_off = _words(answer)
    width, height = image.size
    return Description(text=text, cut_off=cut_off, width=width, height=height)


def _read(arguments: ReadArguments, resolver: ImageResolver) -> Plan[Words]:
    image = resolver.open(arguments.image)
    (answer,) = yield from answers(question(READ, image, max_tokens=512))
    text, cut_off = _words(answer)
    return Words(text=text, cut_off=cut_off)


look = VisualTool(
    "look", "Ask a question about a picture and get an answer in words.", LookArguments, _look
)
describe = VisualTool(
    "describe",
    "Describe a picture, and tell its width and height in pixels.",
    DescribeArguments,
    _describe,
)
read_text = VisualTool("read_text", "Read the text in a picture.", ReadArguments, _read)
