"""Tokens that a grammar leaves no choice about: the same answers as without, in fewer steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import AutoTokenizer

import llava_tools
from llava_tools import Llava, open_image
from llava_tools.chat.tool_calls import write_call, write_json
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.outputs import Answer, Chunk, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.engine import engine as engine_module
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.grammar_masks import GrammarCache, Matcher
from llava_tools.errors import OutputError

TINY = Path(llava_tools.__file__).parent / "tiny"
SENTENCE = "Frida Kahlo was born in Mexico in 1907 and was a painter."
PROPERTIES = {
    "name": {"type": "string"},
    "country": {"type": "string"},
    "year": {"type": "integer"},
    "profession": {"type": "string"},
    "alive": {"type": "boolean"},
}
FORM = {"type": "object", "properties": PROPERTIES, "required": list(PROPERTIES)}
#: Keys and values of several bytes, escapes, and what reads like a tag.
ODD = {
    "type": "object",
    "properties": {
        "näme": {"enum": ["é", "猫"]},
        "猫猫": {"const": 'a "b" \\ <tool_call> 😀'},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["näme", "猫猫", "count"],
}
VALUES = {
    "name": 'Ida "Ö" 猫',
    "country": "Mexico",
    "year": 1907,
    "profession": "",
    "alive": False,
}
ODD_VALUES = {"näme": "猫", "猫猫": 'a "b" \\ <tool_call> 😀', "count": 3}
ADD = ToolSpec(
    "add",
    "Add two integers.",
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
NOW = ToolSpec("now", "The time.")
REQUESTS = {
    "form": (SENTENCE, Constraint(schema=FORM)),
    "several bytes": (SENTENCE, Constraint(schema=ODD)),
    "one of two": ("Is it red or green?", Constraint(schema={"enum": ["red", "green"]})),
    "call": ("Add 17 and 25.", Constraint((ADD, NOW), "add")),
    "call without arguments": ("What time is it?", Constraint((ADD, NOW), "now")),
    "any call": ("What is 17 + 25?", Constraint((ADD, NOW), "any")),
    "one call": ("Add 17 and 25.", Constraint((ADD,), "any", parallel_tool_calls=False)),
    "words or calls": ("Add 17 and 25.", Constraint((ADD, NOW))),
    "words": ("Hello!", Constraint((ADD, NOW))),
    "form or call": (SENTENCE, Constraint((NOW,), schema=FORM)),
}


def engine_of(model: Llava) -> LlavaEngine:
    assert isinstance(model.backend, LlavaEngine)
    return model.backend


def request(name: str, *images: Any, **sampling: Any) -> Request:
    text, constraint = REQUESTS[name]
    params = SamplingParams(**{"max_tokens": 150, **sampling})
    return Request((Message("user", (*images, text)),), params, constraint)


def answer(model: Llava, item: Request) -> Answer:
    return collect(model.backend.stream(item), "m")


def comparable(item: Answer) -> tuple[object, ...]:
    """All of an answer but times and ids."""
    calls = [(call.name, dict(call.arguments)) for call in item.tool_calls]
    usage = (item.usage.prompt_tokens, item.usage.completion_tokens)
    return item.text, calls, item.token_ids, item.finish_reason, usage


@pytest.fixture
def unforced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Llava, Request], Answer]:
    """Answers a request with every token sampled."""

    def run(model: Llava, item: Request) -> Answer:
        with monkeypatch.context() as patch:
            patch.setattr(Matcher, "forced_tokens", lambda self, limit: [])
            return answer(model, item)

    return run


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves answers unparsed and unchecked, so that those that are cut off can be read."""
    monkeypatch.setattr(engine_module, "constrained", lambda stream, *_, **__: stream)


