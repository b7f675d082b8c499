"""What is learned from a conversation: the answers and the `</s>` behind them, nothing else.

The prompt of every answer is the one that the engine would send to get it; what is learned is what
the model would then have to generate. That makes the mask of LLaVA's official preprocessing
(llava/train/train.py, preprocess_v1) without its counting of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llava_tools.chat import prompt
from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError

#: What stands in labels where nothing is learned; torch's cross entropy leaves it out.
IGNORED = -100


@dataclass(frozen=True)
class Lesson:
    """A conversation as a model learns it.

    Attributes:
        ids: Token ids; `image_token` repeated where an image stands.
        labels: The same ids where something is learned, `IGNORED` elsewhere.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def learned(self) -> int:
        """How many tokens are learned, the first one not counted: nothing precedes it."""
        return sum(label != IGNORED for label in self.labels[1:])

    def cut(self, length: int) -> Lesson:
        """Return its first `length` tokens, as the official training cuts long ones."""
        return Lesson(self.ids[:length], self.labels[:length])


def write(
    messages: Sequence[Message], text: Tokenizer, image_token: int, image_tokens: int
) -> Lesson:
    """Turn a conversation that ends with an answer into tokens and labels.

    Args:
        messages: Of user and assistant by turns.
        text: The checkpoint's tokenizer.
        image_token: Id that stands for a part of an image.
        image_tokens: How many parts an image has.

    Raises:
        ModelError: The tokenizer joins a prompt with its answer, so that none of it can be told.
    """

    def tokenize(pieces: Sequence[prompt.Piece]) -> list[int]:
        return text.tokenize(pieces, lambda _: [image_token] * image_tokens)

    ids = tokenize(prompt.lesson(messages))
    labels = [IGNORED] * len(ids)
    for place, message in enumerate(messages):
        if message.role != "assistant":
            continue
        asked = tokenize(prompt.build(messages[:place]))
        if ids[: len(asked)] != asked:
            raise ModelError(
                f"The tokenizer {type(text.tokenizer).__name__} joins prompts with their answers.",
                "Use a checkpoint in the llava-hf layout.",
            )
        end = ids.index(text.end_of_turn, len(asked)) + 1
        labels[len(asked) : end] = ids[len(asked) : end]
    return Lesson(tuple(ids), tuple(labels))
