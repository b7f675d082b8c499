"""A stand-in loaded by the engine, compared with the published prompts and with `generate`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from transformers import LlavaForConditionalGeneration

from llava_tools.chat import prompt
from llava_tools.chat.formats import EOS, SpecialToken
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.engine import load_engine
from llava_tools.engine.engine import LlavaEngine
from llava_tools.images import ImageRef, open_image
from llava_tools.options import EngineOptions
from tests.families import prompts, reference, writers
from tests.families.loadable import LOADABLE, Loadable

#: The conversations, by the fields of `Published`.
CONVERSATIONS = ("no_image", "one_image", "two_images", "three_turns")
NEW_TOKENS = 12

#: Wide and tall, so that padding, cropping and squashing differ.
IMAGES = (Image.new("RGB", writers.SIZE, writers.COLOR), Image.new("RGB", (30, 80), (20, 130, 12)))
_SHOWN = {"no_image": 0, "one_image": 1, "two_images": 2, "three_turns": 1}


@dataclass(frozen=True)
class StandIn:
    """A stand-in in the engine.

    Attributes:
        row: The checkpoint that it stands for.
        folder: Its files.
        model: Its model, for the reference; never read from the files.
        engine: The engine that loaded the files.
    """

    row: Loadable
    folder: Path
    model: LlavaForConditionalGeneration
    engine: LlavaEngine

    def published(self, conversation: str) -> str:
        """Return the published prompt of a conversation."""
        text: str = getattr(self.row.published, conversation)
        return text

    def prompt(self, conversation: str) -> str:
        """Return the prompt that the engine sends, with the tokenizer's own names of tokens."""
        pieces = self._pieces(conversation)
        end = SpecialToken(str(self.engine.loaded.tokenizer.tokenizer.eos_token))
        return prompt.render(end if piece == EOS else piece for piece in pieces)

    def token_ids(self, conversation: str) -> list[int]:
        """Return the ids of the engine's prompt, with one for each image."""
        image = self.model.config.image_token_index
        pieces = self._pieces(conversation)
        return self.engine.loaded.tokenizer.tokenize(pieces, lambda ref: [image])

    def reference_ids(self, conversation: str) -> list[int]:
        """Return the ids of the published prompt, with one for each image."""
        return reference.tokens(self.row, self.folder, self.published(conversation))

    def answer(self, conversation: str) -> Answer:
        """Return the engine's greedy answer."""
        sampling = SamplingParams(max_tokens=NEW_TOKENS)
        return collect(self.engine.stream(Request(self._messages(conversation), sampling)), "x")

    def reference_answer(self, conversation: str) -> list[int]:
        """Return the tokens that `generate` gives for the published prompt."""
        images = IMAGES[: _SHOWN[conversation]]
        text = self.published(conversation)
        return reference.answer(self.row, self.folder, self.model, text, images, NEW_TOKENS)

    def _messages(self, conversation: str) -> tuple[Message, ...]:
        first, second = map(open_image, IMAGES)
        return prompts.conversations(first, second)[conversation]

    def _pieces(self, conversation: str) -> list[str | ImageRef | SpecialToken]:
        row = self.engine.loaded.tokenizer.conversation
        return prompt.build(self._messages(conversation), conversation=row)


@contextmanager
def loaded(row: Loadable, parent: Path) -> Iterator[StandIn]:
    """Write a stand-in into a new folder below one, load it in float32, and close it in the end."""
    folder = parent / row.folder
    seed = [other.name for other in LOADABLE].index(row.name)
    model = writers.write(row, folder, seed)
    options = EngineOptions(str(folder), dtype="float32", conversation=row.conversation)
    with closing(load_engine(options)) as engine:
        yield StandIn(row, folder, model, engine)
