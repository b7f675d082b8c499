from __future__ import annotations

import pickle

import pytest
from PIL import Image

from llava_tools.core.outputs import Chunk, Usage, collect
from llava_tools.core.requests import Message, SamplingParams
from llava_tools.errors import EngineError, LlavaToolsError, MissingExtraError, RequestError
from llava_tools.images import open_image


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -3),
        ("max_tokens", 2.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("seed", -1),
        ("seed", 2**63),
        ("top_logprobs", 21),
        ("top_logprobs", 3),
        ("stop", [""]),
        ("stop", 5),
        ("stop", [5]),
    ],
)
def test_values_out_of_range_are_named(option: str, value: object) -> None:
    with pytest.raises(RequestError, match=option) as caught:
        SamplingParams.from_keywords({option: value}, "ask")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_an_unknown_option_names_the_nearest_known_one() -> None:
    with pytest.raises(RequestError, match="Did you mean 'max_tokens'"):
        SamplingParams.from_keywords({"max_token": 3}, "ask")  # type: ignore[typeddict-unknown-key]


def test_one_stop_string_needs_no_list() -> None:
    assert SamplingParams.from_keywords({"stop": "END"}, "ask").stop == ("END",)
    assert SamplingParams.from_keywords({"stop": ["a", "b"]}, "ask").stop == ("a", "b")


@pytest.mark.parametrize("content", ["text", ["text"], (3,), (b"bytes",), None])
def test_messages_hold_text_and_images_only(content: object) -> None:
    with pytest.raises(RequestError):
        Message("user", content)


def test_images_stand_where_llava_can_see_them() -> None:
    image = open_image(Image.new("RGB", (4, 4)))
    assert Message("user", (image, "a", "b")).images == (image,)
    assert Message("user", (image, "a", "b")).text == "ab"
    for role in ("system", "assistant"):
        with pytest.raises(RequestError, match=f"in the {role} message"):
            Message(role, (image,))
    with pytest.raises(RequestError, match="'bot' is not a role"):
        Message("bot", ("hello",))


def test_fold_adds_up() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=2)
    answer = collect(
        [Chunk("a ", (1,)), Chunk("b", (2,)), Chunk("", (3,), finish_reason="stop", usage=usage)],
        "m",
    )
    assert (answer.text, answer.token_ids, answer.model) == ("a b", (1, 2, 3), "m")
    assert answer.usage.total_tokens == 7
    assert str(answer) == "a b"


@pytest.mark.parametrize("deltas", [[], [Chunk("a")]])
def test_a_stream_that_was_cut_is_no_answer(deltas: list[Chunk]) -> None:
    with pytest.raises(EngineError, match="before it was finished"):
        collect(deltas, "m")


@pytest.mark.parametrize(
    "error",
    [RequestError("Bad  value.\n", "Use a\nbetter one."), MissingExtraError("torch", "torch")],
)
def test_errors_are_one_line_and_survive_pickling(error: LlavaToolsError) -> None:
    assert "\n" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
