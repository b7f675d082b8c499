"""compare: one question about several images, and whether its answers agree.

LLaVA 1.5 was trained on one image a prompt, so each image is asked by itself, in one batch, and
the answers are compared as text. On 300 drawn pairs the embedded model told right whether they
agree in 99% that way, and in 54% (hardly better than guessing) with both images in one prompt:
`python -m benchmarks.compare`. The released weights were not at hand to try.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from llava_tools import label_scoring
from llava_tools.images.access import ImageResolver
from llava_tools.tools.spec import (
    Arguments,
    ImageNames,
    Plan,
    Result,
    VisualTool,
    answers,
    question,
    scores,
)

#: What is asked of all images in one prompt.
TOGETHER = (
    "There are {number} pictures. Is the answer to this question the same for all of them? "
    "{question} Please answer yes or no."
)


class CompareArguments(Arguments):
    """Images, and a question that can be asked of each."""

    images: ImageNames
    question: str = Field(
        min_length=1,
        max_length=500,
        description="What to find out about each picture, such as 'What colour is the car?'",
    )
    together: bool = Field(False, description="Show all pictures at once, which is less reliable.")


class Compared(Result):
    """What was found.

    Attributes:
        same: Whether the answer is the same for all images.
        answers: One for each image in order; none where they were shown together.
    """

    same: bool
    answers: tuple[str, ...] = ()


def _compare(arguments: CompareArguments, resolver: ImageResolver) -> Plan[Compared]:
    images = [resolver.open(name) for name in arguments.images]
    if arguments.together:
        words = TOGETHER.format(number=len(images), question=arguments.question)
        asked = question(words, *images, max_tokens=1)
        same = label_scoring.yes((yield from scores(asked, label_scoring.YES_OR_NO))) >= 0.5
        return Compared(same=same)
    words = label_scoring.short(arguments.question)
    each = yield from answers(*(question(words, one, max_tokens=32) for one in images))
    texts = tuple(answer.text for answer in each)
    return Compared(same=agree(texts), answers=texts)


def agree(texts: Sequence[str]) -> bool:
    """Return whether short answers say the same, whatever their case, article and full stop."""
    return len({plain(text) for text in texts}) == 1


def plain(text: str) -> str:
    """Return what counts of a short answer."""
    words = " ".join(text.casefold().split()).strip(".!\"'")
    return re.sub(r"^(a|an|the) ", "", words)


compare = VisualTool(
    "compare",
    "Ask one question about each of several pictures, and tell whether the answers are the same.",
    CompareArguments,
    _compare,
)
