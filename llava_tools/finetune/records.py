"""LLaVA's conversation JSON: read, checked record by record, and turned into messages.

A file is a list of `{"id", "image", "conversations": [{"from": "human"|"gpt", "value"}]}`; the
image's place is `<image>` in the first human turn, and it has no `image` where there is none.
What the official code does quietly with a bad record (fail without its name, learn nothing from
it) is an error here that names it. As there, a first turn of `gpt` is left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from llava_tools.core.requests import Message
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.sources import short

#: Where an image stands in a human's first words.
PLACEHOLDER = "<image>"


@dataclass(frozen=True)
class Record:
    """One conversation that can be learned from.

    Attributes:
        name: For messages: its place in the file, and its id.
        turns: What human and assistant say by turns, the human first, the assistant last; without
            the image's placeholder.
        image: Its file, or None.
    """

    name: str
    turns: tuple[str, ...]
    image: Path | None = None

    @cached_property
    def words(self) -> int:
        """How many words are said: what decides whom it is learned with."""
        return sum(len(turn.split()) for turn in self.turns)

    def look(self) -> ImageRef | None:
        """Read and check the image, if there is one.

        Raises:
            ImageError: It cannot be used; the message names the record.
        """
        try:
            return None if self.image is None else open_image(self.image)
        except ImageError as error:
            raise self.about(error) from error

    def about(self, error: ImageError) -> ImageError:
        """Return an error of the image that names the record."""
        return ImageError(f"The image of {self.name}: {error.message}", error.hint)

    def messages(self, image: ImageRef | None) -> list[Message]:
        """Return the conversation, with what `look` returned or something in its place."""
        first = (self.turns[0],) if image is None else (image, self.turns[0])
        rest = [
            Message("user" if index % 2 == 0 else "assistant", (turn,))
            for index, turn in enumerate(self.turns[1:], 1)
        ]
        return [Message("user", first), *rest]


def read_records(data: Path, images: Path | None) -> list[Record]:
    """Read a file of conversations.

    Args:
        data: The JSON file.
        images: Folder that `image` is looked for in. What leads out of it, by `..`, as an absolute
            path or through a link, is refused: the file may come from a stranger.

    Raises:
        RequestError: The file cannot be read, or one of its records is wrong; the message names it.
        ImageError: An image is not there, or not in the folder.
    """
    try:
        read: object = json.loads(data.read_bytes())
    except OSError as error:
        raise RequestError(
            f"{short(data)} cannot be read: {error.strerror}.", "Name LLaVA's conversation JSON."
        ) from error
    except ValueError as error:
        raise RequestError(
            f"{short(data)} is no JSON: {error}.", "A file of one object a line is no list yet."
        ) from error
    if not isinstance(read, list) or not read:
        raise RequestError(
            f"{short(data)} is no list of conversations.",
            'Write [{"id": …, "image": …, "conversations": [{"from": …, "value": …}, …]}, …].',
        )
    folder = None if images is None else images.expanduser().resolve()
    if folder is not None and not folder.is_dir():
        raise RequestError(f"There is no folder {short(images)}.", "Name the pictures' folder.")
    return [_record(item, index, folder) for index, item in enumerate(read)]


def _record(item: object, index: int, folder: Path | None) -> Record:
    name = f"record {index}"
    if not isinstance(item, dict):
        raise _wrong(name, f"is a {type(item).__name__}", "Write an object with conversations.")
    if item.get("id") is not None:
        name = f"{name} (id {short(item['id'])})"
    turns = _turns(item.get("conversations"), name)
    image = item.get("image")
    if image is None:
        if turns[0].startswith(f"{PLACEHOLDER}\n") or turns[0].endswith(f"\n{PLACEHOLDER}"):
            raise _wrong(name, f"has {PLACEHOLDER}, but no image", "Name its file in 'image'.")
        return Record(name, turns)
    if not isinstance(image, str) or not image.strip():
        raise _wrong(name, f"has the image {short(image)}", "Name one file, or leave it out.")
    return Record(name, _without_placeholder(turns, name), _inside(image, folder, name))


def _turns(conversation: object, name: str) -> tuple[str, ...]:
    """Return what is said by turns, human first and assistant last."""
    if not isinstance(conversation, list):
        raise _wrong(name, "has no list 'conversations'", "Write its turns there.")
    said: list[tuple[str, str]] = []
    for place, turn in enumerate(conversation):
        where = f"{name}, turn {place}"
        if not isinstance(turn, dict):
            raise _wrong(where, f"is a {type(turn).__name__}", "Write 'from' and 'value'.")
        speaker, value = turn.get("from"), turn.get("value")
        if speaker not in ("human", "gpt"):
            raise _wrong(where, f"is from {short(speaker)}", "Use 'human' or 'gpt'.")
        if not isinstance(value, str) or not value.strip():
            raise _wrong(where, "says nothing", "Write words in 'value', or drop the record.")
        said.append((cast(str, speaker), value))
    if said and said[0][0] == "gpt":
        said = said[1:]
    for place, (speaker, _) in enumerate(said):
        if speaker != ("human", "gpt")[place % 2]:
            raise _wrong(name, f"has two turns of {speaker!r} in a row", "Let them alternate.")
    if not said or said[-1][0] != "gpt":
        raise _wrong(name, "does not end with an answer", "Let the last turn be from 'gpt'.")
    return tuple(value for _, value in said)


def _without_placeholder(turns: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Take the placeholder out, as the official preprocessing does to put the image in front."""
    first, *rest = turns
    if first.count(PLACEHOLDER) != 1 or any(PLACEHOLDER in turn for turn in rest):
        raise _wrong(
            name,
            f"has an image, and {PLACEHOLDER} not exactly once in its first human turn",
            f"Begin that turn with {PLACEHOLDER} and a line break.",
        )
    words = first.replace(PLACEHOLDER, "").strip()
    if not words:
        raise _wrong(name, "asks nothing about its image", "Write a question behind the image.")
    return (words, *rest)


def _inside(image: str, folder: Path | None, name: str) -> Path:
    """Return an image's file, which has to be there and in the folder."""
    if folder is None:
        raise _wrong(name, f"has the image {short(image)}", "Name the pictures' folder (images).")
    try:
        path = (folder / image).resolve()
        there = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a null byte, too long a name, a loop of links
        path, there = folder, False
    if not path.is_relative_to(folder):
        raise ImageError(
            f"The image {short(image)} of {name} leads out of {short(folder)}.",
            "Only pictures in that folder are read; name them relative to it.",
        )
    if not there:
        raise ImageError(
            f"The image {short(image)} of {name} is not in {short(folder)}.",
            "Put it there, or name the right folder.",
        )
    return path


def _wrong(name: str, what: str, hint: str) -> RequestError:
    return RequestError(f"The {name} {what}.", hint)
