"""Perplexity of a language model on a fixed text, through the interface of all backends.

A backend scores a text as a whole answer, one forced token after another, so the figure includes
every step that generation has: quantized weights, the KV cache, the attention of single tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.real_language_model.checkpoint import SYSTEM
from llava_tools import Message, Request
from llava_tools.core.backend import Backend

#: Texts written for this purpose, as independent answers.
PASSAGES = Path(__file__).with_name("passages.txt").read_text("utf-8").strip().split("\n\n")
QUESTION = "Tell me something about the world in a few sentences."


def perplexity(backend: Backend, passages: Sequence[str] = PASSAGES) -> float:
    """Return the perplexity of passages as answers to one question, their ends included.

    Args:
        backend: The model, e.g. `Llava(folder).backend`.
        passages: Texts without surrounding white space.
    """
    messages = (Message("system", (SYSTEM,)), Message("user", (QUESTION,)))
    logprobs = backend.score(Request(messages), passages)
    tokens = sum(len(backend.token_ids(passage)) + 1 for passage in passages)
    return math.exp(-sum(logprobs) / tokens)


@torch.inference_mode()
def plain_perplexity(model: Any, tokenizer: Any, passages: Sequence[str] = PASSAGES) -> float:
    """Return the same figure from a model's own forward pass over each prompt and passage.

    Args:
        model: A model of transformers with a `logits` output.
        tokenizer: Its tokenizer, whose chat template has `SYSTEM` as the system sentence.
        passages: Texts without special tokens.
    """
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=False
    )
    total = count = 0.0
    for passage in passages:
        answer = [*tokenizer.encode(passage), tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
        logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
        total += logprobs.gather(1, torch.tensor(answer)[:, None]).sum().item()
        count += len(answer)
    return math.exp(-total / count)
