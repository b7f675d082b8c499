"""What a server can say of a prompt without answering it: its length, and how likely labels are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llava_tools.errors import ServerError
from llava_tools.remote.client import Client, no_answer
from llava_tools.remote.errors import told
from llava_tools.remote.protocol import ServedModel, plain

#: LLaVA 1.5's end of a turn.
_END = "</s>"
_VLLM_ONLY = {"add_special_tokens": True}


async def prompt_tokens(client: Client, served: ServedModel, said: list[dict[str, Any]]) -> int:
    """Return how many tokens a prompt has, by having it read and one token generated.

    Raises:
        ServerError: The server does not report usage.
    """
    answer = await client.complete(
        model=served.name,
        messages=said,
        max_tokens=1,
        temperature=0,
        extra_body=_VLLM_ONLY if served.vllm else {},
    )
    if answer.usage is None:
        raise no_answer("how long the prompt is")
    return int(answer.usage.prompt_tokens)


async def score(
    client: Client, served: ServedModel, said: list[dict[str, Any]], labels: Sequence[str]
) -> list[float]:
    """Return the log-probability of each label as the whole answer.

    The label stands in the prompt as the assistant's words, and vLLM reports the log-probability of
    every token of a prompt.

    Raises:
        ServerError: The server is no vLLM, or its tokens do not spell the label.
    """
    if not served.vllm:
        raise no_answer("the probabilities of a prompt's tokens")
    begin = await prompt_tokens(client, served, said)
    return list(
        await asyncio.gather(*(_label(client, served, said, begin, label) for label in labels))
    )


async def _label(
    client: Client, served: ServedModel, said: list[dict[str, Any]], begin: int, label: str
) -> float:
    answer = await client.complete(
        model=served.name,
        messages=[*said, {"role": "assistant", "content": plain(label) + _END}],
        max_tokens=1,
        temperature=0,
        extra_body={
            **_VLLM_ONLY,
            "add_generation_prompt": False,
            "continue_final_message": True,
            "prompt_logprobs": 0,
        },
    )
    reported = getattr(answer, "prompt_logprobs", None)
    if not isinstance(reported, list):
        raise no_answer("the probabilities of a prompt's tokens")
    with told(client.url):
        tokens = [next(iter(entry.values())) for entry in reported[begin:]]
        spelled = "".join(str(token["decoded_token"]) for token in tokens)
        total = sum(float(token["logprob"]) for token in tokens)
    if "".join(spelled.split()) != "".join(plain(label).split()) + _END:
        raise ServerError(
            f"The server reads the label {label!r} as {spelled!r}.",
            "Serve the model with this project's chat template.",
        )
    return total
