"""`Scene`: what all work shares: the model, images, questions, stores and servers."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from benchmarks.server_load import IMAGES, QUESTIONS, Expected
from benchmarks.soak.outcomes import Outcomes
from benchmarks.soak.servers import ServerProcess
from llava_tools import Embedder, ImageStore, Llava
from llava_tools.retrieval import PageIndex

#: Tokens of an answer, those of `server_load`.
MAX_TOKENS = 24
#: A PNG that ends within its header.
DAMAGED = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0"
#: A schema that cannot be enforced.
BAD_SCHEMA = {
    "title": "Bad",
    "description": "Bad.",
    "type": "object",
    "properties": {"a": {"not": {"type": "string"}}},
    "required": ["a"],
}
_COLOURS = ("red", "yellow", "blue", "green", "white", "black")


@dataclass
class Scene:
    """What all work shares.

    Attributes:
        folder: For files.
        outcomes: What the work leads to.
        model: The embedded model.
        embedder: Its embedder.
        expected: Answers of the model to `QUESTIONS` about `IMAGES`, from before the work.
        store: A small image store, from which images are dropped all the time.
        index: An index of the files in `folder / "documents"`.
        serve: The server of OpenAI's and Ollama's clients.
        mcp: The MCP server.
    """

    folder: Path
    outcomes: Outcomes
    model: Llava
    embedder: Embedder
    expected: Expected
    store: ImageStore
    index: PageIndex
    serve: ServerProcess
    mcp: ServerProcess

    def known(self, rng: random.Random) -> tuple[Path, str, str]:
        """Return an image, a question, and the answer."""
        image, question = rng.choice(IMAGES), rng.choice(QUESTIONS)
        return image, question, self.expected.answers[image, question]


#: A piece of work.
Work = Callable[[Scene, random.Random], None]


def new_image(rng: random.Random) -> bytes:
    """Return a PNG of shapes that was not there before."""
    image = Image.new("RGB", (rng.randint(200, 500), rng.randint(200, 500)), rng.choice(_COLOURS))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(1, 4)):
        x, y = rng.randint(0, 150), rng.randint(0, 150)
        size = rng.randint(20, 120)
        shape = rng.choice((draw.ellipse, draw.rectangle))
        shape((x, y, x + size, y + size), fill=rng.choice(_COLOURS))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