@pytest.fixture
def steps(tiny: Llava, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each step of the embedded model, how many rows it has."""
    rows: list[int] = []
    runner = engine_of(tiny).loop.runner
    run = runner.run

    def counted(shares: Any) -> Any:
        rows.append(sum(share.rows for share in shares))
        return run(shares)

    monkeypatch.setattr(runner, "run", counted)
    return rows


@pytest.fixture(scope="module")
def tiny() -> Iterator[Llava]:
    with Llava() as model:
        yield model


@pytest.mark.parametrize("pieces", ["bytes", "sentences"])
@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (Constraint(schema=FORM), write_json(VALUES)),
        (Constraint(schema=ODD), write_json(ODD_VALUES)),
        (Constraint((ADD, NOW), "add"), write_call(ToolCall("", "add", {"a": -17, "b": 0}))),
        (Constraint((ADD, NOW)), write_call(ToolCall("", "now", {}))),
    ],
    ids=["form", "several bytes", "call", "words or calls"],
)
def test_forced_tokens_are_those_of_the_tokenizer(
    checkpoint: Path, pieces: str, constraint: Constraint, text: str
) -> None:
    """Then a model that writes text as its tokenizer cuts it would choose them, too."""
    folder = TINY if pieces == "bytes" else checkpoint
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    matcher, _ = GrammarCache(tokenizer, len(tokenizer) + 13).matcher(constraint)
    tokens = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    position = count = 0
    while position < len(tokens):
        forced = matcher.forced_tokens(100)
        assert tokens[position : position + len(forced)] == forced
        position, count = position + len(forced), count + len(forced)
        if position < len(tokens):
            matcher.accept(tokens[position])
            position += 1
    assert not matcher.error
    assert count > len(tokens) / 4


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
def test_a_grammar_advances_by_no_more_than_the_limit(limit: int) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(TINY)
    matcher, _ = GrammarCache(tokenizer, len(tokenizer)).matcher(Constraint(schema=FORM))
    for token in tokenizer.encode('{"', add_special_tokens=False):
        matcher.accept(token)
    key = tokenizer.encode('name": "', add_special_tokens=False)
    assert matcher.forced_tokens(limit) == key[:limit]
    assert matcher.forced_tokens(100) == key[limit:]


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_those_without_forcing(
    tiny: Llava, unforced: Callable[[Llava, Request], Answer], name: str
) -> None:
    item = request(name)
    expected = unforced(tiny, item)
    assert comparable(answer(tiny, item)) == comparable(expected)
    assert expected.finish_reason != "length"


def test_a_form_about_an_image_is_that_without_forcing(
    tiny: Llava, unforced: Callable[[Llava, Request], Answer], images: list[Image.Image]
) -> None:
    for image in images[:3]:
        item = request("form", open_image(image))
        assert comparable(answer(tiny, item)) == comparable(unforced(tiny, item))


@pytest.mark.parametrize("name", ["several bytes", "one of two", "call", "one call"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_random_weights_with_pieces_of_sentences_answer_in_form(
    llava: Llava, name: str, temperature: float
) -> None:
    """They choose any tokens that spell an answer, so only the form is sure."""
    for seed in range(5):
        try:
            result = answer(llava, request(name, temperature=temperature, seed=seed))
        except OutputError as error:
            if "cut off by max_tokens" not in str(error):
                raise
            continue
        if result.tool_calls:
            assert all(call.arguments.keys() == {"a", "b"} for call in result.tool_calls)
        else:
            assert json.loads(result.text) in ("red", "green") or "猫猫" in result.text
        assert result.finish_reason in ("stop", "tool_calls")


def test_a_form_takes_fewer_steps_than_tokens(tiny: Llava, steps: list[int]) -> None:
    result = answer(tiny, request("form"))
    assert len(steps) < 0.6 * len(result.token_ids)
    assert max(steps[1:]) > 1, "no step has the tokens that the one before has forced"


def test_a_constrained_answer_is_streamed(tiny: Llava, steps: list[int]) -> None:
    """Each step's text is there before the next step is read."""
    chunks = list(tiny.backend.stream(request("form")))
    assert len(chunks) == len(steps)
    assert sum(bool(chunk.text) for chunk in chunks) >= len(PROPERTIES)
    assert json.loads("".join(chunk.text for chunk in chunks)).keys() == PROPERTIES.keys()
    calls = list(tiny.backend.stream(request("call")))
    parts = [part for chunk in calls for part in chunk.tool_call_chunks]
    assert parts[0].name == "add"
    assert len(parts) > 3, "the arguments came at once"
    assert json.loads("".join(part.arguments for part in parts)).keys() == {"a", "b"}


def test_the_end_of_a_grammar_takes_no_step(tiny: Llava, steps: list[int]) -> None:
    result = answer(tiny, request("one of two"))
    eos = engine_of(tiny).loaded.tokenizer.tokenizer.eos_token_id
    assert result.token_ids[-1] == eos
    assert result.finish_reason == "stop"
    assert len(steps) < len(result.token_ids)


@pytest.mark.parametrize("name", ["form", "call", "several bytes"])
@pytest.mark.usefixtures("raw")
def test_an_answer_is_cut_off_at_the_same_token(
    tiny: Llava, unforced: Callable[[Llava, Request], Answer], name: str
) -> None:
    whole = answer(tiny, request(name))
    length = len(whole.token_ids)
    for limit in sorted({*range(1, length, 3), length - 1, length}):
        item = request(name, max_tokens=limit)
        cut = answer(tiny, item)
        assert comparable(cut) == comparable(unforced(tiny, item))
        assert cut.token_ids == whole.token_ids[:limit]
        assert cut.finish_reason == ("length" if limit < length else "stop")


@pytest.mark.parametrize("stop", ['"', '"year"', 'ar": ', "try", "on"])
@pytest.mark.usefixtures("raw")
def test_stop_strings_inside_forced_text_end_the_answer(
    tiny: Llava, unforced: Callable[[Llava, Request], Answer], stop: str
) -> None:
    item = request("form", stop=(stop,))
    result = answer(tiny, item)
    assert comparable(result) == comparable(unforced(tiny, item))
    assert result.finish_reason == "stop"
    assert stop not in result.text
    assert engine_of(tiny).idle


def test_log_probabilities_are_those_of_every_token(
    tiny: Llava, unforced: Callable[[Llava, Request], Answer], steps: list[int]
) -> None:
    item = request("form", logprobs=True, top_logprobs=2)
    result = answer(tiny, item)
    assert len(steps) == len(result.token_ids) == len(result.logprobs)
    expected = unforced(tiny, item)
    assert comparable(result) == comparable(expected)
    assert result.logprobs == expected.logprobs


@pytest.mark.parametrize("name", ["form", "any call"])
def test_a_seed_repeats_an_answer_alone_and_among_others(tiny: Llava, name: str) -> None:
    def stream(seed: int) -> Any:
        return tiny.backend.stream(request(name, temperature=1.5, seed=seed))

    def read(chunks: Any) -> tuple[object, ...] | str:
        try:
            return comparable(collect(chunks, "m"))
        except OutputError as error:
            return str(error)

    alone = [read(stream(seed)) for seed in range(4)]
    together = [stream(seed) for seed in range(4)]
    assert [read(chunks) for chunks in together] == alone
    assert len({str(item) for item in alone}) > 1


def test_a_follow_up_finds_what_was_forced_in_the_kv(tiny: Llava) -> None:
    first = answer(tiny, request("form"))
    (message,) = request("form").messages
    follow_up = Request(
        (message, Message("assistant", (first.text,)), Message("user", ("And her first name?",))),
        SamplingParams(max_tokens=12),
    )
    result = answer(tiny, follow_up)
    computed = first.usage.prompt_tokens + len(first.token_ids)
    # The system turn has no form the second time, so nothing of the first request is shared ...
    with Llava(prefix_caching=False) as plain:
        assert comparable(result) == comparable(answer(plain, follow_up))
    # ... but with the same form all blocks that the answer has filled are.
    again = Request(follow_up.messages, SamplingParams(max_tokens=150), Constraint(schema=FORM))
    shared = answer(tiny, again)
    assert shared.usage.cached_tokens >= (computed - 2) // 32 * 32
    with Llava(prefix_caching=False) as plain:
        assert comparable(shared) == comparable(answer(plain, again))


def test_several_calls_follow_each_other(
    tiny: Llava, unforced: Callable[[Llava, Request], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is forbidden until there are two calls, which a bias cannot say."""
    text, constraint = "Add 17 and 25. What time is it?", Constraint((ADD, NOW), "any")
    item = Request((Message("user", (text,)),), SamplingParams(max_tokens=150), constraint)
    allowed_bits = Matcher.allowed_bits

    def without_end(matcher: Matcher) -> bytes:
        bits = bytearray(allowed_bits(matcher))
        only_end = bytearray(len(bits))
        only_end[matcher._eos_token_id // 8] = 1 << matcher._eos_token_id % 8
        rest = bytes(a & ~b for a, b in zip(bits, only_end, strict=True))
        return rest if any(rest) else bytes(bits)

    with monkeypatch.context() as patch:
        patch.setattr(Matcher, "allowed_bits", without_end)
        patch.setattr(engine_module, "constrained", lambda stream, *_, **__: stream)
        result, expected = answer(tiny, item), unforced(tiny, item)
    assert result.text.count("</tool_call>\n<tool_call>") >= 1
    assert comparable(result) == comparable(expected)


def test_cancelling_in_the_middle_leaves_nothing_behind(tiny: Llava) -> None:
    engine = engine_of(tiny)
    expected = comparable(answer(tiny, request("form")))
    for count in range(1, 6):
        with closing(tiny.backend.stream(request("form"))) as stream:
            chunks: list[Chunk] = [next(stream) for _ in range(count)]
        assert all(chunk.finish_reason is None for chunk in chunks)
        assert comparable(answer(tiny, request("form"))) == expected
    assert engine.idle
