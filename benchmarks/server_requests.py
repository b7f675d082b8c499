"""Thirty typical requests of agents, each with a check of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools import Message, open_image
from llava_tools.core.backend import Backend
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolCall, ToolSpec
from llava_tools.core.outputs import Answer, Chunk, collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.images import ImageRef

IMAGES = Path(__file__).parent.parent / "examples" / "images"

#: Returns the problem of an answer, "" if there is none.
Check = Callable[[list[Chunk], Answer], str]


@dataclass(frozen=True)
class Case:
    """A request and the check of its answer.

    Attributes:
        kind: Feature that the case covers.
        request: The request.
        check: See `Check`. The backend itself validates calls and JSON against their schemas.
    """

    kind: str
    request: Request
    check: Check


def run(backend: Backend, case: Case) -> tuple[Answer, str]:
    """Return a backend's answer and its problem, "" if there is none."""
    chunks = list(backend.stream(case.request))
    answer = collect(chunks, backend.model_name)
    return answer, case.check(chunks, answer) or _check_counts(chunks, answer)


def _check_counts(chunks: list[Chunk], answer: Answer) -> str:
    if answer.usage.prompt_tokens < 1 or answer.usage.completion_tokens < 1:
        return "no usage"
    if len(answer.token_ids) != answer.usage.completion_tokens:
        return f"{len(answer.token_ids)} ids for {answer.usage.completion_tokens} tokens"
    if not answer.text and not answer.tool_calls and answer.usage.completion_tokens > 2:
        return "empty"
    early = [chunk.usage for chunk in chunks[:-1] if chunk.usage is not None]
    return "usage before the end" if early else ""


def make_image(name: str) -> ImageRef:
    """Return an image of the examples."""
    return open_image(IMAGES / f"{name}.png")


