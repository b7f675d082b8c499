"""From records to tensors: what a process learns in its steps, read ahead where asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from llava_tools.engine.loading.checkpoint import Loaded, preprocess
from llava_tools.errors import ImageError, RequestError
from llava_tools.finetune.batches import Step
from llava_tools.finetune.labels import IGNORED, Lesson, write
from llava_tools.finetune.records import Record
from llava_tools.images import open_image

Item = tuple[Lesson, Tensor | None]


@dataclass(frozen=True)
class Batch:
    """Lessons padded to one length.

    Attributes:
        ids: int [lessons, length].
        labels: int [lessons, length], `IGNORED` where nothing is learned.
        seen: bool [lessons, length], False where it is padded.
        pixels: float32 [images, 3, size, size], or None without images.
    """

    ids: Tensor
    labels: Tensor
    seen: Tensor
    pixels: Tensor | None

    @property
    def learned(self) -> int:
        """How many tokens are learned."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        pixels = None if self.pixels is None else self.pixels.to(device)
        return Batch(self.ids.to(device), self.labels.to(device), self.seen.to(device), pixels)


class TrainingDataset(Dataset[Item]):
    """Lessons and pixels of records, by their places in the list.

    Args:
        records: All of them.
        loaded: Whose tokenizer and image processor are used; its weights are not kept.
        max_length: Tokens of a lesson beyond it are cut off.
    """

    def __init__(self, records: Sequence[Record], loaded: Loaded, max_length: int) -> None:
        config: Any = loaded.model.config
        self._records, self._max_length = records, max_length
        self._text, self._processor = loaded.text, loaded.processor
        self._image = (int(config.image_token_index), loaded.image_tokens)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: int) -> Item:
        """Return a record's lesson, cut to length, and its pixels, [3, size, size].

        Raises:
            ImageError: Its image cannot be used.
        """
        record = self._records[place]
        image = record.look()
        lesson = write(record.messages(image), self._text, *self._image).cut(self._max_length)
        if image is None:
            return lesson, None
        try:
            return lesson, preprocess(self._processor, [image])[0]
        except ImageError as error:
            raise record.about(error) from error

    def check(self) -> int:
        """Look at every record that may be too long, and return how many will be cut.

        No token is shorter than a byte, so most records need not be tokenized to be known short.

        Raises:
            RequestError: A record is so long that none of its answers would be left.
        """
        blank = open_image(Image.new("RGB", (1, 1)))
        cut = 0
        for record in self._records:
            bytes_ = sum(len(turn.encode()) + 20 for turn in record.turns)
            if 256 + self._image[1] + bytes_ <= self._max_length:
                continue
            messages = record.messages(None if record.image is None else blank)
            lesson = write(messages, self._text, *self._image)
            if not lesson.cut(self._max_length).learned:
                raise RequestError(
                    f"The {record.name} is too long: its first answer begins behind the "
                    f"{self._max_length:,} tokens that are learned from at most.",
                    "Shorten its first turn, or raise max_length.",
                )
            cut += len(lesson.ids) > self._max_length
        return cut

    def read(
        self, steps: Sequence[Step], rank: int, size: int, workers: int
    ) -> Iterator[list[Batch]]:
        """Give what process `rank` of `size` learns in each step; it may be nothing in the last."""
        mine = [step.micro_batches[rank::size] for step in steps]
        loader = DataLoader(
            self,
            batch_sampler=[list(micro) for share in mine for micro in share],
            collate_fn=collate,
            num_workers=workers,
        )
        batches = iter(loader)
        for share in mine:
            yield list(islice(batches, len(share)))


def collate(items: Sequence[Item]) -> Batch:
    """Pad lessons on their right and stack their images in order."""
    ids = [torch.tensor(lesson.ids) for lesson, _ in items]
    labels = [torch.tensor(lesson.labels) for lesson, _ in items]
    pixels = [pixel for _, pixel in items if pixel is not None]
    return Batch(
        pad_sequence(ids, batch_first=True),
        pad_sequence(labels, batch_first=True, padding_value=IGNORED),
        pad_sequence([torch.ones_like(i, dtype=torch.bool) for i in ids], batch_first=True),
        torch.stack(pixels) if pixels else None,
    )
