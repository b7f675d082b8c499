"""Made-up tools and conversations are valid, answerable from their text, and not the exam's."""

import json
import re
from collections import Counter

import jsonschema
import numpy as np
import pytest

from llava_tools.chat.formats import SYSTEM
from llava_tools.chat.prompt import build, render
from llava_tools.chat.tool_calls import write_turn
from recipes.tiny_llava import tool_exam, tools


def words(text: str) -> set[str]:
    """Return the lower-case words of a name or sentence, camel case taken apart."""
    return set(re.findall(r"[a-z]+", re.sub(r"([A-Z])", r" \1", text).lower()))


def test_the_text_is_the_prompt_of_the_engine_and_the_answer() -> None:
    for seed in range(300):
        messages, constraint, _ = tools.dialogue(np.random.default_rng(seed))
        conversation = tools.conversation(np.random.default_rng(seed))
        *turns, (request, answer) = conversation.turns
        text = "".join(f"USER: {user} ASSISTANT: {reply}</s>" for user, reply in turns)
        text = f"{conversation.system} {text}USER: {request} ASSISTANT:"
        assert text == render(build(messages[:-1], constraint))
        assert answer == write_turn(messages[-1].text, messages[-1].tool_calls)
        record = conversation.as_record("7")["conversations"]
        texts = [conversation.system, *(text for turn in conversation.turns for text in turn)]
        assert [turn["value"] for turn in record] == texts
        assert [turn["from"] for turn in record[:3]] == ["system", "human", "gpt"]


def test_arguments_satisfy_the_schema_and_stand_in_the_request() -> None:
    rng = np.random.default_rng(2)
    made = [tools.make_tool(rng) for _ in range(2000)]
    assert {tool.family for tool in made} == set(tools.families())
    for tool in made:
        request, arguments = tools.ask_for(rng, tool)
        schema = tool.spec.parameters
        jsonschema.validate(arguments, schema)
        assert list(arguments) == [name for name in schema["properties"] if name in arguments]
        assert "<" not in request
        text = f"{tool.spec.name} {tool.spec.description} {json.dumps(schema)}"
        assert not words(text) & tools.held_out()
        for value in arguments.values():
            for part in value if isinstance(value, list) else [value]:
                assert isinstance(part, bool) or str(part) in request, (request, part)


def test_kinds_have_their_shares_and_answers() -> None:
    rng = np.random.default_rng(3)
    found = [tools.conversation(rng) for _ in range(1000)]
    counts = Counter(conversation.kind for conversation in found)
    assert {kind: n / 1000 for kind, n in counts.items()} == pytest.approx(tools.SHARES, abs=0.05)
    assert 0.8 < np.mean([conversation.system.startswith(SYSTEM) for conversation in found]) < 0.9
    for conversation in found:
        answer = conversation.turns[-1][1]
        assert answer.startswith("<tool_call>") == (conversation.kind == "call")
        assert (answer == tools.NO_TOOL) == (conversation.kind == "none")
        assert "\n" not in "".join(text for turn in conversation.turns for text in turn)


def test_the_examination_is_not_trained_on() -> None:
    items, rng = tool_exam.items(), np.random.default_rng(4)
    kinds = Counter("call" if "/" in item.kind else item.kind for item in items)
    assert kinds == {"call": 388, "result": 15, "words": 15, "none fits": 20}
    text = "\n".join("\n".join(turn) for _ in range(1000) for turn in tools.conversation(rng).turns)
    requests = {item.messages[0].text for item in items if item.kind != "words"}
    assert not requests & set(text.split("\n"))
    for tool in tool_exam.tools().values():
        assert words(f"{tool.name} {tool.description}") & tools.held_out()
    right = tool_exam.by_part(items, [item.answer or "Yes." for item in items])
    assert right["exact call"] == (388, 388)
    assert tool_exam.by_part(items[-1:], ["<tool_call>{}"]) == {"none fits": (0, 1)}
