"""Token counts of prompts and log-probabilities of labels, without generating an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llava_tools.core.unicode import well_formed
from llava_tools.errors import RequestError, ServerError
from llava_tools.remote.client import Client
from llava_tools.remote.errors import not_reported
from llava_tools.remote.protocol import (
    ServedModel,
    escape_special_tokens,
    log_probability,
    parse_usage,
)

_VLLM_FIELDS = {"add_special_tokens": True}


async def count_tokens(client: Client, model: ServedModel, messages: list[dict[str, Any]]) -> int:
    """Return how many tokens a prompt has; the server prefills it and generates one token."""
    answer = await client.complete(model.name, messages, **(_VLLM_FIELDS if model.is_vllm else {}))
    with client.translated_errors():
        usage = parse_usage(answer.get("usage") or {}, 0)
    if not usage.prompt_tokens:
        raise not_reported("how long the prompt is")
    return usage.prompt_tokens


async def reports_logprobs(client: Client, model: str, messages: list[dict[str, Any]]) -> bool:
    """Return whether a server reports log-probabilities; some refuse the field, or ignore it."""
    try:
        answer = await client.complete(model, messages, logprobs=True, top_logprobs=1)
    except RequestError:
        return False
    with client.translated_errors():
        return bool((answer["choices"][0].get("logprobs") or {}).get("content"))


async def score(
    client: Client, model: ServedModel, messages: list[dict[str, Any]], labels: Sequence[str]
) -> list[float]:
    """Return the log-probability of each label as the whole answer.

    Each label is sent as the assistant's answer at the end of the prompt, since vLLM reports the
    log-probability of every token of a prompt. `ServerError` if the server is not a vLLM, or if
    the tokens that it reports do not spell the label.
    """
    if not model.is_vllm:
        raise not_reported("the probabilities of a prompt's tokens")
    prompt_length = await count_tokens(client, model, messages)
    scores = (_score_label(client, model, messages, prompt_length, label) for label in labels)
    return list(await asyncio.gather(*scores))


async def _score_label(
    client: Client, model: ServedModel, messages: list[dict[str, Any]], start: int, label: str
) -> float:
    """Return a label's log-probability; its tokens begin at position `start` of the prompt."""
    expected = escape_special_tokens(well_formed(label)) + model.conversation.end_of_turn.text
    answer = await client.complete(
        model.name,
        [*messages, {"role": "assistant", "content": expected}],
        **_VLLM_FIELDS,
        add_generation_prompt=False,
        continue_final_message=True,
        prompt_logprobs=0,
    )
    positions = answer.get("prompt_logprobs")
    if not isinstance(positions, list):
        raise not_reported("the probabilities of a prompt's tokens")
    with client.translated_errors():
        tokens = [_token(position) for position in positions[start:]]
        text = "".join(str(token["decoded_token"]) for token in tokens)
        total = sum(log_probability(token["logprob"]) for token in tokens)
    if "".join(text.split()) != "".join(expected.split()):
        raise ServerError(
            f"The server reads the label {label!r} as {text!r}.",
            "Serve the model with this project's chat template.",
        )
    return total


def _token(position: Any) -> Any:
    """Return the token at a position of the prompt, the first of those reported there."""
    for token in position.values():
        return token
    raise ValueError("a position of the prompt has no token")
