"""From records to batches: tokens, labels and pixels.

Loss is computed only on answers and the end of the turn after each. The prompt of every answer is
the one that the engine sends at inference, in the model's conversation format; the labels are what
the model then has to generate. For LLaVA 1.5 this gives the label mask of its official
preprocessing (llava/train/train.py, preprocess_v1), which counts the tokens of each round instead.

The first stage's prompt is the image alone, and its answer the caption with a line break, as in
preprocess_plain (the conversation format `plain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from llava_tools.chat import prompt
from llava_tools.core.requests import Message
from llava_tools.engine.loading.checkpoint import LoadedModel
from llava_tools.engine.loading.processor import preprocess
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ImageError, ModelError, RequestError
from llava_tools.finetune.batch_sampler import MicroBatches
from llava_tools.finetune.records import Record
from llava_tools.images import ImageRef, open_image

IGNORED = -100
"""Label of a token without loss; torch's cross entropy skips it."""


@dataclass(frozen=True)
class TokenizedExample:
    """A conversation as the model trains on it.

    Attributes:
        ids: Token ids; an image is the image token, repeated.
        labels: Equal to `ids` at target tokens, `IGNORED` elsewhere.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def target_tokens(self) -> int:
        """Number of tokens with loss. The first token never has any: nothing predicts it."""
        return sum(label != IGNORED for label in self.labels[1:])

    def truncate(self, length: int) -> TokenizedExample:
        """Return its first `length` tokens, as the official training does with long ones."""
        return TokenizedExample(self.ids[:length], self.labels[:length])


def tokenize(
    messages: Sequence[Message], tokenizer: Tokenizer, image_token: int, image_tokens: int
) -> TokenizedExample:
    """Turn a conversation that ends with an answer into tokens and labels.

    Each image becomes the token id `image_token`, `image_tokens` times.

    Raises:
        ModelError: The tokenizer merges the end of a prompt with the start of its answer.
    """

    def encode(pieces: Sequence[prompt.Piece]) -> list[int]:
        return tokenizer.tokenize(pieces, lambda _: [image_token] * image_tokens)

    conversation = tokenizer.conversation
    ids = encode(prompt.training_example(messages, conversation))
    labels = [IGNORED] * len(ids)
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        prompt_ids = encode(prompt.build(messages[:index], conversation=conversation))
        start = len(prompt_ids)
        if ids[:start] != prompt_ids:
            raise ModelError(
                f"The tokenizer {type(tokenizer.tokenizer).__name__} merges tokens of prompts with "
                "tokens of their answers.",
                "Use a checkpoint in the llava-hf layout.",
            )
        end = ids.index(tokenizer.end_of_turn, start) + 1
        labels[start:end] = ids[start:end]
    return TokenizedExample(tuple(ids), tuple(labels))


def tokenize_caption(
    caption: str, tokenizer: Tokenizer, image_token: int, image_tokens: int
) -> TokenizedExample:
    """Turn a caption into tokens and labels: the start, the image, the caption, a line break.

    Loss is computed on the caption and the line break.
    """
    prompt_ids = [*tokenizer.bos, *[image_token] * image_tokens]
    answer = tokenizer.encode(f"{caption}\n", start=True)
    labels = [IGNORED] * len(prompt_ids) + answer
    return TokenizedExample((*prompt_ids, *answer), tuple(labels))


class TrainingBatch(NamedTuple):
    """Examples padded to one length.

    Attributes:
        ids: int [examples, length].
        labels: int [examples, length], `IGNORED` where there is no loss.
        mask: bool [examples, length], False at padding.
        pixels: float32 [images, 3, size, size], or None without images.
    """

    ids: Tensor
    labels: Tensor
    mask: Tensor
    pixels: Tensor | None

    @property
    def target_tokens(self) -> int:
        """Number of tokens with loss."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    def without_targets(self) -> TrainingBatch:
        """Return the batch without loss."""
        return self._replace(labels=torch.full_like(self.labels, IGNORED))


