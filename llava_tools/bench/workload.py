"""The workload of a benchmark: questions about images, like those of agents.

Every round has two new images. Each contender in turn gets a question about the first image,
another one about it, a request to describe it, and several questions about both images at once. The
order of the contenders rotates from round to round. The first round warms up and does not count.
"""

from __future__ import annotations

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from llava_tools.bench.contenders import Contender
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef, open_image

_FIRST = "What is in the picture?"
_FOLLOW_UP = "What is the colour of the background?"
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


@dataclass(frozen=True)
class Workload:
    """How much is measured.

    Attributes:
        rounds: Rounds that count, >= 1.
        at_once: Requests that are sent together, >= 1.
        tokens: Length limit of a description, >= 2.
        seed: Of the images. A server may have cached those of an earlier seed.
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


@dataclass(frozen=True)
class Measurements:
    """One contender's medians over the rounds.

    Attributes:
        name: Of the contender.
        new_image_s: Seconds to the first token of a question about a new image.
        follow_up_s: The same for another question about that image.
        at_once_s: Seconds for all requests that were sent together.
        tokens_per_s: Tokens per second after the first one; None if answers had only one.
    """

    name: str
    new_image_s: float
    follow_up_s: float
    at_once_s: float
    tokens_per_s: float | None = None


def measure(
    contenders: Sequence[Contender],
    workload: Workload,
    show: Callable[[int], None] = lambda rounds: None,
) -> list[Measurements]:
    """Run a workload on all contenders (at least one, with different names), in their order.

    After each round, `show` is called with the number of rounds that count so far.

    Raises:
        LlavaToolsError: A contender cannot answer.
    """
    samples: dict[str, dict[str, list[float]]] = {c.name: defaultdict(list) for c in contenders}
    for number in range(workload.rounds + 1):
        images = [make_image(workload.seed, 2 * number + index) for index in range(2)]
        turn = number % len(contenders)
        order = [*contenders[turn:], *contenders[:turn]]
        for name, field, value in _run_round(order, workload, images):
            if number > 0:  # round 0 warms up
                samples[name][field].append(value)
        show(number)
    return [
        Measurements(name, **{field: statistics.median(values) for field, values in rows.items()})
        for name, rows in samples.items()
    ]


def _run_round(
    contenders: Sequence[Contender], workload: Workload, images: Sequence[ImageRef]
) -> Iterator[tuple[str, str, float]]:
    """Yield a contender's name, a field of `Measurements` and its value."""
    for field, question in (("new_image_s", _FIRST), ("follow_up_s", _FOLLOW_UP)):
        for contender in contenders:
            yield contender.name, field, contender.run(_request(images[0], question, 1)).first
    for contender in contenders:
        rate = contender.run(long_request(workload, images[0])).tokens_per_s
        if rate is not None:
            yield contender.name, "tokens_per_s", rate
    requests = [
        _request(images[index % 2], _SHORT[index % len(_SHORT)], tokens=16)
        for index in range(workload.at_once)
    ]
    for contender in contenders:
        yield contender.name, "at_once_s", contender.run_all(requests)


def long_request(workload: Workload, image: ImageRef | None = None) -> Request:
    """Return the request for a description of an image, by default the first one."""
    return _request(image or make_image(workload.seed, 0), _LONG, workload.tokens)


def _request(image: ImageRef, question: str, tokens: int) -> Request:
    return Request((Message("user", (image, question)),), SamplingParams(max_tokens=tokens))


def make_image(seed: int, number: int) -> ImageRef:
    """Draw a shape on a ground; every seed and number gives another image."""
    rng = random.Random(f"{seed}/{number}")

    def colour() -> tuple[int, int, int]:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    image = Image.new("RGB", (400, 300), colour())
    left, top, size = rng.randrange(240), rng.randrange(140), rng.randrange(60, 150)
    draw = ImageDraw.Draw(image)
    shape = rng.choice((draw.ellipse, draw.rectangle))
    shape((left, top, left + size, top + size), fill=colour())
    return open_image(image)
