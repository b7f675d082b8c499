"""Streams: deltas of scripted answers, what they add up to, and calls read out of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

from llava_tools.core.constraints import UNCONSTRAINED, Constraint
from llava_tools.core.outputs import Chunk, FinishReason, collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.structured.constrained_stream import ConstrainedStream
from llava_tools.structured.parser import ToolCallParser
from llava_tools.structured.stop_strings import StopStringFilter
from llava_tools.testing import ScriptedBackend
from tests.golden import inputs as i
from tests.golden.plain import answer_as_dict, call_delta_as_dict, delta_as_dict

SEE = (i.user(i.RED, "What is this?"),)
ASK = (i.user("What is this?"),)
BOTH = Constraint((i.ADD, i.WEATHER))
TWO_CALLS = f"{i.WRITTEN_ADD}\n{i.WRITTEN_WEATHER}"


def streamed(
    script: str,
    sampling: SamplingParams | None = None,
    constraint: Constraint = UNCONSTRAINED,
    messages: tuple[Message, ...] = ASK,
) -> dict[str, Any]:
    """Return the deltas of a scripted answer, and the answer that they add up to."""
    backend = ScriptedBackend([script])
    request = Request(messages, sampling or SamplingParams(), constraint)
    deltas = list(backend.stream(request))
    return {
        "deltas": [delta_as_dict(delta) for delta in deltas],
        "answer": answer_as_dict(collect(deltas, backend.model_name)),
    }


def read(
    pieces: Sequence[str], constraint: Constraint, reason: FinishReason = "stop"
) -> dict[str, Any]:
    """Return what a reader makes of text that comes in pieces."""
    ids = count(1)
    reader = ToolCallParser(constraint, lambda: f"id{next(ids)}")
    steps = []
    for piece in pieces:
        text, calls = reader.feed(piece)
        steps.append([piece, text, [call_delta_as_dict(call) for call in calls]])
    rest, finish = reader.finish(reason)
    return {"steps": steps, "rest": rest, "finish_reason": finish}


class _Pieces:
    """A stream of one delta for each piece of text."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._deltas = iter([*map(Chunk, pieces), Chunk(finish_reason="stop")])

    def __iter__(self) -> _Pieces:
        return self

    def __next__(self) -> Chunk:
        return next(self._deltas)

    def close(self) -> None:
        pass


def _best_effort(script: str) -> dict[str, Any]:
    stream = ConstrainedStream(_Pieces([script]), BOTH, best_effort=True)
    deltas = list(stream)
    return {
        "deltas": [delta_as_dict(delta) for delta in deltas],
        "answer": answer_as_dict(collect(deltas, "m")),
    }


def _scores(labels: Sequence[str]) -> list[float]:
    backend = ScriptedBackend(scores=lambda request, label: -float(len(label)))
    return backend.score(Request(SEE), labels)


def _stopped(stops: Sequence[str], pieces: Sequence[str]) -> dict[str, Any]:
    stop = StopStringFilter(stops)
    shown = [stop.feed(piece) for piece in pieces]
    return {"shown": shown, "rest": stop.flush(), "stopped": stop.stopped}


