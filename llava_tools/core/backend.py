"""The backend interface: what the engine, a remote server and the scripted double have in common.

A backend turns a `Request` into a `Stream` of `Chunk`s. Nothing above this file knows whether the
model runs in this process or behind a server. `streaming` holds what works for every backend.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef


class Stream(Iterator[Chunk], Protocol):
    """An answer on its way. Iterating gives `Chunk`s, the last one with a finish reason."""

    def close(self) -> None:
        """Stop the generation and end the iteration. Safe from any thread, and more than once."""
        ...


@runtime_checkable
class Backend(Protocol):
    """An engine, in-process or remote. All methods may be called from many threads at once."""

    @property
    def model_name(self) -> str:
        """Name of the model, as answers report it."""
        ...

    @property
    def context_length(self) -> int:
        """Tokens that prompt and answer may have together."""
        ...

    def stream(self, request: Request) -> Stream:
        """Start answering a request.

        Raises:
            RequestError: The request cannot be answered as it is.
            EngineError: The engine cannot take it.
        """
        ...

    def score(self, request: Request, labels: Sequence[str]) -> list[float]:
        """Return how likely each label is as the whole answer; nothing is sampled.

        Args:
            request: What is asked. Its sampling plays no part, and its constraint is only told to
                the model.
            labels: See `check_labels`.

        Returns:
            For each label the natural log-probability of its tokens and the end of the turn, <= 0,
            under the unmodified distribution.

        Raises:
            RequestError: The request or a label is not possible.
            EngineError: The engine cannot take it, or could not finish.
        """
        ...

    def count_tokens(self, request: Request) -> int:
        """Return how many tokens the request's prompt takes, images included."""
        ...

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of plain text, nothing in it read as structure."""
        ...

    def close(self) -> None:
        """Fail what is in flight and give the model's memory back. More than once is no error."""
        ...


class Encoder(Protocol):
    """What turns texts and images into vectors; called from many threads at once."""

    @property
    def model_name(self) -> str:
        """Name of the CLIP, as an index should remember it."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector of length one for each text."""
        ...

    def embed_images(self, images: Sequence[ImageRef]) -> list[list[float]]:
        """Return a vector of length one for each image."""
        ...


class EmbeddingModel(Encoder, Protocol):
    """An encoder that holds memory."""

    def close(self) -> None:
        """Give the memory back."""
        ...


def check_labels(labels: Sequence[str]) -> None:
    """Refuse what cannot be an answer: answers are text without white space around it.

    Raises:
        RequestError: No label, one that is blank or has white space around it, or one twice.
    """
    if isinstance(labels, str) or not labels:
        raise RequestError(f"labels={labels!r} is no list of labels.", "Give one or more strings.")
    for label in labels:
        if not isinstance(label, str) or not label or label != label.strip():
            raise RequestError(
                f"{label!r} cannot be a label.", "Give text without white space around it."
            )
        if labels.count(label) > 1:
            raise RequestError(f"The label {label!r} is given twice.", "Give it once.")
