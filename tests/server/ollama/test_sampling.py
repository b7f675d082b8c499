from __future__ import annotations

from typing import Any

import pytest

from llava_tools.core.requests import SamplingParams
from llava_tools.errors import RequestError
from llava_tools.server.ollama.sampling import HARMLESS, read_options


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"num_predict": 7, "repeat_penalty": 1.2}, {"max_tokens": 7, "repetition_penalty": 1.2}),
        (
            {"num_predict": 7.0, "top_k": 40.0, "seed": 3.0},
            {"max_tokens": 7, "top_k": 40, "seed": 3},
        ),
        ({"top_k": -1, "seed": -1}, {}),
        ({"stop": "\n"}, {"stop": ("\n",)}),
        ({"stop": ["\n", "user:"]}, {"stop": ("\n", "user:")}),
        ({"min_p": 0.0, "typical_p": 1.0, "tfs_z": 1, "mirostat": 0}, {}),
        ({"presence_penalty": 0, "frequency_penalty": 0.0}, {}),
        ({"temperature": None}, {}),
        (dict.fromkeys(HARMLESS, 5), {}),
    ],
)
def test_options_are_translated(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_options(options, False, 0) == (SamplingParams(**expected), False)


def test_logprobs_are_translated() -> None:
    assert read_options({}, True, 3)[0] == SamplingParams(logprobs=True, top_logprobs=3)


@pytest.mark.parametrize("num_predict", [-2, -1, 0])
def test_no_limit_fills_the_context(num_predict: int) -> None:
    assert read_options({"num_predict": num_predict}, False, 0) == (SamplingParams(), True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "Did you mean 'temperature'"),
        ({"num_predit": 1}, "Did you mean 'num_predict'"),
        ({"min_p": 0.05}, "min_p"),
        ({"mirostat": 2}, "mirostat"),
        ({"presence_penalty": 1.5}, "repetition_penalty"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"top_k": 1.5}, "top_k=1.5"),
        ({"num_predict": True}, "max_tokens=True"),
        ({"stop": 3}, "stop=3"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_options(options, False, 0)
