"""Ollama's `options` as sampling parameters.

What only tunes the runner is ignored, since here the server's own options determine it. Ways of
sampling that do not exist here are errors, and so are unknown names, which Ollama ignores with a
line in its log: a misspelled option would have no effect otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_tools.core.option_names import normalize
from llava_tools.core.requests import SamplingParams
from llava_tools.errors import ContextOverflowError, RequestError
from llava_tools.options import SAMPLING_OPTIONS, sampling_params

#: Options that change no answer here. `num_ctx`: a prompt that exceeds the server's context is an
#: error. `num_keep`: prompts are never cut. `repeat_last_n`, `penalize_newline`: the penalty is
#: over all of the prompt and the answer. The two of Mirostat: `mirostat` itself is refused.
HARMLESS = frozenset(
    {
        "numa",
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "low_vram",
        "f16_kv",
        "logits_all",
        "vocab_only",
        "use_mmap",
        "use_mlock",
        "embedding_only",
        "num_thread",
        "num_keep",
        "repeat_last_n",
        "penalize_newline",
        "mirostat_tau",
        "mirostat_eta",
    }
)
#: Values at which a way of sampling that does not exist here does nothing.
_NEUTRAL: Mapping[str, float] = {"min_p": 0, "typical_p": 1, "tfs_z": 1}
_SYNONYMS = {"num_predict": "max_tokens", "repeat_penalty": "repetition_penalty"}
_NAMES = [name for name in SAMPLING_OPTIONS if "logprobs" not in name]


def read_options(
    options: Mapping[str, Any], logprobs: bool, top_logprobs: int
) -> tuple[SamplingParams, bool]:
    """Return sampling parameters, and whether the answer may fill the context.

    Args:
        options: Ollama's; None means the default.
        logprobs: Whether to return log-probabilities.
        top_logprobs: Number of alternatives for every token.

    Raises:
        RequestError: An unknown option, or an impossible value.
    """
    named = {
        name: value
        for name, value in options.items()
        if name not in HARMLESS and not (name in _NEUTRAL and value == _NEUTRAL[name])
    }
    values = normalize(named, _NAMES, "options", _SYNONYMS)
    max_tokens, top_k, seed = (_number(values, name) for name in ("max_tokens", "top_k", "seed"))
    fills_context = max_tokens is not None and max_tokens < 1  # -1 and -2 in Ollama
    values |= {
        "max_tokens": None if fills_context else max_tokens,
        "top_k": None if top_k is None else max(top_k, 0),
        "seed": None if seed is not None and seed < 0 else seed,
        "logprobs": logprobs or None,
        "top_logprobs": top_logprobs or None,
    }
    return sampling_params(values, "options"), fills_context


def rest_of_context(prompt_tokens: int, context_length: int) -> int:
    """Return the number of tokens that a prompt leaves for the answer.

    Raises:
        ContextOverflowError: It leaves none.
    """
    if prompt_tokens >= context_length:
        raise ContextOverflowError(
            f"The prompt has {prompt_tokens} tokens, but the model's context holds "
            f"{context_length}, those of the answer included.",
            "Send fewer images or less text.",
        )
    return context_length - prompt_tokens


def _number(values: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number; JSON may write it as 40.0.

    Raises:
        RequestError: It is none.
    """
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise RequestError(f"{name}={value!r:.80} is not possible.", "Use a whole number.")
    return value
