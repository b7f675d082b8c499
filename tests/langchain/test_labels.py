"""`labels`: answers that are one of some labels, chosen by log-probabilities."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from langchain_llava import ChatLlava
from langchain_llava import compat as langchain
from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.errors import AnswerTimeoutError, QueueFullError, RequestError
from llava_tools.testing import ScriptedBackend
from tests.langchain.scripted import total

SCORES = {"cat": -2.0, "dog": -0.25, "bird": -4.0}


def backend() -> ScriptedBackend:
    return ScriptedBackend(scores=lambda request, label: SCORES[label])


def top_of(message: AIMessage) -> dict[str, float]:
    (item,) = message.response_metadata["logprobs"]["content"]
    assert (item["token"], item["logprob"]) == ("dog", -0.25)
    return {top["token"]: top["logprob"] for top in item["top_logprobs"]}


async def test_every_way_to_call_returns_the_likeliest_label() -> None:
    model = ChatLlava(backend=backend()).bind(labels=["cat", "dog", "bird"])
    question = [HumanMessage("Which?")]
    messages = [
        model.invoke(question),
        await model.ainvoke(question),
        *model.batch([question]),
        *(await model.abatch([question])),
        total(list(model.stream(question))),
        total([chunk async for chunk in model.astream(question)]),
    ]
    for message in messages:
        assert message.text == "dog"
        assert message.response_metadata["finish_reason"] == "stop"
        assert top_of(message) == SCORES
        assert list(top_of(message)) == ["dog", "cat", "bird"]


def test_probabilities_equal_those_of_choose() -> None:
    chosen = Llava(backend=backend()).choose("Which?", (), list(SCORES))
    question = "Which?\nAnswer the question using a single word or phrase."
    message = ChatLlava(backend=backend()).invoke(question, labels=list(SCORES))
    weights = {label: math.exp(score) for label, score in top_of(message).items()}
    assert message.text == chosen.label
    for label, weight in weights.items():
        assert weight / sum(weights.values()) == pytest.approx(chosen.probabilities[label])


def test_usage_is_that_of_the_prompt() -> None:
    scripted = backend()
    model = ChatLlava(backend=scripted)
    with get_usage_metadata_callback() as usage:
        model.invoke("Which of these?", labels=["cat", "dog"])
    (request,) = scripted.requests
    assert usage.usage_metadata["scripted"]["input_tokens"] == scripted.count_tokens(request)
    assert usage.usage_metadata["scripted"]["output_tokens"] == 0


@pytest.mark.parametrize(
    ("labels", "message"), [([], "no list"), ("dog", "no list"), ([" dog"], "cannot be a label")]
)
async def test_impossible_labels_raise(labels: Any, message: str) -> None:
    model = ChatLlava(backend=backend())
    for call in (model.invoke, lambda question, **kwargs: list(model.stream(question, **kwargs))):
        with pytest.raises(langchain.ModelInvalidRequestError, match=message):
            call("Which?", labels=labels)
    with pytest.raises(RequestError, match=message):
        await model.ainvoke("Which?", labels=labels)


def test_timeout_and_retries_count_for_labels() -> None:
    class Slow(ScriptedBackend):
        def score(self, request: Request, labels: Any) -> list[float]:
            release.wait(10)
            return [0.0] * len(labels)

    release = threading.Event()
    with pytest.raises(AnswerTimeoutError):
        ChatLlava(backend=Slow(), timeout=0.01).invoke("Which?", labels=["a", "b"])
    release.set()

    class Full(ScriptedBackend):
        calls = 0

        def score(self, request: Request, labels: Any) -> list[float]:
            type(self).calls += 1
            if self.calls == 1:
                raise QueueFullError("Full.", "Wait.")
            return [0.0] * len(labels)

    model = ChatLlava(backend=Full(), max_retries=1)
    assert model.invoke("Which?", labels=["a", "b"]).text == "a"
    assert Full.calls == 2


def test_schema_is_left_out_of_the_prompt() -> None:
    answer = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
    scripted = ScriptedBackend(["3"])
    model = ChatLlava(backend=scripted)
    described = model.invoke("How many?", response_format=answer)
    plain = model.invoke("How many?", response_format=answer, describe=False)
    assert (described.text, plain.text) == ("3", "3")
    assert [request.constraint.describe for request in scripted.requests] == [True, False]
    tokens = [message.usage_metadata["input_tokens"] for message in (described, plain)]  # type: ignore[index]
    assert tokens[0] > tokens[1]
    with pytest.raises(RequestError, match="describe=3 is not possible"):
        model.invoke("How many?", response_format=answer, describe=3)


@tool
def look(place: str) -> str:
    """Look at a place."""
    return place


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"foo": 1}, "A ChatLlava call takes no option 'foo'"),
        ({"temperatur": 0}, "Did you mean 'temperature'"),
        ({"temperature": -1}, "temperature=-1 is out of range"),
        ({"labels": []}, "no list of labels"),
        ({"tool_choice": "other"}, "neither a mode nor a tool"),
    ],
)
def test_wrong_options_raise_when_tools_are_bound(options: dict[str, Any], message: str) -> None:
    with pytest.raises(langchain.ModelInvalidRequestError, match=message):
        ChatLlava(backend=backend()).bind_tools([look], **options)


def test_options_of_calls_are_bound_with_tools() -> None:
    scripted = ScriptedBackend()
    options = {"temperature": 0.5, "stop_sequences": ["x"], "ls_structured_output_format": {}}
    ChatLlava(backend=scripted).bind_tools([look], **options).invoke("Hi")
    assert scripted.requests[0].sampling.temperature == 0.5
    assert scripted.requests[0].sampling.stop == ("x",)
