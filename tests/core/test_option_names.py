"""Options under the names of peers: what they mean, or what to use instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from llava_tools.core.option_names import normalize
from llava_tools.core.peer_names import HINTS, NEUTRAL, QUANTIZATIONS, SYNONYMS, WRAPPERS
from llava_tools.errors import RequestError
from llava_tools.model_fields import ModelFields

NAMES = tuple(ModelFields.model_fields)


def _normalized(**options: Any) -> dict[str, Any]:
    return normalize(options, NAMES, "Model", {})


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        # Ollama
        ({"num_ctx": 2048}, {"context_length": 2048}),
        ({"num_predict": 10}, {"max_tokens": 10}),
        ({"repeat_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"keep_alive": "5m"}, {"keep_alive": "5m"}),
        ({"headers": {"X-A": "b"}}, {"default_headers": {"X-A": "b"}}),
        ({"options": {"num_ctx": 512, "seed": 3}}, {"context_length": 512, "seed": 3}),
        # OpenAI
        ({"openai_api_base": "http://h/v1"}, {"base_url": "http://h/v1"}),
        ({"openai_api_key": "key"}, {"api_key": "key"}),
        ({"max_completion_tokens": 5}, {"max_tokens": 5}),
        ({"model_name": "7b"}, {"model": "7b"}),
        ({"openai_proxy": "http://p:1"}, {"proxy": "http://p:1"}),
        ({"request_timeout": 3.5}, {"timeout": 3.5}),
        ({"model_kwargs": {"seed": 1, "n": 1}}, {"seed": 1}),
        # transformers and LangChain's Hugging Face classes
        ({"model_id": "7b"}, {"model": "7b"}),
        ({"load_in_4bit": True}, {"quantization": "4bit"}),
        ({"load_in_8bit": True, "load_in_4bit": False}, {"quantization": "8bit"}),
        ({"max_new_tokens": 9}, {"max_tokens": 9}),
        ({"torch_dtype": torch.float16}, {"dtype": "float16"}),
        ({"torch_dtype": "auto"}, {"dtype": "auto"}),
        ({"device_map": "auto"}, {"device": "auto"}),
        ({"device_map": {"": 1}}, {"device": "cuda:1"}),
        ({"device_map": {"": "cpu"}}, {"device": "cpu"}),
        ({"stop_strings": ["x"]}, {"stop": ["x"]}),
        ({"pipeline_kwargs": {"max_new_tokens": 4}}, {"max_tokens": 4}),
        # LlamaIndex
        ({"context_window": 1000}, {"context_length": 1000}),
        ({"api_base": "http://h/v1"}, {"base_url": "http://h/v1"}),
        ({"is_chat_model": True, "is_function_calling_model": True}, {}),
        (
            {"generate_kwargs": {"temperature": 0.7, "do_sample": True, "top_k": 5}},
            {"temperature": 0.7, "top_k": 5},
        ),
        (
            {"additional_kwargs": {"num_ctx": 100, "repeat_penalty": 1.2}, "model_kwargs": None},
            {"context_length": 100, "repetition_penalty": 1.2},
        ),
    ],
)
def test_names_of_peers_are_options(options: dict[str, Any], meaning: dict[str, Any]) -> None:
    assert _normalized(**options) == meaning


@pytest.mark.parametrize(
    ("options", "temperature"),
    [
        ({"do_sample": False}, 0.0),
        ({"do_sample": True}, 1.0),
        ({"do_sample": True, "temperature": None}, 1.0),
        ({"do_sample": False, "temperature": 0}, 0),
    ],
)
def test_do_sample_is_a_temperature(options: dict[str, Any], temperature: float) -> None:
    assert _normalized(**options)["temperature"] == temperature


def test_do_sample_is_true_or_false() -> None:
    with pytest.raises(RequestError, match="do_sample='no' is not possible"):
        normalize({"do_sample": "no"}, ("temperature",), "A call", {})


@pytest.mark.parametrize(
    "options", [{"do_sample": False, "temperature": 0.7}, {"do_sample": True, "temperature": 0}]
)
def test_do_sample_must_not_contradict_the_temperature(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"do_sample=.* contradicts temperature="):
        _normalized(**options)


@pytest.mark.parametrize("usage", [True, False, None])
def test_stream_usage_changes_nothing(usage: bool | None) -> None:
    assert _normalized(stream_usage=usage, seed=1) == {"seed": 1}


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("format", "json", "with_structured_output"),
        ("json_mode", True, "as_structured_llm"),
        ("client_kwargs", {"verify": False}, "http_async_client"),
        ("http_client", object(), "http_async_client"),
        ("openai_organization", "org", "default_headers"),
        ("presence_penalty", 0.5, "repetition_penalty"),
        ("num_beams", 4, "temperature"),
        ("n", 2, "different seeds"),
        ("reasoning", True, "no reasoning"),
        ("trust_remote_code", True, "no code"),
        ("is_chat_model", False, "is a chat model"),
        ("num_gpu", 1, "device="),
        ("max_length", 20, "max_tokens"),
        ("device_map", "balanced", "base_url"),
        ("device_map", {"a": 0, "b": 1}, "base_url"),
        ("quantization_config", object(), "quantization="),
        ("generate_kwargs", 5, "dict"),
    ],
)
def test_other_names_of_peers_say_what_to_use(option: str, value: object, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        _normalized(**{option: value})
    assert hint in caught.value.hint
    assert option in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_name_twice_must_have_one_value() -> None:
    assert _normalized(max_tokens=5, max_new_tokens=5) == {"max_tokens": 5}
    with pytest.raises(RequestError, match="max_tokens appears twice"):
        _normalized(max_tokens=5, num_predict=6)
    with pytest.raises(RequestError, match="quantization appears twice"):
        _normalized(load_in_4bit=True, load_in_8bit=True)


def test_names_mean_nothing_where_their_option_is_none() -> None:
    """A call takes no `num_ctx`: the context is the model's."""
    with pytest.raises(RequestError, match="A call takes no option 'num_ctx'"):
        normalize({"num_ctx": 100}, ("max_tokens",), "A call", {})
    with pytest.raises(RequestError, match="A call takes no option 'load_in_4bit'"):
        normalize({"load_in_4bit": True}, ("max_tokens",), "A call", {})


def test_the_tables_fit_the_options() -> None:
    assert set(SYNONYMS.values()) <= set(NAMES)
    tables = (set(SYNONYMS), set(QUANTIZATIONS), set(WRAPPERS), set(HINTS))
    assert sum(map(len, tables)) == len(set().union(*tables)), "a name is in two tables"
    assert set(NEUTRAL) == set(HINTS)
    assert not set(HINTS) & set(NAMES)
    assert not set(SYNONYMS) & set(NAMES)