class TrainingDataset(Dataset[tuple[TokenizedExample, Tensor | None]]):
    """Records, in the order of the indices of `sample_batches`, as tokens and pixels.

    Examples are truncated to `max_length` tokens. With `captions`, they are those of the first
    stage. The model's weights are not kept.
    """

    def __init__(
        self,
        records: Sequence[Record],
        loaded: LoadedModel,
        max_length: int,
        *,
        captions: bool = False,
    ) -> None:
        config: Any = loaded.model.config
        self._captions = captions
        self._records, self._max_length = records, max_length
        self._tokenizer, self._processor = loaded.tokenizer, loaded.processor
        self._image_token, self._image_tokens = int(config.image_token_index), loaded.image_tokens

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> tuple[TokenizedExample, Tensor | None]:
        """Return a record's truncated example and its pixels, [3, size, size].

        Raises:
            ImageError: Its image cannot be used; the message names the record.
        """
        record = self._records[index]
        image, pixels = None, None
        if record.image is not None:
            try:
                image = open_image(record.image)
                pixels = preprocess(self._processor, [image])[0]
            except ImageError as error:
                message = f"The image of {record.name}: {error.message}"
                raise ImageError(message, error.hint) from error
        return self._tokenize(record, image).truncate(self._max_length), pixels

    def _tokenize(self, record: Record, image: ImageRef | None) -> TokenizedExample:
        sizes = (self._tokenizer, self._image_token, self._image_tokens)
        if self._captions:
            return tokenize_caption(record.turns[1], *sizes)
        return tokenize(record.messages(image), *sizes)

    def count_truncated(self) -> int:
        """Return how many records exceed `max_length`.

        A token is at least one byte, so most records need not be tokenized to know they fit.

        Raises:
            RequestError: Truncation would leave nothing of a record's answers.
        """
        placeholder = open_image(Image.new("RGB", (1, 1)))
        truncated = 0
        for record in self._records:
            texts = (record.system or "", *record.turns)
            most_tokens = sum(len(text.encode()) + 20 for text in texts)
            if 256 + self._image_tokens + most_tokens <= self._max_length:
                continue
            image = None if record.image is None else placeholder
            example = self._tokenize(record, image)
            if not example.truncate(self._max_length).target_tokens:
                raise RequestError(
                    f"The {record.name} is too long: its first answer starts after "
                    f"max_length={self._max_length:,} tokens.",
                    "Shorten its first turn, or raise max_length.",
                )
            truncated += len(example.ids) > self._max_length
        return truncated

    def load_batches(
        self,
        steps: Sequence[MicroBatches],
        rank: int,
        processes: int,
        workers: int,
        *,
        even: bool = False,
    ) -> Iterator[list[TrainingBatch]]:
        """Yield the micro-batches of process `rank` for each step; the last may have none.

        With `even` all processes have the same number: those with less repeat one without targets.
        """
        parts = [step[rank::processes] for step in steps]
        missing = [
            even and len(part) < len(step[::processes])
            for part, step in zip(parts, steps, strict=True)
        ]
        parts = [
            [*part, step[0]] if lacks else part
            for part, step, lacks in zip(parts, steps, missing, strict=True)
        ]
        sampler = [indices for part in parts for indices in part]
        loader = DataLoader(self, batch_sampler=sampler, collate_fn=collate, num_workers=workers)
        batches = iter(loader)
        for part, lacks in zip(parts, missing, strict=True):
            loaded = list(islice(batches, len(part)))
            if lacks:
                loaded[-1] = loaded[-1].without_targets()
            yield loaded


def collate(items: Sequence[tuple[TokenizedExample, Tensor | None]]) -> TrainingBatch:
    """Pad examples on the right and stack their images in order."""
    ids = [torch.tensor(example.ids) for example, _ in items]
    labels = [torch.tensor(example.labels) for example, _ in items]
    pixels = [image for _, image in items if image is not None]
    return TrainingBatch(
        pad_sequence(ids, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        pad_sequence([torch.ones_like(i, dtype=torch.bool) for i in ids], batch_first=True),
        torch.stack(pixels) if pixels else None,
    )