def _cut(text: str, *sizes: int) -> list[str]:
    """Cut a text into pieces of these sizes, again and again."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces


ANSWERS: dict[str, Callable[[], Any]] = {
    "words": partial(streamed, "A red box."),
    "words about an image": partial(streamed, "A red box.", messages=SEE),
    "no words": partial(streamed, ""),
    "white space": partial(streamed, "  two  gaps "),
    "unicode": partial(streamed, i.UNICODE),
    "cut off": partial(streamed, "one two three", SamplingParams(max_tokens=2)),
    "exactly enough": partial(streamed, "one two three", SamplingParams(max_tokens=3)),
    "stop string": partial(streamed, "one two. three", SamplingParams(stop=("two", "."))),
    "stop string at the start": partial(streamed, "one two", SamplingParams(stop=("one",))),
    "logprobs": partial(streamed, "one two", SamplingParams(logprobs=True, top_logprobs=2)),
    "a call": partial(streamed, i.WRITTEN_ADD, constraint=BOTH),
    "two calls": partial(streamed, TWO_CALLS, constraint=BOTH),
    "a forced call": partial(
        streamed, i.WRITTEN_ADD, constraint=Constraint((i.ADD, i.WEATHER), "add")
    ),
    "any call": partial(streamed, i.WRITTEN_WEATHER, constraint=Constraint(BOTH.tools, "any")),
    "words instead of a call": partial(streamed, "Nothing to add.", constraint=BOTH),
    "words with a call inside": partial(streamed, f"So {i.WRITTEN_ADD}", constraint=BOTH),
    "a call without tools is text": partial(streamed, i.WRITTEN_ADD),
    "a call where none may be": partial(
        streamed, i.WRITTEN_ADD, constraint=Constraint(BOTH.tools, "none")
    ),
    "JSON": partial(streamed, '{"n": 5}', constraint=Constraint(schema=i.NUMBER)),
    "JSON or a call": partial(
        streamed, '{"n": 5}', constraint=Constraint((i.ADD,), schema=i.NUMBER)
    ),
    "lenient": partial(
        streamed, i.WRITTEN_ADD, constraint=Constraint((i.ADD,), "any", strict=False)
    ),
    "best effort": partial(_best_effort, i.WRITTEN_ADD),
    "a call without arguments": partial(
        streamed,
        '<tool_call>{"name": "now", "arguments": {}}</tool_call>',
        constraint=Constraint((i.PLAIN,)),
    ),
    "scores": partial(_scores, ["a", "bb", "c d"]),
}

READINGS: dict[str, Callable[[], Any]] = {
    "letter by letter": partial(read, list(i.WRITTEN_ADD), BOTH),
    "in threes": partial(read, _cut(TWO_CALLS, 3), BOTH),
    "in sevens and ones": partial(read, _cut(TWO_CALLS, 7, 1), BOTH),
    "at once": partial(read, [TWO_CALLS], BOTH),
    "leading space": partial(read, [" \n", i.WRITTEN_ADD, " \n"], BOTH),
    "loose JSON": partial(
        read,
        ['<tool_call> {"name" :"add",', ' "arguments"\n: {"a" : 1 } } </tool_call>'],
        BOTH,
    ),
    "almost a call": partial(read, ["<tool", "_cat>", " is a tag"], BOTH),
    "only the start of a tag": partial(read, ["<tool_"], BOTH),
    "braces in strings": partial(
        read,
        _cut(i.WRITTEN_WEATHER.replace("Zürich", '}{]\\"['), 5),
        BOTH,
    ),
    "calls without a gap": partial(read, [i.WRITTEN_ADD + i.WRITTEN_WEATHER], BOTH),
    "words in pieces": partial(read, ["No", " call", " <tool_call>", "{}"], BOTH),
    "JSON in pieces": partial(read, _cut('{"n": 12}', 2), Constraint(schema=i.NUMBER)),
    "cut off in words": partial(read, ["No", " call"], BOTH, "length"),
    "nothing": partial(read, [], BOTH),
}

STOPS: dict[str, Callable[[], Any]] = {
    "no stop": partial(_stopped, [], [" a", " b ", "", " c  "]),
    "across pieces": partial(_stopped, ["END"], ["a E", "N", "D b"]),
    "almost": partial(_stopped, ["END"], ["a E", "N", "O b"]),
    "the first that is whole": partial(_stopped, ["bcd", "c"], ["ab", "cd"]),
    "held to the end": partial(_stopped, ["END"], ["a ", "EN"]),
    "space before a stop": partial(_stopped, ["\n"], ["  a ", " \nb"]),
}

CASES: dict[str, Callable[[], Any]] = {
    **{f"answer: {name}": make for name, make in ANSWERS.items()},
    **{f"reading: {name}": make for name, make in READINGS.items()},
    **{f"stop: {name}": make for name, make in STOPS.items()},
}
