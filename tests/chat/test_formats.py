"""Each format writes, byte for byte, the prompt that its models were trained on."""

from __future__ import annotations

import pytest
from hypothesis import given

from llava_tools.chat.formats import EOS, FORMATS, ConversationFormat, SpecialToken
from llava_tools.chat.prompt import build, render, training_example
from llava_tools.core.requests import Message
from tests.strategies import conversations, make_image

CAT, DOG = make_image(1), make_image(2)
THREE_TURNS = [
    Message("user", (CAT, "What is it?")),
    Message("assistant", ("A cat.",)),
    Message("user", ("And its colour?",)),
    Message("assistant", ("Black.",)),
    Message("user", ("Sure?",)),
]

#: Written down from the sources that the rows name.
PROMPTS = {
    "vicuna_v1": (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. USER: <image>\n"
        "What is it? ASSISTANT: A cat.</s>USER: And its colour? ASSISTANT: Black.</s>USER: Sure? "
        "ASSISTANT:"
    ),
    "chatml": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\n"
        "What is it?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n<|im_start|>user\n"
        "And its colour?<|im_end|>\n<|im_start|>assistant\nBlack.<|im_end|>\n<|im_start|>user\n"
        "Sure?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama3": (
        "<|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat is it?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA cat.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nAnd its colour?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nBlack.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "phi3": (
        "<|user|>\n<image>\nWhat is it?<|end|>\n<|assistant|>\nA cat.<|end|>\n<|user|>\n"
        "And its colour?<|end|>\n<|assistant|>\nBlack.<|end|>\n<|user|>\nSure?<|end|>\n"
        "<|assistant|>\n"
    ),
    "joycaption": (
        "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 July 2024\n\nYou are a helpful image captioner.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n<|reserved_special_token_70|><image>"
        "<|reserved_special_token_71|>What is it?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA cat.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nAnd its colour?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nBlack.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nSure?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
}
rows = pytest.mark.parametrize("row", FORMATS.values(), ids=lambda row: row.name)


@rows
def test_three_turns_are_written_as_in_training(row: ConversationFormat) -> None:
    assert render(build(THREE_TURNS, conversation=row)) == PROMPTS[row.name]


@rows
def test_a_system_message_replaces_the_sentence_of_the_format(row: ConversationFormat) -> None:
    text = render(build([Message("system", ("Be brief.",)), *THREE_TURNS], conversation=row))
    assert text.count("Be brief.") == 1
    assert not row.system or row.system not in text
    assert text.endswith(PROMPTS[row.name].rpartition("And its colour?")[2])


@rows
def test_an_empty_system_message_leaves_the_turn_out(row: ConversationFormat) -> None:
    text = render(build([Message("system", ("",)), *THREE_TURNS], conversation=row))
    assert ("system" in text) == (row.name == "joycaption")


@rows
def test_a_training_example_is_the_prompt_and_what_the_model_generates(
    row: ConversationFormat,
) -> None:
    *previous, _ = THREE_TURNS
    example = training_example(previous, row)
    prompt = build(previous[:-1], conversation=row)
    end = "</s>" if row.name == "vicuna_v1" else row.end_of_turn.text
    assert render(example) == render(prompt) + row.answer_prefix + "Black." + end
    assert example[-1] == row.end_of_turn


@rows
def test_each_image_of_a_turn_has_its_own_markers(row: ConversationFormat) -> None:
    text = render(build([Message("user", (CAT, DOG, "Same?"))], conversation=row))
    between = "\n"
    if row.name == "joycaption":
        between = "<|reserved_special_token_71|><|reserved_special_token_70|>"
    assert f"<image>{between}<image>" in text


@given(messages=conversations())
def test_text_never_becomes_structure_in_any_format(messages: list[Message]) -> None:
    for row in FORMATS.values():
        pieces = build(messages, conversation=row)
        blank = [
            Message(m.role, (*m.images, "x" if m.text else ""), m.tool_calls, m.tool_call_id)
            for m in messages
        ]
        structure = [piece for piece in pieces if isinstance(piece, SpecialToken)]
        plain = build(blank, conversation=row)
        assert structure == [piece for piece in plain if isinstance(piece, SpecialToken)]


def test_only_llava_15_ends_turns_with_the_tokenizers_own_end() -> None:
    assert [row.name for row in FORMATS.values() if row.end_of_turn == EOS] == ["vicuna_v1"]
