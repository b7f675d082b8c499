"""The model: answers in the requests' order, many at once, rounds and log-likelihoods."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from llava_tools.core.requests import Request
from llava_tools.errors import ContextOverflowError, EngineClosedError, RequestError
from llava_tools.testing import ScriptedBackend
from tests.lmms_eval.stand_in import Instance

Make = Callable[..., Any]


def _messages(document: dict[str, Any], **_: Any) -> list[dict[str, Any]]:
    content = [
        {"type": "image", "url": document["image"]},
        {"type": "text", "text": document["question"]},
    ]
    return [{"role": "user", "content": content}]


def _visuals(document: dict[str, Any]) -> list[Any]:
    return [document["image"]]


def _generation(index: int, to_messages: Any = _messages, **arguments: Any) -> Instance:
    return Instance(("ctx", to_messages, arguments, index, "task", "test"), doc_id=index)


def _choice(index: int, text: Any, context: str = "Which?") -> Instance:
    return Instance((context, text, _visuals, index, "task", "test"), doc_id=index)


def _echo(request: Request) -> str:
    return f"Answer to {request.messages[-1].text}"


def test_answers_come_in_the_order_of_the_requests(make: Make) -> None:
    backend = ScriptedBackend(_echo)
    results = make(backend).generate_until([_generation(i, max_new_tokens=9) for i in range(6)])
    assert [result.text for result in results] == [f"Answer to Question {i}?" for i in range(6)]
    assert results[0].token_counts.input_tokens > 576
    assert results[0].token_counts.output_tokens == 4
    assert {request.sampling.max_tokens for request in backend.requests} == {9}
    assert all(len(request.messages[0].images) == 1 for request in backend.requests)


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        ({}, 6),
        ({"batch_size": "auto"}, 6),
        ({"batch_size": "3"}, 3),
        ({"batch_size": 2}, 2),
        ({"batch_size": "auto", "max_batch_size": 2}, 2),
    ],
)
def test_requests_are_answered_at_once(make: Make, options: dict[str, Any], at_once: int) -> None:
    barrier = threading.Barrier(at_once)

    def script(request: Request) -> str:
        barrier.wait(10)  # breaks unless so many come together
        return "ok"

    results = make(ScriptedBackend(script), **options).generate_until(
        [_generation(i) for i in range(6)]
    )
    assert len(results) == 6


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": "many"}, {"max_batch_size": -1}]
)
def test_impossible_batch_sizes_are_refused(make: Make, options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="batch_size"):
        make(ScriptedBackend(), **options)


def test_unknown_options_are_refused(make: Make) -> None:
    with pytest.raises(RequestError, match="Did you mean 'device'"):
        make(ScriptedBackend(), dvice="cuda")


def test_several_processes_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RequestError, match="one process"):
        make(ScriptedBackend())


def test_the_first_error_ends_the_run(make: Make) -> None:
    backend = ScriptedBackend(_echo)
    with pytest.raises(RequestError, match="num_beams=3"):
        make(backend).generate_until([_generation(0, num_beams=3), _generation(1)])


def test_more_tokens_than_the_context_holds_are_as_many_as_it_holds(make: Make) -> None:
    backend = ScriptedBackend(_echo, context_length=1000)
    make(backend).generate_until([_generation(0, max_new_tokens=4096)])
    (request,) = backend.requests
    assert request.sampling.max_tokens == 1000 - backend.count_tokens(request)


def test_a_prompt_that_fills_the_context_is_an_error(make: Make) -> None:
    with pytest.raises(ContextOverflowError):
        make(ScriptedBackend(_echo, context_length=500)).generate_until([_generation(0)])


def test_a_task_without_further_rounds_has_one(make: Make) -> None:
    model = make(ScriptedBackend(_echo))
    assert model.generate_until_multi_round([_generation(1)]) == [["Answer to Question 1?"]]


def test_an_interrupt_ends_the_requests_in_flight(
    make: Make, monkeypatch: pytest.MonkeyPatch, plugin: Callable[[str], Any]
) -> None:
    release = threading.Event()
    model = make(ScriptedBackend(_echo, pause=lambda: release.wait(10)))
    monkeypatch.setattr(model, "_close", release.set)

    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(plugin("lmms_eval_llava.model"), "as_completed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.generate_until([_generation(0)])
    assert release.is_set()


def test_stop_strings_end_answers(make: Make) -> None:
    backend = ScriptedBackend(("Red. ASSISTANT: no",))
    (result,) = make(backend).generate_until([_generation(0, until=["ASSISTANT:"])])
    assert result.text.strip() == "Red."


def test_rounds_follow_the_task(make: Make) -> None:
    def to_messages(document: dict[str, Any], **state: Any) -> Any:
        if not state:
            return _messages(document)
        outputs, number = state["previous_output"], state["round_idx"]
        assert len(outputs) == number
        assert state["previous_round_info"] == (None if number == 1 else f"round {number - 1}")
        question = {**document, "question": f"After {outputs[-1]}?"}
        return _messages(question), number == 3, outputs, f"round {number}"

    model = make(ScriptedBackend(_echo))
    texts = model.generate_until_multi_round([_generation(i, to_messages) for i in (2, 4)])
    assert texts[0] == [
        "Answer to Question 2?",
        "Answer to After Answer to Question 2??",
        "Answer to After Answer to After Answer to Question 2???",
    ]
    assert texts[1][0] == "Answer to Question 4?"


def test_likelihoods_are_losses_and_the_greedy_choice_is_marked(make: Make) -> None:
    scores = {"cat": -0.5, "dog": -2.0, "Question 1?": -4.0}
    backend = ScriptedBackend(("cat",), scores=lambda request, label: scores[label])
    model = make(backend, path="simple.LlavaToolsSimple")
    requests = [
        _choice(0, " dog"),
        _choice(1, lambda document: document["question"]),
        _choice(0, " cat"),
        _choice(0, " dog"),
    ]
    results = [result.text for result in model.loglikelihood(requests)]
    assert results == [(2.0, False), (4.0, False), (0.5, True), (2.0, False)]
    # One request scores all choices of a question; another finds the greedy answer.
    assert len(backend.requests) == 4
    assert all(len(request.messages[0].images) == 1 for request in backend.requests)


def test_choices_without_a_question_are_refused(make: Make) -> None:
    with pytest.raises(RequestError, match="acc_mutual_info"):
        make(ScriptedBackend()).loglikelihood([Instance(("", "cat"), doc_id=0)])


def test_simple_tasks_have_a_text_and_images(make: Make) -> None:
    backend = ScriptedBackend(_echo)
    model = make(backend, path="simple.LlavaToolsSimple")
    request = Instance(("Which?", {"max_new_tokens": 5}, _visuals, 3, "task", "test"))
    (result,) = model.generate_until([request])
    assert result.text == "Answer to Which?"
    assert len(backend.requests[0].messages[0].images) == 1
    with pytest.raises(RequestError, match="--force_simple"):
        model.generate_until_multi_round([request])


def test_cleaning_closes_the_model_and_a_later_request_makes_another(make: Make) -> None:
    model = make(ScriptedBackend(_echo))
    before = model._llava
    model.clean()
    assert model.cleaned == 1
    with pytest.raises(EngineClosedError):
        before.ask("?")
    assert model.generate_until([_generation(0)])[0].text == "Answer to Question 0?"
