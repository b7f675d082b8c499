"""compare: one question about several images, and whether its answers agree.

LLaVA 1.5 was trained on one image a prompt, so each image gets its own request, all in one batch,
and the answers are compared as text. On 300 drawn pairs the embedded model was right about whether
they agree in 99 % this way, and in 54 % (hardly better than guessing) with both images in one
prompt: `python -m benchmarks.compare`. The released weights were not available to measure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from llava_tools import label_scoring
from llava_tools.images.access import ImageResolver
from llava_tools.tools.requests import RequestGenerator, build_request, get_answers, get_scores
from llava_tools.tools.spec import ImageNames, Text, ToolArguments, ToolResult, VisualTool

#: The question about all images in one prompt.
TOGETHER_PROMPT = (
    "There are {number} pictures. Is the answer to this question the same for all of them? "
    "{question} Please answer yes or no."
)


class CompareArguments(ToolArguments):
    """Images, and a question about each."""

    images: ImageNames
    question: Text = Field(
        description="What to find out about each picture, such as 'What colour is the car?'"
    )
    together: bool = Field(False, description="Show all pictures at once, which is less reliable.")


class CompareResult(ToolResult):
    """Whether the answer is the same for all images; the answers in order, none if `together`."""

    same: bool
    answers: tuple[str, ...] = ()


def _compare(
    arguments: CompareArguments, resolver: ImageResolver
) -> RequestGenerator[CompareResult]:
    images = [resolver.open(name) for name in arguments.images]
    if arguments.together:
        question = TOGETHER_PROMPT.format(number=len(images), question=arguments.question)
        request = build_request(question, *images, max_tokens=1)
        scores = yield from get_scores(request, label_scoring.YES_OR_NO)
        # Without a calibration, whose bias is for whether something is shown.
        return CompareResult(same=label_scoring.yes_probability(scores) >= 0.5)
    question = label_scoring.short_answer_question(arguments.question)
    requests = [build_request(question, image, max_tokens=32) for image in images]
    answers = yield from get_answers(*requests)
    texts = tuple(answer.text for answer in answers)
    return CompareResult(same=agree(texts), answers=texts)


def agree(texts: Sequence[str]) -> bool:
    """Return whether short answers are equal, except for case, article and full stop."""
    return len({normalize_answer(text) for text in texts}) == 1


def normalize_answer(text: str) -> str:
    """Return a short answer in lower case, without article and punctuation."""
    text = " ".join(text.casefold().split()).strip(".!\"'")
    return re.sub(r"^(a|an|the) ", "", text)


compare = VisualTool(
    "compare",
    "Ask one question about each of several pictures, and tell whether the answers are the same.",
    CompareArguments,
    _compare,
)
