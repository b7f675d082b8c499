"""Messages and sampling parameters."""

from __future__ import annotations

import pytest
from PIL import Image

from llava_tools.core.requests import Message, SamplingParams
from llava_tools.errors import RequestError
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
        ("repetition_penalty", 0),
        ("repetition_penalty", -1.0),
        ("repetition_penalty", True),
        ("repetition_penalty", "1.2"),
        ("repetition_penalty", float("nan")),
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
