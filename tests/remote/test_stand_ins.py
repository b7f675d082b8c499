"""llama.cpp and Ollama behind `base_url`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from llava_tools import Llava
from llava_tools.chat import prompt
from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import ContextOverflowError, ModelNotFoundError, OutputError, ServerError
from tests.fake_server import FakeServer
from tests.remote.requests import ADD, QUESTION, SCHEMA, Connect, full_answer, make_image
from tests.remote.stand_ins import LlamaCppServer, OllamaServer

TWO_IMAGES = Message("user", (make_image(), make_image(colour="blue"), "Which?"))


@pytest.fixture
def llama_cpp() -> Iterator[FakeServer]:
    with LlamaCppServer("I would rather not.") as server:
        yield server


@pytest.fixture
def ollama() -> Iterator[FakeServer]:
    with OllamaServer("I would rather not.") as server:
        yield server


@pytest.mark.parametrize("messages", [QUESTION, (TWO_IMAGES,), (Message("user", (make_image(),)),)])
def test_llama_cpp_reads_the_prompt_of_the_engine(
    llama_cpp: FakeServer, connect: Connect, messages: tuple[Message, ...]
) -> None:
    full_answer(connect(llama_cpp), Request(messages, SamplingParams(8)))
    assert llama_cpp.prompts == [prompt.render(prompt.build(messages))]


def test_context_length_is_that_of_a_slot_of_llama_cpp(
    llama_cpp: FakeServer, connect: Connect
) -> None:
    backend = connect(llama_cpp)
    assert backend.context_length == 1024
    with pytest.raises(ContextOverflowError):
        full_answer(backend, Request((Message("user", ("word " * 2000,)),)))


@pytest.mark.parametrize("alternatives", [0, 2])
def test_llama_cpp_reports_logprobs(
    llama_cpp: FakeServer, connect: Connect, alternatives: int
) -> None:
    sampling = SamplingParams(logprobs=True, top_logprobs=alternatives)
    answer = full_answer(connect(llama_cpp), Request(QUESTION, sampling))
    assert "".join(item.token for item in answer.logprobs) == "I would rather not."


def test_llama_cpp_takes_a_repetition_penalty_over_the_whole_context(
    llama_cpp: FakeServer, connect: Connect
) -> None:
    full_answer(connect(llama_cpp), Request(QUESTION, SamplingParams(repetition_penalty=1.2)))
    assert llama_cpp.requests[0]["repeat_penalty"] == 1.2
    assert llama_cpp.requests[0]["repeat_last_n"] == 1024


@pytest.mark.parametrize("kind", ["llama_cpp", "ollama"])
def test_they_enforce_schemas_and_forced_calls(
    kind: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    backend = connect(request.getfixturevalue(kind), **_model(kind))
    answer = full_answer(backend, Request(QUESTION, constraint=Constraint(schema=SCHEMA)))
    assert set(json.loads(answer.text)) == {"n"}
    forced = Request(QUESTION, constraint=Constraint((ADD,), tool_choice="any"))
    answer = full_answer(backend, forced)
    assert [call.name for call in answer.tool_calls] == ["add"]
    assert answer.best_effort


@pytest.mark.parametrize("kind", ["llama_cpp", "ollama"])
def test_they_do_not_score_labels(
    kind: str, request: pytest.FixtureRequest, connect: Connect
) -> None:
    backend = connect(request.getfixturevalue(kind), **_model(kind))
    with pytest.raises(ServerError, match="did not report"):
        backend.score(Request(QUESTION), ["yes"])


@pytest.mark.parametrize("name", ["llava", "llava:latest", "bakllava:7b"])
def test_models_of_ollama_have_tags(ollama: FakeServer, connect: Connect, name: str) -> None:
    backend = connect(ollama, model=name)
    assert full_answer(backend, Request((TWO_IMAGES,))).text == "I would rather not."
    assert backend.model_name == name
    assert ollama.requests[0]["model"] == name


def test_unknown_models_of_ollama_are_an_error(ollama: FakeServer, connect: Connect) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean 'bakllava:7b'"):
        connect(ollama, model="bakllava")
    with pytest.raises(ModelNotFoundError, match="serves: llava:latest, bakllava:7b"):
        connect(ollama)


def test_ollama_has_no_logprobs(ollama: FakeServer, connect: Connect) -> None:
    backend = connect(ollama, model="llava")
    with pytest.raises(OutputError, match="ignored logprobs"):
        full_answer(backend, Request(QUESTION, SamplingParams(logprobs=True)))


def test_ollama_streams(ollama: FakeServer) -> None:
    with Llava("llava", base_url=ollama.url) as model:
        chunks = [chunk.text for chunk in model.stream("What?", make_image())]
    assert "".join(chunks) == "I would rather not."
    assert len(chunks) > 3


def _model(kind: str) -> dict[str, str]:
    return {"model": "llava"} if kind == "ollama" else {}
