"""Both adapters take the same options, other packages' names of them, and refuse the same ones."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava
from llava_tools.core.peer_names import HINTS, SYNONYMS
from llava_tools.errors import LlavaToolsError
from llava_tools.model_fields import ModelFields
from llava_tools.options import SAMPLING_OPTIONS
from llava_tools.testing import ScriptedBackend

#: A value that is possible for each option that has synonyms.
VALUES: dict[str, Any] = {
    "model": "7b",
    "context_length": 1024,
    "max_tokens": 9,
    "repetition_penalty": 1.2,
    "stop": ["end"],
    "dtype": "float32",
    "device": "cpu",
    "base_url": "http://127.0.0.1:9/v1",
    "api_key": "a key",
    "proxy": "http://127.0.0.1:9",
    "default_headers": {"x": "y"},
    "timeout": 3.0,
}
#: Makes sense beside other options only.
NEEDED: dict[str, dict[str, Any]] = {
    "api_key": {"base_url": "http://127.0.0.1:9/v1"},
    "proxy": {"base_url": "http://127.0.0.1:9/v1"},
    "default_headers": {"base_url": "http://127.0.0.1:9/v1"},
}
NAMES = [name for name, option in SYNONYMS.items() if option in VALUES]


def _values(model: ModelFields) -> dict[str, Any]:
    return {name: getattr(model, name) for name in ModelFields.model_fields}


def _errors(make: Any) -> list[str]:
    """Return the errors of both adapters, without their names."""
    errors = []
    for adapter in (ChatLlava, Llava):
        with pytest.raises(LlavaToolsError) as caught:
            make(adapter)
        errors.append(str(caught.value).replace("ChatLlava", "Llava"))
    return errors


def test_each_option_with_synonyms_has_a_value() -> None:
    left = {option for option in SYNONYMS.values() if option not in VALUES}
    assert left <= {"http_async_client"}


@pytest.mark.parametrize("name", NAMES)
def test_synonyms_are_the_same_fields(name: str) -> None:
    option = SYNONYMS[name]
    options = {**NEEDED.get(option, {}), name: VALUES[option]}
    ours, theirs = ChatLlava(**options), Llava(**options)
    assert _values(ours) == _values(theirs)
    own = ChatLlava(**{**NEEDED.get(option, {}), option: VALUES[option]})
    assert getattr(ours, option) == getattr(own, option)


@pytest.mark.parametrize("name", [n for n in NAMES if SYNONYMS[n] in SAMPLING_OPTIONS])
def test_synonyms_of_calls_are_the_same_request(name: str) -> None:
    backend = ScriptedBackend()
    options = {name: VALUES[SYNONYMS[name]]}
    ChatLlava(backend=backend).invoke([HumanMessage("Hi")], **options)
    Llava(backend=backend).chat([ChatMessage("Hi")], **options)
    ours, theirs = backend.requests
    assert ours == theirs
    assert ours.sampling != type(ours.sampling)()


@pytest.mark.parametrize("name", sorted(set(HINTS) - set(Llava.model_fields)))
def test_hints_are_the_same(name: str) -> None:
    ours, theirs = _errors(lambda adapter: adapter(**{name: "a value"}))
    assert ours == theirs
    assert HINTS[name] in ours


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"max_tokens": 0},
        {"repetition_penalty": 0},
        {"quantization": "3bit"},
        {"keep_alive": "soon"},
        {"num_ctx": 10, "context_length": 20},
    ],
    ids=str,
)
def test_impossible_options_are_refused_alike(options: dict[str, Any]) -> None:
    ours, theirs = _errors(lambda adapter: adapter(**options))
    assert ours == theirs


def test_unknown_options_are_refused_alike() -> None:
    ours, theirs = _errors(lambda adapter: adapter(colour=1))
    # The lists of the options that there are contain each framework's own.
    assert ours.split(".")[0] == theirs.split(".")[0] == "Llava takes no option 'colour'"
