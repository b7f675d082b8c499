"""Questions about images, as agents ask them: short, several about one image, some at once.

Every round brings two images that nobody has seen. Each contender in turn is asked about the
first one, asked again, asked to describe it, and given several questions about both at once; whose
turn is first changes from round to round. The first round warms up and does not count.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from llava_tools.bench.peers import Contender
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef, open_image

_FIRST = "What is in the picture?"
_AGAIN = "What is the colour of the background?"
_LONG = "Describe the picture in detail."
_SHORT = (
    "What shape is in the picture?",
    "What colour is the shape?",
    "How many shapes are there?",
    "Is there a circle in the picture?",
    "Is the shape on the left or on the right?",
    "Is the background dark?",
    "Is there a star in the picture?",
    "What do you see?",
)
_SHORT_TOKENS = 16
_SIZE = (400, 300)


@dataclass(frozen=True)
class Plan:
    """How much is asked.

    Attributes:
        rounds: That count, >= 1.
        at_once: Requests that come together, >= 1.
        tokens: Of a description at most, >= 2.
        seed: Of the images: a server that was measured before knows those of an earlier seed.
    """

    rounds: int = 5
    at_once: int = 8
    tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("at_once", 1), ("tokens", 2)):
            if getattr(self, name) < least:
                raise RequestError(
                    f"{name}={getattr(self, name)} is not possible.", f"Use at least {least}."
                )


@dataclass
class _Seen:
    """What one contender took, round by round; seconds but for `rate`."""

    new: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    at_once: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figures:
    """Medians over the rounds.

    Attributes:
        name: Whose.
        new_picture_s: Seconds to the first token of a question about an image never seen.
        follow_up_s: The same for another question about that image.
        tokens_per_s: Tokens a second after the first one; None where answers had no second one.
        at_once_s: Seconds for all of the questions that came together.
    """

    name: str
    new_image_s: float
    follow_up_s: float
    tokens_per_s: float | None
    at_once_s: float


def measure(
    contenders: Sequence[Contender], plan: Plan, show: Callable[[int], None] = lambda done: None
) -> list[Figures]:
    """Let everybody answer the same questions.

    Args:
        contenders: At least one, with names of their own.
        plan: How much is asked.
        show: Called after each round with the number of those that are done.

    Returns:
        One entry a contender, in the order given.

    Raises:
        LlavaToolsError: Somebody could not answer.
    """
    seen = {contender.name: _Seen() for contender in contenders}
    for number in range(plan.rounds + 1):
        pair = (make_image(plan.seed, 2 * number), make_image(plan.seed, 2 * number + 1))
        turn = number % len(contenders)
        _round([*contenders[turn:], *contenders[:turn]], seen, plan, pair)
        if number == 0:
            seen.update((name, _Seen()) for name in seen)  # that was the warm-up
        show(number)
    return [_figures(name, took) for name, took in seen.items()]


def _round(
    contenders: Sequence[Contender],
    seen: dict[str, _Seen],
    plan: Plan,
    pair: tuple[ImageRef, ImageRef],
) -> None:
    many = [
        _asked(pair[n % 2], _SHORT[n % len(_SHORT)], _SHORT_TOKENS) for n in range(plan.at_once)
    ]
    for one in contenders:
        seen[one.name].new.append(one.run(_asked(pair[0], _FIRST, 1)).first)
    for one in contenders:
        seen[one.name].again.append(one.run(_asked(pair[0], _AGAIN, 1)).first)
    for one in contenders:
        rate = one.run(_asked(pair[0], _LONG, plan.tokens)).tokens_per_s
        if rate is not None:
            seen[one.name].rate.append(rate)
    for one in contenders:
        seen[one.name].at_once.append(one.run_all(many))


def _figures(name: str, took: _Seen) -> Figures:
    return Figures(
        name,
        statistics.median(took.new),
        statistics.median(took.again),
        statistics.median(took.rate) if took.rate else None,
        statistics.median(took.at_once),
    )


def _asked(image: ImageRef, question: str, tokens: int) -> Request:
    return Request((Message("user", (image, question)),), SamplingParams(max_tokens=tokens))


def make_image(seed: int, number: int) -> ImageRef:
    """Draw an image that no other seed or number gives: a shape on a ground."""
    rng = random.Random(f"{seed}/{number}")

    def colour() -> tuple[int, int, int]:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    image = Image.new("RGB", _SIZE, colour())
    left, top, size = rng.randrange(240), rng.randrange(140), rng.randrange(60, 150)
    draw = ImageDraw.Draw(image)
    shape = rng.choice((draw.ellipse, draw.rectangle))
    shape((left, top, left + size, top + size), fill=colour())
    return open_image(image)
