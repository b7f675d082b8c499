"""The remote backend: what is sent to a server, and what its answers become."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from PIL import Image

from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolSpec
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.remote import RemoteBackend
from llava_tools.remote.constraint_encoding import call_schema
from llava_tools.remote.protocol import ChunkParser
from tests.fake_server import FakeServer, Kind
from tests.golden import inputs as i
from tests.golden.plain import answer_as_dict, delta_as_dict, outcome, plain_json
from tests.golden.prompts import CONSTRAINTS, CONVERSATIONS, TOOL_TALK
from tests.golden.schemas import SCHEMAS

ASK = (i.user("What is this?"),)
SEE = (i.user(i.RED, "What is this?"),)
TALKS = (
    "one image",
    "several images",
    "own system sentence",
    "no system sentence",
    "several turns",
    "special strings",
    "unicode",
)
SAMPLING = SamplingParams(7, 0.5, 0.9, 5, ("END", "x"), 3, True, 2)
ANSWERS = {
    "one tool": i.WRITTEN_ADD,
    "any": f"{i.WRITTEN_ADD}\n{i.WRITTEN_WEATHER}",
    "none": "No.",
    "a forced tool": i.WRITTEN_ADD,
    "one call at most": "No.",
    "a schema": '{"name": "Ada"}',
    "a schema that the prompt leaves out": '{"name": "Ada"}',
    "tools and a schema": '{"name": "Ada"}',
    "lenient": '{"name": "Ada"}',
}


def _image(url: str) -> dict[str, Any]:
    """Return a sent image's size and pixels: its PNG bytes differ between machines."""
    head, data = url.split(",", 1)
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    digest = hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:16]
    return {"head": head, "mode": image.mode, "size": list(image.size), "pixels": digest}


