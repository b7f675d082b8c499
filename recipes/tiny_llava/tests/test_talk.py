"""Made-up tools and conversations are valid, answerable from their text, and not the exam's."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer

from llava_tools.chat.formats import SYSTEM
from llava_tools.core.constraints import Constraint
from llava_tools.images import open_image
from recipes.tiny_llava.conversations import Writer, lectures
from recipes.tiny_llava.packing import IMAGE, pack, packed_length
from recipes.tiny_llava.talk.asking import ask_for
from recipes.tiny_llava.talk.exam import (
    TOOLS,
    by_part,
    call_items,
    plain_items,
    result_items,
    right,
    unfit_items,
)
from recipes.tiny_llava.talk.families import any_tool, some_tools
from recipes.tiny_llava.talk.lectures import lecture
from recipes.tiny_llava.talk.names import HELD_OUT, subject
from recipes.tiny_llava.talk.opening import opened
from recipes.tiny_llava.talk.react import KNOWN, THOUGHT, react
from recipes.tiny_llava.talk.small import NO_TOOL, chat, unfitting
from recipes.tiny_llava.talk.talks import Lecture
from recipes.tiny_llava.world import sample_scene

seeds = st.integers(0, 2**32)
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list}
OUTSIDE = ("magic_function", "get_weather", "greeting_generator", "unicode_customer")
PICTURE = open_image(Image.new("RGB", (8, 8)))
SENTENCES = ("San Francisco", "你好", "こんにちは", "Pirate", "customer_name")


@pytest.fixture(scope="module")
def writer(tokenizer: Tokenizer) -> Writer:
    return Writer(tokenizer)


def words(text: str) -> set[str]:
    """Words of a name or sentence, camel case taken apart."""
    return set(re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", text).lower()))


def everything(told: Lecture) -> str:
    """All that a lecture says."""
    parts = [tool.name + tool.description for tool in told.constraint.tools]
    for talk in told.talks:
        for message in talk.messages:
            parts += [message.text, *(str(dict(call.arguments)) for call in message.tool_calls)]
    return "\n".join(parts)


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_arguments_satisfy_their_schema_and_stand_in_the_request(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked = ask_for(rng, any_tool(rng))
    schema = asked.tool.spec.parameters
    assert set(schema["required"]) <= set(asked.arguments) <= set(schema["properties"])
    assert "<" not in asked.text
    order = [name for name in schema["properties"] if name in asked.arguments]
    assert list(asked.arguments) == order
    for name, value in asked.arguments.items():
        field = schema["properties"][name]
        assert isinstance(value, TYPES[field["type"]])
        if "enum" in field:
            assert value in field["enum"]
        for part in value if isinstance(value, list) else [value]:
            written = {str(part), json.dumps(part, ensure_ascii=False), json.dumps(part)}
            found = any(text.lower() in asked.text.lower() for text in written)
            assert found or isinstance(part, bool), (asked.text, part)


@given(seeds)
@settings(max_examples=150, deadline=None)
def test_lectures_are_conversations_that_end_as_learned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    told = lecture(rng, 3)
    assert len(told.talks) == 3
    for talk in told.talks:
        assert talk.kinds
        known: set[str] = set()
        for index, message in enumerate(talk.messages):
            known |= {call.id for call in message.tool_calls}
            assert message.role != "tool" or message.tool_call_id in known
            assert index not in talk.kinds or message.role == "assistant"
            if index in talk.kinds and told.constraint.requires_call:
                assert message.tool_calls
            for call in message.tool_calls:
                assert call.name in {tool.name for tool in told.constraint.callable_tools}
            if talk.kinds.get(index) == "json":
                answer = json.loads(message.text)
                assert told.constraint.schema is not None
                assert list(answer) == list(told.constraint.schema["properties"])


@given(seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_agents_that_think_aloud_write_what_frameworks_parse(seed: int, seen: bool) -> None:
    rng = np.random.default_rng(seed)
    told = react(rng, 3, sample_scene(rng) if seen else None, PICTURE if seen else None)
    named = re.findall("^> Tool Name: (.+)$", told.system, re.MULTILINE)
    assert re.search(rf"^Action: .*{re.escape(', '.join(named))}", told.system, re.MULTILINE)
    for talk in told.talks:
        assert talk.messages[0].images == ((PICTURE,) if seen else ())
        ((learned, kind),) = talk.kinds.items()
        assert learned == len(talk.messages) - 1
        text = talk.messages[learned].text
        if kind == "react call":
            action = re.fullmatch(
                f"Thought: {re.escape(THOUGHT)}\nAction: (.+)\nAction Input: (.+)", text
            )
            assert action
            assert action[1] in named
            schema = re.search(
                rf"> Tool Name: {re.escape(action[1])}\n.*\n.*\nTool Args: (.+)", told.system
            )
            assert schema
            assert set(json.loads(action[2])) <= set(json.loads(schema[1])["properties"])
        else:
            assert text.startswith(f"Thought: {KNOWN}\nAnswer: ")
            assert (len(talk.messages) == 4) == (kind == "react answer")


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_a_tool_gives_the_picture_that_was_asked_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (talk,) = opened(rng, 12, sample_scene(rng), PICTURE).talks
    user, call, result, _ = talk.messages
    (handle,) = call.tool_calls[0].arguments.values()
    assert handle in user.text
    assert [picture.handle for picture in result.images] == [handle]
    assert user.images == ()
    assert set(talk.kinds) == {1, 3}


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_no_tool_is_bound_that_fits_what_none_should(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tools = some_tools(rng, (0.5, 0.5))
    told = " ".join(f"{tool.spec.name} {tool.spec.description}".lower() for tool in tools)
    found = unfitting(rng, told)
    assert found is not None
    text, answer = found
    assert answer == NO_TOOL
    assert "<" not in text


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_what_tools_are_about_is_not_what_the_examination_asks_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = [subject(rng) for _ in range(20)]
    assert not set(found) & HELD_OUT
    assert all(word.isalpha() and word.islower() for word in found)


def test_the_examination_is_never_trained_on() -> None:
    rng = np.random.default_rng(3)
    items = (*call_items(), *result_items(), *unfit_items())
    sentences = {item.messages[0].text for item in items}
    for _ in range(1500):
        told = lecture(rng, 2)
        for tool in told.constraint.tools:
            assert tool.name not in TOOLS
            assert tool.name not in OUTSIDE
            assert not words(f"{tool.name} {tool.description}") & HELD_OUT
        text = everything(told)
        assert not [outside for outside in SENTENCES if outside in text]
        assert not sentences & set(text.split("\n"))
    for tool in TOOLS.values():
        assert words(f"{tool.name} {tool.description}") & HELD_OUT, tool.name


def test_a_row_shares_its_system_turn(writer: Writer) -> None:
    rng = np.random.default_rng(5)
    for scene in (None, sample_scene(rng), None, sample_scene(rng)):
        branches = lectures(writer, rng, 900, scene)
        packed = pack([branches])
        assert packed.ids.shape[1] == packed_length(branches)
        assert packed_length(branches) <= sum(len(branch.ids) for branch in branches)
        assert sum(branch.ids.count(IMAGE) for branch in branches[:1]) == (64 if scene else 0)
        assert int((packed.labels >= 0).sum()) == sum(sum(branch.said) for branch in branches)


def test_a_call_is_learned_as_it_is_written(writer: Writer, tokenizer: Tokenizer) -> None:
    tool = TOOLS["magic_number"]
    item = next(item for item in call_items() if item.kind == "1 tools/integer/function")
    ids = writer.asked(item.messages, SYSTEM, Constraint((tool,), "any"))
    text = tokenizer.decode(ids)
    assert "\nTools:\nmagic_number(input: integer): Apply a magic rule to a number.\n" in text
    assert text.endswith("ASSISTANT:")
    assert item.answer.startswith('<tool_call>{"name": "magic_number", "arguments": {"input": ')


def test_scores_are_kept_by_part() -> None:
    call = next(item for item in call_items() if item.kind == "2 tools/none/natural")
    word = plain_items()[0]
    parts = by_part([call, word, word], [call.answer, "Hello!", "<tool_call>{}</tool_call>"])
    assert parts["exact call"] == parts["2 tools"] == parts["none"] == parts["natural"] == (1, 1)
    assert parts["words"] == (1, 2)


def test_tools_that_do_not_fit_are_let_alone() -> None:
    items = unfit_items()
    asked = {(item.messages[0].text, *(t.name for t in item.constraint.tools)) for item in items}
    assert len(asked) == 20
    for item in items:
        assert item.constraint.tools
        assert right(item, "I can't tell.")
        assert not right(item, '<tool_call>{"name": "my_adder", "arguments": {}}</tool_call>')
        assert not right(item, "")


def test_words_are_answered_with_words() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        asked, answer = chat(rng)
        assert asked
        assert answer
