"""LLaVA's conversation JSON: reads it, checks each record, and turns it into messages.

A file is a list of `{"id", "image", "conversations": [{"from": "human"|"gpt", "value"}]}`. A record
with an image has `<image>` in its first human turn; one without has no `image`. The official code
drops a bad record silently or fails without naming it; here, an error names it. As in the official
code, a first turn of `gpt` is dropped. A turn of `system` may precede all others: its text replaces
the system sentence of the conversation format.

The first stage reads captions in the same form, of which it takes the image and the answer only
(llava/train/train.py, preprocess_plain).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import cast

from llava_tools.core.requests import Message
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef
from llava_tools.images.opening import leads_to_another_computer
from llava_tools.images.sources import shorten

PLACEHOLDER = "<image>"
"""Stands for the image in the first human turn."""


MAX_BYTES = 8_000_000_000
"""Most bytes of a file; LLaVA 1.5's own has 1 GB."""


@dataclass(frozen=True)
class Record:
    """One conversation to train on.

    Attributes:
        name: For errors: its index in the file, and its id.
        turns: Of human and assistant alternately, from the human's first to the assistant's last;
            without the image's placeholder.
        image: Its file, or None.
        system: Text instead of the conversation format's system sentence, or None.
    """

    name: str
    turns: tuple[str, ...]
    image: Path | None = None
    system: str | None = None

    @cached_property
    def word_count(self) -> int:
        """Number of words in the system text and all turns."""
        return sum(len(text.split()) for text in (self.system or "", *self.turns))

    def messages(self, image: ImageRef | None) -> list[Message]:
        """Return the conversation, with its opened image or a substitute."""
        system = [] if self.system is None else [Message("system", (self.system,))]
        first = (self.turns[0],) if image is None else (image, self.turns[0])
        rest = [
            Message("user" if index % 2 == 0 else "assistant", (turn,))
            for index, turn in enumerate(self.turns[1:], 1)
        ]
        return [*system, Message("user", first), *rest]


def read_records(data: Path, images: Path | None, *, captions: bool = False) -> list[Record]:
    """Read a JSON file of conversations, whose `image` is relative to the folder `images`.

    The file may be untrusted, so a path that leaves the folder (by `..`, as an absolute path or
    through a link) is refused. With `captions`, turns about an image need no question.

    Raises:
        RequestError: The file cannot be read, or a record is wrong; the message names it.
        ImageError: An image is missing, or not in the folder.
    """
    items = _read_json(data)
    if items == []:
        raise RequestError(f"{shorten(data)} holds no record.", "Name LLaVA's conversation JSON.")
    if not isinstance(items, list):
        raise RequestError(
            f"{shorten(data)} is not a list of conversations.",
            'Write [{"id": …, "image": …, "conversations": [{"from": …, "value": …}, …]}, …].',
        )
    folder = None if images is None else images.expanduser().resolve()
    if folder is not None and not folder.is_dir():
        raise RequestError(
            f"There is no folder {shorten(images)}.", "Name the folder of the images."
        )
    return [_record(item, index, folder, captions) for index, item in enumerate(items)]


def _read_json(data: Path) -> object:
    content = _read_bytes(data)
    try:
        items: object = json.loads(content)
    except RecursionError:
        raise RequestError(
            f"{shorten(data)} is nested too deeply.", "Name LLaVA's conversation JSON."
        ) from None
    except ValueError as error:
        raise RequestError(
            f"{shorten(data)} is not JSON: {error}.", "Turn lines of objects into one list."
        ) from error
    return items


def _read_bytes(data: Path) -> bytes:
    try:
        if data.exists() and not data.is_file():  # a device may have no end
            raise RequestError(f"{shorten(data)} is no file.", "Name LLaVA's conversation JSON.")
        if (size := data.stat().st_size) > MAX_BYTES:
            raise RequestError(
                f"{shorten(data)} has {size / 1e9:.1f} GB; the limit is {MAX_BYTES / 1e9:.0f} GB.",
                "Split it, and train on one part after the other.",
            )
        return data.read_bytes()
    except OSError as error:
        raise RequestError(
            f"{shorten(data)} cannot be read: {error.strerror}.", "Name LLaVA's conversation JSON."
        ) from error


def read_captions(data: Path, images: Path | None) -> list[Record]:
    """Read a JSON file of captions: conversations of one turn about an image and one answer.

    Raises:
        RequestError: See `read_records`; or a record has no image, more than one answer, or a
            system text.
        ImageError: An image is missing, or not in the folder.
    """
    records = read_records(data, images, captions=True)
    for record in records:
        if record.image is None:
            raise _error(record.name, "has no image", "Captions belong to images: drop it.")
        if len(record.turns) != 2:
            hint = "Captions have one answer; conversations are for `train tune`."
            raise _error(record.name, f"has {len(record.turns) // 2} answers", hint)
        if record.system is not None:
            hint = "Captions are trained without one: drop it."
            raise _error(record.name, "has a system text", hint)
    return records