def _without_images(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_images(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_images(item) for item in value]
    if isinstance(value, str) and value.startswith("data:image/"):
        return _image(value)
    return value


def sent_as_dict(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload; grammars as lines, schemas as text that keeps the order of fields."""
    plain: dict[str, Any] = _without_images(plain_json(sent))
    enforced = plain.get("structured_outputs", {})
    if "grammar" in enforced:
        enforced["grammar"] = enforced["grammar"].split("\n")
    if "json" in enforced:
        enforced["json"] = json.dumps(enforced["json"], ensure_ascii=False)
    if "response_format" in plain:
        inner = plain["response_format"]["json_schema"]
        inner["schema"] = json.dumps(inner["schema"], ensure_ascii=False)
    return plain


def exchanged(
    messages: tuple[Message, ...],
    answer: str = "A red box.",
    sampling: SamplingParams | None = None,
    constraint: Constraint = UNCONSTRAINED,
    kind: Kind = "vllm",
) -> dict[str, Any]:
    """Return what one request sends to a server, and what comes of the answer."""
    request = Request(messages, sampling or SamplingParams(), constraint)
    sent, received = _with_server(kind, answer, lambda backend: _deltas(backend, request))
    return {"sent": sent, "received": received}


class _Server:
    """A server that runs as long as the process, since each start costs a fifth of a second."""

    def __init__(self, kind: Kind) -> None:
        self.answer = ""
        self.fake = FakeServer(lambda sent: self.answer, kind).__enter__()


_server = cache(_Server)


def _with_server(
    kind: Kind, answer: str, work: Callable[[RemoteBackend], Any]
) -> tuple[list[dict[str, Any]], Any]:
    """Return what a server was sent for some work, and what the work gave."""
    server = _server(kind)
    server.answer = answer
    server.fake.requests.clear()
    backend = RemoteBackend(server.fake.url, retry_delays=())
    try:
        found = outcome(lambda: work(backend))
    finally:
        backend.close()
    return [sent_as_dict(sent) for sent in server.fake.requests], found


def _deltas(backend: RemoteBackend, request: Request) -> dict[str, Any]:
    deltas = list(backend.stream(request))
    return {
        "deltas": [delta_as_dict(delta) for delta in deltas],
        "answer": answer_as_dict(collect(deltas, backend.model_name)),
    }


def _request(work: Callable[[RemoteBackend], Any], kind: Kind = "vllm") -> dict[str, Any]:
    """Return what a backend reports, and every payload that it sends for that."""
    sent, found = _with_server(kind, "ok", work)
    return {"found": found, "sent": sent}


def _chunk(**delta: Any) -> dict[str, Any]:
    own = ("finish_reason", "logprobs", "token_ids")
    choice = {name: delta.pop(name) for name in own if name in delta}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None, **choice}]}


def _usage(**used: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"total_tokens": 0, **used}}


def _received(
    chunks: Sequence[dict[str, Any]], sampling: SamplingParams | None = None, wrapped: bool = False
) -> Any:
    """Return the deltas of a server's chunks."""
    reader = ChunkParser(
        Request(SEE, sampling or SamplingParams()), 0.0, 0.0, untagged_call=wrapped
    )

    def read() -> list[dict[str, Any]]:
        deltas = [reader.feed(_typed(chunk)) for chunk in chunks]
        return [delta_as_dict(delta) for delta in (*deltas, reader.end()) if delta is not None]

    return outcome(read)


def _typed(chunk: dict[str, Any]) -> dict[str, Any]:
    base = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return {**base, "usage": None, **chunk}


WORDS = [_chunk(role="assistant", content=""), _chunk(content="A red"), _chunk(content=" box")]
STOP = _chunk(finish_reason="stop")
LOGPROBS = {
    "content": [
        {
            "token": "A",
            "logprob": -0.5,
            "bytes": None,
            "top_logprobs": [{"token": "The", "logprob": -1.5, "bytes": None}],
        }
    ]
}

RECEIVED: dict[str, Callable[[], Any]] = {
    "words": partial(_received, [*WORDS, STOP]),
    "usage": partial(
        _received,
        [
            *WORDS,
            STOP,
            _usage(
                prompt_tokens=600,
                completion_tokens=3,
                prompt_tokens_details={"cached_tokens": 16},
            ),
        ],
    ),
    "length": partial(_received, [*WORDS, _chunk(finish_reason="length")]),
    "stop string": partial(_received, [*WORDS, STOP], SamplingParams(stop=("red",))),
    "tokens": partial(_received, [_chunk(content="A", token_ids=[7, 8]), STOP]),
    "logprobs": partial(
        _received,
        [_chunk(content="A", logprobs=LOGPROBS), STOP],
        SamplingParams(logprobs=True, top_logprobs=1),
    ),
    "logprobs ignored": partial(_received, [*WORDS, STOP], SamplingParams(logprobs=True)),
    "wrapped": partial(_received, [_chunk(content='{"name": "add"}'), STOP], wrapped=True),
    "wrapped, cut off": partial(
        _received, [_chunk(content='{"na'), _chunk(finish_reason="length")], wrapped=True
    ),
    "no end": partial(_received, WORDS),
    "nothing": partial(_received, []),
    "filtered": partial(_received, [*WORDS, _chunk(finish_reason="content_filter")]),
    "an error": partial(_received, [*WORDS, {"error": {"message": "out of memory"}}]),
}


def _call_schema(*names: str) -> str:
    """Return the schema of calls with arguments of these schemas, as text in its own order."""
    tools = tuple(ToolSpec(f"t{number}", "", SCHEMAS[name]) for number, name in enumerate(names))
    return json.dumps(call_schema(Constraint(tools, "any")), ensure_ascii=False)


CASES: dict[str, Callable[[], Any]] = {
    **{f"talk: {name}": partial(exchanged, CONVERSATIONS[name]) for name in TALKS},
    "talk: calls and results": partial(
        exchanged, TOOL_TALK["two calls"], "It is sunny.", None, CONSTRAINTS["several tools"]
    ),
    "sampling": partial(exchanged, ASK, "one two", SAMPLING),
    "sampling, another server": partial(exchanged, ASK, "one two", SAMPLING, kind="schemas"),
    "cut off": partial(exchanged, ASK, "one two three", SamplingParams(max_tokens=2)),
    "another server": partial(exchanged, SEE, kind="schemas"),
    **{
        f"vllm: {name}": partial(exchanged, SEE, answer, None, CONSTRAINTS[name])
        for name, answer in ANSWERS.items()
    },
    "xgrammar: a forced tool": partial(
        exchanged, ASK, i.WRITTEN_ADD, None, CONSTRAINTS["a forced tool"], "xgrammar"
    ),
    "schemas: a schema": partial(
        exchanged, ASK, '{"name": "Ada"}', None, CONSTRAINTS["a schema"], "schemas"
    ),
    "schemas: a forced tool": partial(
        exchanged,
        ASK,
        '{"name": "add", "arguments": {"a": 1}}',
        None,
        CONSTRAINTS["a forced tool"],
        "schemas",
    ),
    "schemas: one tool": partial(
        exchanged, ASK, i.WRITTEN_ADD, None, CONSTRAINTS["one tool"], "schemas"
    ),
    "deaf: a schema": partial(
        exchanged, ASK, '{"name": "Ada"}', None, CONSTRAINTS["a schema"], "minimal"
    ),
    "deaf: not of the schema": partial(
        exchanged, ASK, "No.", None, CONSTRAINTS["a schema"], "minimal"
    ),
    "scores": partial(_request, lambda backend: backend.score(Request(ASK), ["yes", "a <s> b"])),
    "scores, another server": partial(
        _request, lambda backend: backend.score(Request(ASK), ["yes"]), "schemas"
    ),
    "tokens of a prompt": partial(_request, lambda backend: backend.count_tokens(Request(SEE))),
    "tokens of a text": partial(_request, lambda backend: backend.token_ids("one </s> two")),
    **{f"received: {name}": make for name, make in RECEIVED.items()},
    "calls as a schema: one": partial(_call_schema, "person"),
    "calls as a schema: with definitions": partial(
        _call_schema, "older definitions", "all of", "reference to the root"
    ),
}
