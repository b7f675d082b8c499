"""Messages, sampling parameters, and answers collected from chunks."""

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
def test_sampling_values_out_of_range_raise(option: str, value: object) -> None:
    with pytest.raises(RequestError, match=option) as caught:
        SamplingParams.from_keywords({option: value}, "ask")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_unknown_option_suggests_the_closest_name() -> None:
    with pytest.raises(RequestError, match="Did you mean 'max_tokens'"):
        SamplingParams.from_keywords({"max_token": 3}, "ask")  # type: ignore[typeddict-unknown-key]


def test_stop_may_be_one_string() -> None:
    assert SamplingParams.from_keywords({"stop": "END"}, "ask").stop == ("END",)
    assert SamplingParams.from_keywords({"stop": ["a", "b"]}, "ask").stop == ("a", "b")


@pytest.mark.parametrize("content", ["text", ["text"], (3,), (b"bytes",), None])
def test_message_content_must_be_a_tuple_of_texts_and_images(content: object) -> None:
    with pytest.raises(RequestError):
        Message("user", content)


def test_only_user_and_tool_messages_have_images() -> None:
    image = open_image(Image.new("RGB", (4, 4)))
    assert Message("user", (image, "a", "b")).images == (image,)
    assert Message("user", (image, "a", "b")).text == "ab"
    for role in ("system", "assistant"):
        with pytest.raises(RequestError, match=f"The {role} message has an image"):
            Message(role, (image,))
    with pytest.raises(RequestError, match="'bot' is not a role"):
        Message("bot", ("hello",))


def test_collect_joins_chunks() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=2)
    answer = collect(
        [Chunk("a ", (1,)), Chunk("b", (2,)), Chunk("", (3,), finish_reason="stop", usage=usage)],
        "m",
    )
    assert (answer.text, answer.token_ids, answer.model) == ("a b", (1, 2, 3), "m")
    assert answer.usage.total_tokens == 7
    assert str(answer) == "a b"


@pytest.mark.parametrize("chunks", [[], [Chunk("a")]])
def test_collect_raises_without_a_finish_reason(chunks: list[Chunk]) -> None:
    with pytest.raises(EngineError, match="before the answer was complete"):
        collect(chunks, "m")


@pytest.mark.parametrize(
    "error",
    [RequestError("Bad  value.\n", "Use a\nbetter one."), MissingExtraError("torch", "torch")],
)
def test_errors_are_one_line_and_survive_pickling(error: LlavaToolsError) -> None:
    assert "\n" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
