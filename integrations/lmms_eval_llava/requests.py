"""lmms-eval's messages and generation arguments as this project's requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llava_tools.core.requests import Message, SamplingParams
from llava_tools.errors import RequestError, refuse_unknown
from llava_tools.images import ImageRef, open_image

#: Arguments that are honoured. `image_aspect_ratio` is a hint for LLaVA-NeXT, and without effect:
#: images are padded, as LLaVA 1.5 was trained.
_KNOWN = (
    "until",
    "max_new_tokens",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "seed",
    "num_beams",
    "image_aspect_ratio",
)


def sampling_params(arguments: Mapping[str, Any]) -> SamplingParams:
    """Return sampling parameters for the generation arguments of a task.

    Without `do_sample`, a temperature above 0 samples; `do_sample=False` is greedy whatever the
    temperature, as in transformers, and so is `top_p=0`. `until` ends an answer and is left out.

    Raises:
        RequestError: An argument is unknown, or its value not possible: beams, for one.
    """
    refuse_unknown(arguments, _KNOWN, "generation_kwargs")
    values = {name: value for name, value in arguments.items() if value is not None}
    if values.get("num_beams", 1) != 1:
        raise RequestError(
            f"num_beams={values['num_beams']!r} is not possible: there is no beam search.",
            "Set it to 1, for instance with --gen_kwargs num_beams=1.",
        )
    until = values.get("until", [])
    temperature = values.get("temperature", 1.0 if values.get("do_sample") else 0.0)
    top_p = values.get("top_p", 1.0)
    samples = values.get("do_sample", temperature > 0) and top_p != 0
    return SamplingParams(
        max_tokens=values.get("max_new_tokens"),
        temperature=temperature if samples else 0.0,
        top_p=top_p or 1.0,
        top_k=values.get("top_k", 0),
        stop=(until,) if isinstance(until, str) else tuple(until),
        seed=values.get("seed"),
        repetition_penalty=values.get("repetition_penalty", 1.0),
    )


def conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    """Return a task's messages, whose content is a list of texts and images.

    Raises:
        RequestError: There are none, or one has a video or sound.
        ImageError: An image cannot be read.
    """
    if not messages:
        raise RequestError("The task wrote no messages.", "Report it to the task's authors.")
    return tuple(
        Message(message["role"], tuple(_part(item) for item in message["content"]))
        for message in messages
    )


def user_turn(text: str, visuals: Sequence[Any]) -> tuple[Message, ...]:
    """Return a question about images, which stand first, as LLaVA 1.5 was trained.

    Raises:
        ImageError: An image cannot be read, or is a video's path.
    """
    return (Message("user", (*map(open_image, visuals), text)),)


def _part(item: Mapping[str, Any]) -> str | ImageRef:
    match item["type"]:
        case "text":
            return str(item["text"])
        case "image":
            return open_image(item["url"])
        case kind:
            raise RequestError(
                f"The task has content of the type {kind!r}.", "LLaVA 1.5 takes texts and images."
            )
