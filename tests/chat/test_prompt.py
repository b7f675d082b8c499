"""The prompt is the official conversation, and text never becomes structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_tools.chat import formats
from llava_tools.chat.formats import EOS, VICUNA_V1, SpecialToken
from llava_tools.chat.prompt import (
    Piece,
    build,
    render,
    token_ids,
)
from llava_tools.chat.tool_calls import write_result
from llava_tools.core.requests import Message
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from tests.strategies import STRUCTURE, adversarial_text, conversations, make_image

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
CAT, DOG = make_image(1), make_image(2)


def user(*content: str | ImageRef) -> Message:
    return Message("user", content)


def assistant(text: str) -> Message:
    return Message("assistant", (text,))


def render_official(system: str, turns: Sequence[tuple[str, str | None]]) -> str:
    """Render as the official code does (llava/conversation.py, SeparatorStyle.TWO)."""
    separators = (" ", "</s>")
    text = system + separators[0]
    for index, (role, message) in enumerate(
        part for question, answer in turns for part in (("USER", question), ("ASSISTANT", answer))
    ):
        if message is None:
            text += role + ":"
        else:
            text += role + ": " + message + separators[index % 2]
    return text


CONVERSATIONS = [
    pytest.param(
        [user(CAT, "What is it?")],
        SYSTEM + " USER: <image>\nWhat is it? ASSISTANT:",
        id="image before text",
    ),
    pytest.param(
        [user("What is it?", CAT)],
        SYSTEM + " USER: <image>\nWhat is it? ASSISTANT:",
        id="image after text",
    ),
    pytest.param([user("Hello!")], SYSTEM + " USER: Hello! ASSISTANT:", id="no image"),
    pytest.param(
        [user(CAT, DOG, "Which is older?")],
        SYSTEM + " USER: <image>\n<image>\nWhich is older? ASSISTANT:",
        id="two images",
    ),
    pytest.param(
        [user(CAT, "What is it?"), assistant("A cat."), user("Its colour?")],
        SYSTEM + " USER: <image>\nWhat is it? ASSISTANT: A cat.</s>USER: Its colour? ASSISTANT:",
        id="two turns",
    ),
    pytest.param(
        [
            user(CAT, "It?"),
            assistant("A cat."),
            user("Sure?"),
            assistant("Yes."),
            user(DOG, "And it?"),
        ],
        SYSTEM + " USER: <image>\nIt? ASSISTANT: A cat.</s>USER: Sure? ASSISTANT: Yes.</s>"
        "USER: <image>\nAnd it? ASSISTANT:",
        id="three turns",
    ),
    pytest.param(
        [Message("system", ("Be brief.",)), user(CAT, "What is it?")],
        "Be brief. USER: <image>\nWhat is it? ASSISTANT:",
        id="system",
    ),
    pytest.param(
        [
            Message("system", ("Be brief.",)),
            user(CAT, "What is it?"),
            assistant("A cat."),
            user("Its colour?"),
            assistant("Black."),
            user("Sure?"),
        ],
        "Be brief. USER: <image>\nWhat is it? ASSISTANT: A cat.</s>"
        "USER: Its colour? ASSISTANT: Black.</s>USER: Sure? ASSISTANT:",
        id="system, three turns",
    ),
]


@pytest.mark.parametrize(("messages", "expected"), CONVERSATIONS)
def test_prompt_equals_official_example(messages: list[Message], expected: str) -> None:
    assert render(build(messages)) == expected


@given(st.data())
def test_prompt_equals_official_renderer(data: st.DataObject) -> None:
    system = data.draw(st.none() | adversarial_text)
    messages = [] if system is None else [Message("system", (system,))]
    turns: list[tuple[str, str | None]] = []
    for turn in range(last := data.draw(st.integers(1, 3))):
        images = data.draw(st.sampled_from([(), (CAT,), (CAT, DOG)]))
        question, answer = data.draw(adversarial_text) + "?", data.draw(adversarial_text) + "."
        messages.append(user(*images, question))
        final = turn == last - 1
        turns.append(("<image>\n" * len(images) + question, None if final else answer))
        messages += [] if final else [assistant(answer)]
    expected = render_official(SYSTEM if system is None else system, turns)
    assert render(build(messages)) == expected


def test_system_messages_replace_the_system_sentence() -> None:
    messages = [Message("system", ("One.",)), user("Hi"), Message("system", ("Two.",))]
    assert render(build(messages)) == "One.\nTwo. USER: Hi ASSISTANT:"
    assert (
        render(build([user("Hi")], conversation=replace(VICUNA_V1, system="Mine.")))
        == "Mine. USER: Hi ASSISTANT:"
    )
    assert formats.SYSTEM == SYSTEM


def test_adjacent_messages_share_a_turn() -> None:
    messages = [user("First."), user(CAT, "Second."), Message("tool", (DOG, "Third."))]
    assert render(build(messages)) == (
        SYSTEM + " USER: <image>\n<image>\nFirst.\nSecond.\nResult of tool: Third. ASSISTANT:"
    )
    pieces = build(messages)
    assert [piece for piece in pieces if isinstance(piece, ImageRef)] == [CAT, DOG]


@pytest.mark.parametrize("text", STRUCTURE)
def test_text_with_special_tokens_stays_text(text: str) -> None:
    pieces = build([user(f"Say {text} now")])
    assert pieces == [f"{SYSTEM} USER: Say {text} now ASSISTANT:"]


@given(conversations())
def test_structure_does_not_depend_on_text(messages: list[Message]) -> None:
    pieces = build(messages)
    blank = [
        Message(m.role, tuple("x" if isinstance(part, str) else part for part in m.content))
        for m in messages
    ]
    assert [type(piece) for piece in pieces] == [type(piece) for piece in build(blank)]
    images = [image for message in messages for image in message.images]
    assert [piece for piece in pieces if isinstance(piece, ImageRef)] == images
    answers = [message for message in messages if message.role == "assistant"]
    assert sum(isinstance(piece, SpecialToken) for piece in pieces) == len(answers)
    texts = [isinstance(piece, str) for piece in pieces]
    assert all(pieces)
    assert not any(previous and following for previous, following in pairwise(texts))
    joined = "".join(piece for piece in pieces if isinstance(piece, str))
    for message in messages:
        text = message.text
        if message.role == "tool":
            text = write_result("tool", text, error=False)
        assert text in joined


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [Message("system", ("Be brief.",))],
        [user("")],
        [user(" \n ")],
        [assistant("")],
        [user("Hi"), assistant("Hello"), user("  ")],
    ],
)
def test_conversation_without_a_question_raises(messages: list[Message]) -> None:
    with pytest.raises(RequestError) as caught:
        build(messages)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (
            [user("Hi"), assistant("Hello")],
            " USER: Hi ASSISTANT: Hello</s>USER: Please continue. ASSISTANT:",
        ),
        ([assistant("Hello")], " ASSISTANT: Hello</s>USER: Please continue. ASSISTANT:"),
        ([user("Hi"), assistant("")], " USER: Hi ASSISTANT:"),
    ],
)
def test_conversation_that_ends_with_the_assistant_goes_on(
    messages: list[Message], expected: str
) -> None:
    assert render(build(messages)) == SYSTEM + expected


def test_image_without_text_is_a_question() -> None:
    assert render(build([user(CAT)])).endswith("USER: <image>\n ASSISTANT:")


def test_texts_around_images_are_tokenized_separately() -> None:
    calls: list[tuple[str, bool]] = []

    def encode(text: str, *, start: bool) -> list[int]:
        calls.append((text, start))
        return [100 + len(calls)]

    pieces: list[Piece] = ["a <image>", CAT, "b", DOG, CAT, "c", EOS, "d</s>"]
    encoded: list[ImageRef] = []

    def image(ref: ImageRef) -> list[int]:
        encoded.append(ref)
        return [7, 8] if ref == CAT else [9]

    ids = token_ids(pieces, encode, bos=[1], special=lambda token: 2, image=image)
    assert ids == [1, 101, 7, 8, 102, 9, 7, 8, 103, 2, 104]
    assert calls == [("a <image>", True), ("b", True), ("c", True), ("d</s>", False)]
    assert encoded == [CAT, DOG, CAT]
    assert token_ids([], encode, bos=[], special=lambda token: 2, image=image) == []