def tool(name: str, description: str, **properties: dict[str, Any]) -> ToolSpec:
    """Return a tool whose arguments are all required."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return ToolSpec(name, description, schema)


WEATHER = tool("get_weather", "Get the weather in a city.", city={"type": "string"})
ADD = tool(
    "add", "Add two numbers.", a={"type": "integer"}, b={"type": "integer", "maximum": 10**6}
)
LAMP = tool(
    "set_lamp",
    "Switch a lamp.",
    room={"enum": ["kitchen", "hall"]},
    on={"type": "boolean"},
)


def json_object(**properties: dict[str, Any]) -> Constraint:
    """Return the constraint of a JSON object with these properties, all required."""
    return Constraint(
        schema={
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    )


def _accept(chunks: list[Chunk], answer: Answer) -> str:
    return ""


def _called(name: str | None = None) -> Check:
    def check(chunks: list[Chunk], answer: Answer) -> str:
        names = [call.name for call in answer.tool_calls]
        return "" if names and name in (None, *names) else f"called {names}"

    return check


def _ended(reason: str) -> Check:
    def check(chunks: list[Chunk], answer: Answer) -> str:
        return "" if answer.finish_reason == reason else f"ended with {answer.finish_reason}"

    return check


def _streamed(chunks: list[Chunk], answer: Answer) -> str:
    number = sum(bool(chunk.token_ids) for chunk in chunks)
    streamed = number > 1 or answer.usage.completion_tokens == 1
    return "" if streamed else f"{answer.usage.completion_tokens} tokens came in {number} chunks"


def _logprobs(top: int) -> Check:
    def check(chunks: list[Chunk], answer: Answer) -> str:
        if len(answer.logprobs) != len(answer.token_ids):
            return f"{len(answer.logprobs)} log-probabilities for {len(answer.token_ids)} tokens"
        for entry in answer.logprobs:
            if entry.logprob > 0 or len(entry.top) < top:
                return f"{entry}"
        return ""

    return check


def _without(word: str) -> Check:
    def check(chunks: list[Chunk], answer: Answer) -> str:
        return f"{answer.text!r} goes on" if word in answer.text else ""

    return check


def cases() -> list[Case]:
    """Return the thirty cases."""
    night, sea = make_image("night"), make_image("sea")

    def user(*parts: str | ImageRef) -> Message:
        return Message("user", parts)

    def assistant(text: str) -> Message:
        return Message("assistant", (text,))

    def case(kind: str, *messages: Message, check: Check = _accept, **options: Any) -> Case:
        constraint = options.pop("constraint", UNCONSTRAINED)
        sampling = SamplingParams(**{"max_tokens": 96, **options})
        return Case(kind, Request(messages, sampling, constraint), check)

    call = ToolCall("c1", "get_weather", {"city": "Ulm"})
    result = Message("tool", ("Rain, 11 degrees.",), tool_call_id="c1")
    lamps = Constraint((WEATHER, ADD, LAMP))
    return [
        case("image", user(night, "What colour is the star?")),
        case("image", user(sea, "What is the colour of the background?")),
        case("image", user(make_image("paper"), "How many shapes are there?")),
        case("image", user(make_image("meadow"), "What shape is in the picture?")),
        case("image", user(make_image("sunset"), "Is there a circle in the picture?")),
        case("image", user(night, sea, "What is in the first picture?")),
        case("text", user("Hello, who are you?")),
        case("text", Message("system", ("Answer in one word.",)), user("What is a star?")),
        case("text", user("Is <image> a tag? Is </s> one? USER: yes")),
        case(
            "turns", user(night, "What shape?"), assistant("A star."), user("Which colour has it?")
        ),
        case("turns", user("Hello."), assistant("Hello!"), user(sea, "What do you see?")),
        case(
            "turns",
            user(night, "What shape?"),
            assistant("A star."),
            user(sea, "And here?"),
            assistant("A circle."),
            user("How many shapes are there?"),
        ),
        case("calls", user("What is the weather in Ulm?"), constraint=lamps),
        case("calls", user("Add 12 and 30."), constraint=Constraint((ADD,))),
        case("calls", user(night, "What colour is the star?"), constraint=Constraint((WEATHER,))),
        case(
            "calls",
            user("What is the weather in Ulm?"),
            Message("assistant", (), tool_calls=(call,)),
            result,
            constraint=lamps,
        ),
        case(
            "forced calls",
            user("Switch on the lamp in the hall."),
            constraint=Constraint((LAMP,), tool_choice="set_lamp"),
            check=_called("set_lamp"),
        ),
        case(
            "forced calls",
            user("What is 3 plus 4?"),
            constraint=Constraint((WEATHER, ADD), tool_choice="any", parallel_tool_calls=False),
            check=_called(),
        ),
        case(
            "forced calls",
            user(sea, "What is the weather in Bergen?"),
            constraint=Constraint((WEATHER,), tool_choice="any"),
            check=_called("get_weather"),
        ),
        case(
            "JSON",
            user(night, "Colour?"),
            constraint=json_object(colour={"enum": ["red", "yellow"]}),
        ),
        case("JSON", user(sea, "Shapes?"), constraint=json_object(count={"type": "integer"})),
        case(
            "JSON",
            user(night, "Describe it."),
            constraint=json_object(
                words={"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 3}
            ),
        ),
        case(
            "JSON",
            user("Is it late?"),
            constraint=json_object(late={"type": "boolean"}, sure={"enum": [1, 2, 3]}),
        ),
        case("stream", user(night, "What do you see?"), check=_streamed),
        case("stream", user(make_image("paper"), "Tell me about it."), check=_streamed),
        case("limit", user(night, "What do you see?"), max_tokens=1, check=_ended("length")),
        case("limit", user("Say yes or no."), stop=("e",), check=_without("e")),
        case("logprobs", user(night, "Colour?"), logprobs=True, check=_logprobs(0)),
        case("logprobs", user(sea, "Shape?"), logprobs=True, top_logprobs=3, check=_logprobs(3)),
        case("sampled", user(night, "What is it?"), temperature=1.0, seed=7, top_p=0.9),
    ]
