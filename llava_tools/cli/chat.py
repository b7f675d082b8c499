"""`llava-tools chat`: several questions about images, line by line, with their history."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from llava_tools.cli.inputs import STDIN, expand_patterns, open_images
from llava_tools.cli.options import add_answer_flags, add_command, get_flags
from llava_tools.cli.output import write, write_error, write_note, write_stream
from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Message, SamplingParams
from llava_tools.errors import ContextOverflowError, EngineError, RequestError
from llava_tools.images import ImageRef
from llava_tools.model import Llava
from llava_tools.options import TINY_NOTICE, EngineOptions

_COMMANDS = ("/image", "/clear", "/exit")
_HELP = "/image PATH adds an image, /clear forgets the conversation, /exit or end of file ends it."


def add(commands: Any) -> None:
    """Add the command to the subparsers of `llava-tools`."""
    chat = add_command(
        commands,
        "chat",
        _chat,
        "ask several questions in a row, in a terminal",
        ("chat photo.jpg", "chat --model 7b --system 'Answer in one word.'"),
        "Read questions line by line, and answer each with the conversation so far. Ctrl-C stops "
        f"an answer. {_HELP}",
        usage="%(prog)s [FLAG ...] [IMAGE ...]",
    )
    chat.add_argument("images", nargs="*", metavar="IMAGE", help="paths, patterns or URLs")
    add_answer_flags(chat)


def _chat(arguments: argparse.Namespace) -> int:
    if STDIN in arguments.images:
        raise RequestError("chat reads questions from standard input, not images.", "Name a file.")
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    with Llava(**get_flags(arguments, EngineOptions)) as model:
        conversation = _Conversation(arguments, model)
        conversation.add_images(arguments.images)
        assert model.backend  # loads the model before the first question
        if model.options.model == "tiny" and model.options.base_url is None:
            write_note(TINY_NOTICE)
        if is_terminal:
            write_note(_HELP)
        for line in _lines(is_terminal):
            if line == "/exit":
                break
            try:
                conversation.run(line)
            except (RequestError, EngineError) as error:
                if not is_terminal:
                    raise
                hint = " Type /clear." if isinstance(error, ContextOverflowError) else ""
                write_error(f"error: {error}{hint}")
    return 0


def _lines(is_terminal: bool) -> Iterator[str]:
    """Yield the lines that are not empty, with a prompt in a terminal."""
    if is_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401  # lets input() edit lines, and recall earlier ones
    while sys.stdin is not None:
        try:
            line = input("> " if is_terminal else "").strip()
        except EOFError:
            if is_terminal:
                write("")
            return
        if line:
            yield line


class _Conversation:
    """The messages so far, and the images that the next question is about."""

    def __init__(self, arguments: argparse.Namespace, model: Llava) -> None:
        self._model = model
        self._system = arguments.system
        self._allowed_hosts = arguments.allowed_hosts
        self._sampling = get_flags(arguments, SamplingParams)
        self._history: list[Message] = []
        self._images: list[ImageRef] = []

    def run(self, line: str) -> None:
        """Answer a question, or run a command of the conversation."""
        name, _, argument = line.partition(" ")
        if name == "/image":
            path = argument.strip().strip("\"'")
            if not path:
                raise RequestError("/image names no file.", "Type: /image PATH")
            self.add_images([path])
        elif name == "/clear":
            self._history, self._images = [], []
        elif re.fullmatch(r"/[a-z]+", name):
            near = get_close_matches(name, _COMMANDS, n=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise RequestError(f"There is no command {name}.", hint + _HELP)
        else:
            self._ask(line)

    def add_images(self, words: list[str]) -> None:
        """Add images to the next question."""
        images = open_images(expand_patterns(words), self._allowed_hosts)
        self._images += images
        for image in images:
            width, height = image.size
            write_note(f"{image.source}, {width} x {height} pixels")

    def _ask(self, question: str) -> None:
        stream = self._model.stream(
            question, self._images, history=self._history, system=self._system, **self._sampling
        )
        chunks: list[Chunk] = []
        try:
            write_stream(stream, chunks)
        except KeyboardInterrupt:
            write("")
        answer = "".join(chunk.text for chunk in chunks)
        self._history.append(Message("user", (*self._images, question)))
        self._history.append(Message("assistant", (answer,)))
        self._images = []