def _record(item: object, index: int, folder: Path | None, captions: bool) -> Record:
    name = f"record {index}"
    if not isinstance(item, dict):
        raise _error(name, f"is a {type(item).__name__}", "Write an object with conversations.")
    if item.get("id") is not None:
        name = f"{name} (id {shorten(item['id'])})"
    system, turns = _turns(item.get("conversations"), name)
    image = item.get("image")
    if image is None:
        if turns[0].startswith(f"{PLACEHOLDER}\n") or turns[0].endswith(f"\n{PLACEHOLDER}"):
            raise _error(name, f"has {PLACEHOLDER}, but no image", "Name its file in 'image'.")
        return Record(name, turns, system=system)
    if not isinstance(image, str) or not image.strip():
        raise _error(name, f"has the image {shorten(image)}", "Name one file, or leave it out.")
    turns = _without_placeholder(turns, name)
    if not turns[0] and not captions:
        raise _error(name, "has no question about its image", "Add one after the image.")
    return Record(name, turns, _image_path(image, folder, name), system)


def _turns(conversation: object, name: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the system text or None, and the turns, the human's first, the assistant's last."""
    if not isinstance(conversation, list):
        raise _error(name, "has no list 'conversations'", "Write its turns there.")
    turns: list[tuple[str, str]] = []
    for index, turn in enumerate(conversation):
        where = f"{name}, turn {index}"
        if not isinstance(turn, dict):
            raise _error(where, f"is a {type(turn).__name__}", "Write 'from' and 'value'.")
        speaker, value = turn.get("from"), turn.get("value")
        if speaker == "system" and index > 0:
            raise _error(where, "is from 'system'", "Put one system text before all other turns.")
        if speaker not in ("system", "human", "gpt"):
            raise _error(where, f"is from {shorten(speaker)}", "Use 'human' or 'gpt'.")
        if not isinstance(value, str) or not value.strip():
            raise _error(where, "is empty", "Write text in 'value', or drop the record.")
        try:
            value.encode()
        except UnicodeEncodeError:
            hint = "Correct its text."
            raise _error(where, "has a lone surrogate, which is no character", hint) from None
        turns.append((cast(str, speaker), value))
    system = turns.pop(0)[1] if turns and turns[0][0] == "system" else None
    if turns and turns[0][0] == "gpt":
        turns = turns[1:]
    for index, (speaker, _) in enumerate(turns):
        if speaker != ("human", "gpt")[index % 2]:
            raise _error(name, f"has two turns of {speaker!r} in a row", "Alternate the speakers.")
    if not turns or turns[-1][0] != "gpt":
        raise _error(name, "does not end with an answer", "Let the last turn be from 'gpt'.")
    return system, tuple(value for _, value in turns)


def _without_placeholder(turns: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Remove the placeholder: as in the official preprocessing, the image comes first."""
    first, *rest = turns
    if first.count(PLACEHOLDER) != 1 or any(PLACEHOLDER in turn for turn in rest):
        raise _error(
            name,
            f"has an image, and {PLACEHOLDER} not exactly once in its first human turn",
            f"Begin that turn with {PLACEHOLDER} and a line break.",
        )
    return (first.replace(PLACEHOLDER, "").strip(), *rest)


def _image_path(image: str, folder: Path | None, name: str) -> Path:
    """Return an image's file, which must exist in the folder."""
    if folder is None:
        raise _error(name, f"has the image {shorten(image)}", "Name the image folder (images=…).")
    outside = ImageError(
        f"The image {shorten(image)} of {name} leads out of {shorten(folder)}.",
        "Only images in that folder are read; name them relative to it.",
    )
    if leads_to_another_computer(image, [folder]):
        raise outside
    try:
        path = (folder / image).resolve()
        exists = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a null byte, too long a name, a loop of links
        path, exists = folder, False
    if not path.is_relative_to(folder):
        raise outside
    if not exists:
        raise ImageError(
            f"The image {shorten(image)} of {name} is not in {shorten(folder)}.",
            "Put it there, or name the right folder.",
        )
    return path


def _error(name: str, problem: str, hint: str) -> RequestError:
    return RequestError(f"The {name} {problem}.", hint)


def split_records(
    records: Sequence[Record], held_out: float, seed: int
) -> tuple[list[Record], list[Record]]:
    """Return the records to train on and those to hold out, in their order.

    Args:
        records: All records.
        held_out: Share to hold out, in [0, 1): at least one record, unless it is 0.
        seed: Of the choice.

    Raises:
        RequestError: None would be left to train on.
    """
    count = math.ceil(len(records) * held_out)
    if count == len(records):
        raise RequestError(
            f"held_out={held_out} of {len(records)} records leaves none to train on.",
            "Hold out less, or use more records.",
        )
    chosen = set(Random(f"held out {seed}").sample(range(len(records)), count))
    trained = [record for index, record in enumerate(records) if index not in chosen]
    return trained, [records[index] for index in sorted(chosen)]
