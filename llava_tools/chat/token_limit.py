"""How many new tokens a request may have: its own limit, or what the context leaves."""

from __future__ import annotations

from collections.abc import Iterable

from llava_tools.core.requests import DEFAULT_MAX_TOKENS
from llava_tools.errors import ContextOverflowError


def check_text(pieces: Iterable[object], most: int, context_length: int) -> None:
    """Refuse a prompt with more than `most` characters of text, before it is encoded.

    Raises:
        ContextOverflowError: It has more.
    """
    length = sum(len(piece) for piece in pieces if isinstance(piece, str))
    if length > most:
        raise ContextOverflowError(
            f"The text has {length:,} characters. More than {most:,} are not encoded: the model's "
            f"context holds {context_length} tokens.",
            "Send less text.",
        )


def max_new_tokens(
    prompt_tokens: int, images: int, image_tokens: int, max_tokens: int | None, context_length: int
) -> int:
    """Return the maximum number of new tokens of a request.

    `prompt_tokens` counts the images too; each image takes `image_tokens`. `max_tokens` is the
    request's limit; None for the default, or the rest of the context if that is less.

    Raises:
        ContextOverflowError: The request exceeds the context; the message has all figures.
    """
    new_tokens = 1 if max_tokens is None else max_tokens
    if prompt_tokens + new_tokens > context_length:
        text_tokens = prompt_tokens - images * image_tokens
        raise ContextOverflowError(
            f"The request needs {prompt_tokens + new_tokens} tokens, but the model's context holds "
            f"{context_length}: {images} image(s) at {image_tokens} tokens each, {text_tokens} of "
            f"text, {new_tokens} for the answer.",
            "Send fewer images, less text, or a smaller max_tokens.",
        )
    left = context_length - prompt_tokens
    return min(DEFAULT_MAX_TOKENS, left) if max_tokens is None else max_tokens
