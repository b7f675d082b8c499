"""Names of options in LangChain's and LlamaIndex's other packages, in transformers and in Ollama.

`SYNONYMS` are those that mean the same as an option here. `HINTS` say what to use instead of
others; a value in `NEUTRAL` changes nothing there, nor here. Sources: the signatures of
langchain-ollama 1.1, langchain-openai 1.7, langchain-huggingface 1.2, llama-index-llms-ollama 0.11,
-openai-like 0.8, -huggingface 0.8, and `GenerationConfig` of transformers 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_tools.errors import RequestError

#: From peers' names to options here.
SYNONYMS = {
    "model_name": "model",
    "model_id": "model",
    "num_ctx": "context_length",
    "context_window": "context_length",
    "max_model_len": "context_length",
    "num_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "stop_strings": "stop",
    "torch_dtype": "dtype",
    "device_map": "device",
    "openai_api_base": "base_url",
    "api_base": "base_url",
    "openai_api_key": "api_key",
    "openai_proxy": "proxy",
    "headers": "default_headers",
    "async_http_client": "http_async_client",
    "request_timeout": "timeout",
}
#: transformers' flags, and the `quantization` that they mean.
QUANTIZATIONS = {"load_in_4bit": "4bit", "load_in_8bit": "8bit"}
#: Dicts of further options.
WRAPPERS = frozenset(
    {"model_kwargs", "generate_kwargs", "pipeline_kwargs", "additional_kwargs", "options"}
)

_REPETITION = "Use repetition_penalty, which is above 1 for less repetition."
_NO_REASONING = "Leave it out: LLaVA has no reasoning mode."
_SAMPLING = "Use temperature, top_p and top_k; there are no other ways of sampling."
_JSON = (
    "Bind a schema instead: with_structured_output(…) in LangChain, as_structured_llm(…) in "
    "LlamaIndex, or response_format."
)
_SEVERAL = "Send the request several times with different seeds; they run in one batch."
_HTTP = "Use default_headers, proxy, timeout or http_async_client."
_AUTOMATIC = "Leave it out: the engine sees to it."

#: From peers' names without a counterpart to what to do.
HINTS = {
    "client_kwargs": _HTTP,
    "async_client_kwargs": _HTTP,
    "sync_client_kwargs": _HTTP,
    "default_query": _HTTP,
    "client": _HTTP,
    "async_client": _HTTP,
    "openai_client": _HTTP,
    "async_openai_client": _HTTP,
    "http_socket_options": _HTTP,
    "http_client": "Use http_async_client, an httpx.AsyncClient: all requests run on one event "
    "loop, those of invoke too.",
    "openai_organization": 'Use default_headers={"OpenAI-Organization": …}.',
    "organization": 'Use default_headers={"OpenAI-Organization": …}.',
    "stream_usage": "Leave it out: the last chunk of a stream always has the usage.",
    "stream_chunk_timeout": "Use timeout, the seconds of a whole answer.",
    "format": _JSON,
    "json_mode": _JSON,
    "quantization_config": "Use quantization='4bit' or '8bit'.",
    "num_gpu": "Use device='cuda' or device='cpu'.",
    "num_thread": "Set the environment variable OMP_NUM_THREADS.",
    "presence_penalty": _REPETITION,
    "frequency_penalty": _REPETITION,
    "repeat_last_n": "Leave it out: repetition_penalty is over the prompt and the whole answer.",
    "no_repeat_ngram_size": _REPETITION,
    "mirostat": _SAMPLING,
    "mirostat_eta": _SAMPLING,
    "mirostat_tau": _SAMPLING,
    "tfs_z": _SAMPLING,
    "min_p": _SAMPLING,
    "typical_p": _SAMPLING,
    "num_beams": _SAMPLING,
    "penalty_alpha": _SAMPLING,
    "logit_bias": "Constrain the answer instead, by a schema with an enum or by choose(…).",
    "num_return_sequences": _SEVERAL,
    "n": _SEVERAL,
    "should_use_structured_outputs": "Leave it out: schemas are enforced while the model answers.",
    "reasoning": _NO_REASONING,
    "reasoning_effort": _NO_REASONING,
    "thinking": _NO_REASONING,
    "verbosity": _NO_REASONING,
    "use_responses_api": "Leave it out: servers get chat completions.",
    "stopping_ids": "Use stop, a list of strings.",
    "query_wrapper_prompt": "Leave it out: prompts are those of the model's conversation format.",
    "max_length": "Use max_tokens, which counts the answer's tokens only.",
    "is_chat_model": "Leave it out: LLaVA is a chat model.",
    "is_function_calling_model": "Leave it out: LLaVA calls tools.",
    "trust_remote_code": "Leave it out: no code of a checkpoint is run, ever.",
    "attn_implementation": _AUTOMATIC,
    "use_cache": _AUTOMATIC,
    "low_cpu_mem_usage": _AUTOMATIC,
    "pad_token_id": _AUTOMATIC,
    "eos_token_id": _AUTOMATIC,
    "return_full_text": "Leave it out: an answer never holds its prompt.",
    "batch_size": "Leave it out: concurrent requests share a batch (max_concurrent_requests).",
    "tokenizer_name": "Leave it out: the checkpoint's own tokenizer is used.",
    "tokenizer_kwargs": "Leave it out: the checkpoint's own tokenizer is used.",
    "tokenizer": "Leave it out: the checkpoint's own tokenizer is used.",
    "pipeline": "Name the model instead: model=….",
    "llm": "Name the model instead: model=….",
    "image_detail": "Leave it out: an image takes the same number of tokens at any detail.",
    "api_version": "Leave it out: base_url names the server's whole path.",
    "reuse_client": _AUTOMATIC,
    "encode_kwargs": "Leave it out: vectors have length one.",
    "cache_folder": "Set the environment variable HF_HOME.",
    "cache_dir": "Set the environment variable HF_HOME.",
    "token": "Set the environment variable HF_TOKEN.",
}
#: From such names to their values, besides None, that have no effect.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys(HINTS, ()),
    "stream_usage": (True, False),
    "format": ("",),
    "json_mode": (False,),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "mirostat": (0,),
    "num_beams": (1,),
    "n": (1,),
    "num_return_sequences": (1,),
    "should_use_structured_outputs": (True, False),
    "reasoning": (False,),
    "thinking": (False,),
    "use_responses_api": (False,),
    "is_chat_model": (True,),
    "image_detail": ("auto",),
    "reuse_client": (True, False),
    "is_function_calling_model": (True,),
    "trust_remote_code": (False,),
    "use_cache": (True,),
    "low_cpu_mem_usage": (True,),
    "return_full_text": (False,),
    "encode_kwargs": ({}, {"normalize_embeddings": True}),
}


def dtype_of(value: object) -> object:
    """Return the `dtype` that a `torch_dtype` means: `auto`, a name, or one of torch's types."""
    return None if value is None else str(value).removeprefix("torch.")


def of_device_map(value: object) -> object:
    """Return the `device` that transformers' `device_map` means.

    Raises:
        RequestError: It spreads the model over several devices.
    """
    if isinstance(value, Mapping) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"cuda:{value}"
    if isinstance(value, str) and value in ("balanced", "balanced_low_0", "sequential"):
        value = {}
    if isinstance(value, Mapping):
        raise RequestError(
            "device_map spreads the model over several devices, and the engine uses one.",
            "Use device='auto' or one GPU like 'cuda:1'; for several GPUs see base_url.",
        )
    return None if value is None else str(value)
