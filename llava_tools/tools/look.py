"""Tools that answer in text: look (a question), describe, read_text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llava_tools.images import ImageRef
from llava_tools.images.access import ImageResolver
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers
from llava_tools.tools.spec import ImageArguments, Text, ToolResult, VisualTool

#: LLaVA 1.5's own prompts for a caption (TextCaps) and a detailed description (LLaVA-Instruct).
BRIEF = "Provide a one-sentence caption for the provided image."
FULL = "Describe this image in detail."
READ = "What text is written in the image? Answer with the text exactly as it is written."


class LookArguments(ImageArguments):
    """A question about an image."""

    question: Text = Field(description="What to find out.")


class DescribeArguments(ImageArguments):
    """An image to describe."""

    detail: Literal["brief", "full"] = Field(
        "full", description="One sentence, or everything that matters."
    )


class TextResult(ToolResult):
    """The model's answer, and whether `max_tokens` ended it."""

    text: str
    cut_off: bool = False


class DescribeResult(TextResult):
    """The model's description, and the size of the image in pixels."""

    width: int
    height: int


def _answer(image: ImageRef, prompt: str, max_tokens: int) -> RequestGenerator[TextResult]:
    (answer,) = yield from get_answers(build_request(prompt, image, max_tokens=max_tokens))
    return TextResult(text=answer.text, cut_off=answer.finish_reason == "length")


def _look(arguments: LookArguments, resolver: ImageResolver) -> RequestGenerator[TextResult]:
    image = resolver.open(arguments.image)
    return (yield from _answer(image, arguments.question, max_tokens=256))


def _describe(
    arguments: DescribeArguments, resolver: ImageResolver
) -> RequestGenerator[DescribeResult]:
    image = resolver.open(arguments.image)
    prompt, max_tokens = (BRIEF, 64) if arguments.detail == "brief" else (FULL, 512)
    description = yield from _answer(image, prompt, max_tokens)
    width, height = image.size
    return DescribeResult(**dict(description), width=width, height=height)


def _read(arguments: ImageArguments, resolver: ImageResolver) -> RequestGenerator[TextResult]:
    image = resolver.open(arguments.image)
    return (yield from _answer(image, READ, max_tokens=512))


look = VisualTool(
    "look",
    "Ask a question about a picture and get an answer in words.",
    LookArguments,
    _look,
    subject="about",
)
describe = VisualTool(
    "describe",
    "Describe a picture, and tell its width and height in pixels.",
    DescribeArguments,
    _describe,
)
read_text = VisualTool("read_text", "Read the text in a picture.", ImageArguments, _read)
