"""A user, what is only theirs, and what they do."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image

from llava_tools.core.requests import Request
from llava_tools.images import ImageRef, open_image
from tests.strategies import encoded

#: Bytes that the images of a user may take, so that a dozen evict others.
STORE_BYTES = 4000
#: A question that both users ask.
COMMON = "What is it?"

#: What users do, with how often.
KINDS = {
    "add": 4, "ask by handle": 4, "ask with data": 4, "ask by the other's handle": 3,
    "ask what both ask": 4, "stream": 4, "read on": 3, "tool": 3, "tool, other's handle": 2,
    "probe": 3, "remove the other's": 2, "evict": 2, "list": 2, "error": 2, "evidence": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """Something that a user does, with one of the user's images, or of the other user's."""

    kind: str
    image: ImageRef
    word: str

    @property
    def data(self) -> str:
        """The image's bytes in base64."""
        return base64.b64encode(self.image.data).decode()

    @property
    def text(self) -> str:
        """The question."""
        return COMMON if self.kind == "ask what both ask" else f"{COMMON} {self.word}"


class User:
    """A user with words and colours that nobody else has.

    Args:
        number: 0 or 1.
        rng: Draws what is only theirs, and what they do.
    """

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.word = f"{'xq'[number]}word{rng.randrange(10**8):08d}"
        self.colours = [
            (number * 128 + rng.randrange(128), rng.randrange(256), rng.randrange(256))
            for _ in range(2)
        ]

    @cached_property
    def images(self) -> list[ImageRef]:
        """The user's images."""
        return [
            open_image(encoded(Image.new("RGB", (6, 6), colour), "PNG")) for colour in self.colours
        ]

    @cached_property
    def canaries(self) -> list[str]:
        """Texts that nobody else may see."""
        handles = [image.handle.removeprefix("img_") for image in self.images]
        return [self.word, *handles, *map(written, self.colours)]

    def draw(self, other: User, rng: random.Random, count: int) -> list[Operation]:
        """Return what the user does."""
        operations = []
        for kind in rng.choices(list(KINDS), list(KINDS.values()), k=count):
            owner = other if "other" in kind or kind == "probe" else self
            operations.append(Operation(kind, rng.choice(owner.images), self.word))
        return operations


def written(colour: tuple[int, int, int]) -> str:
    """Return a colour as the scripted model writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def describe(request: Request) -> str:
    """Return all that a model saw: the script of a model that repeats it."""
    parts: list[str] = []
    for message in request.messages:
        for image in message.images:
            with image.decoded() as pixels:
                parts.append(written(pixels.getpixel((0, 0))))
        parts.append(message.text)
    return " ".join(" ".join(parts).split())


def noise(number: int) -> ImageRef:
    """Return an image that is nobody's, and takes as much as several."""
    rng = random.Random(number)
    return open_image(encoded(Image.frombytes("RGB", (20, 20), rng.randbytes(1200)), "PNG"))


def without(value: Any, *volatile: str) -> Any:
    """Return JSON without the fields that differ each time."""
    if isinstance(value, dict):
        return {k: without(v, *volatile) for k, v in value.items() if k not in volatile}
    return [without(item, *volatile) for item in value] if isinstance(value, list) else value
