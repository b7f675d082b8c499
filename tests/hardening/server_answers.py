"""What a hostile server answers, by kind, and what each answer may lead to.

The kinds of `tests.remote.hostile_answers` are here, too.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    LlavaToolsError,
    ModelError,
    ModelNotFoundError,
    OutputError,
    QueueFullError,
    RequestError,
    SchemaError,
    ServerError,
)
from tests.remote.hostile_answers import BROKEN, NO_LIST, READ, SLOW
from tests.remote.hostile_server import (
    DEEP,
    STOP,
    STREAM,
    Pieces,
    Reset,
    chunk,
    endless,
    event,
    events,
    head,
    http,
    logprobs,
    slowly,
    words,
)

#: The text of a right answer.
TEXT = "ok"
RIGHT = events(words(TEXT), STOP)
_BODY = RIGHT[len(STREAM) :]
_CHUNKED = head("200 OK", transfer_encoding="chunked", content_type="text/event-stream")


@dataclass(frozen=True)
class Kind:
    """A kind of answer.

    Attributes:
        answer: The bytes, or a function of the request that returns them.
        allowed: The class of the error that it leads to; of several one, None for the right text.
        where: What is answered so: `chat`, `models`, `other`; or `own`, the chat of a server that
            says it is this project's.
    """

    answer: Any
    allowed: tuple[type[LlavaToolsError] | None, ...]
    where: str = "chat"

    @property
    def is_slow(self) -> bool:
        """Whether nothing but a time limit ends it."""
        return AnswerTimeoutError in self.allowed


def whole(content: Any = TEXT, **fields: Any) -> bytes:
    """Return a chat completion that is no stream."""
    message = {"role": "assistant", "content": content}
    return http(json.dumps({**chunk(message=message, finish_reason="stop"), **fields}))


def _chunked(body: bytes, size: int, end: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return _CHUNKED + b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces) + end


def _status(status: str, body: bytes | str = "busy", **headers: str) -> bytes:
    return http(body, status, **headers)


def _refusal(message: str, status: str = "400 Bad Request", **fields: Any) -> bytes:
    return _status(status, json.dumps({"error": {"message": message, **fields}}))


def _say(text: str) -> bytes:
    return events(words(text), STOP)


def _if_streamed(answer: Any) -> Callable[[str], Any]:
    """Answer so what is streamed, and refuse the rest, by which clients try what is enforced."""

    def reply(request: str) -> Any:
        if '"stream": true' not in request:
            return _refusal("no")
        return answer(request) if callable(answer) else answer

    return reply


def _reset(data: bytes) -> Pieces:
    def pieces() -> Iterator[bytes]:
        yield data
        raise Reset

    return Pieces(pieces)


def _echo(status: str) -> Callable[[str], bytes]:
    return lambda request: _refusal(request, status)


def _models(*entries: Any) -> bytes:
    return http(json.dumps({"data": list(entries)}))


_GZIP = gzip.compress(_BODY)
#: Answers that lead to the right text, though nobody should send them.
HARMLESS: dict[str, Any] = {
    **READ,
    "100 before the answer": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + RIGHT,
    "102 and 103 with headers": b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" + RIGHT,
    "chunks of one byte": _chunked(_BODY, 1),
    "chunks with extensions": _chunked(_BODY, 9, extension=b';a="\x7f"'),
    "trailers": _chunked(_BODY, 40, b"0\r\nx-checksum: 7\r\nset-cookie: a=b\r\n\r\n"),
    "more than its length": http(_BODY, content_type="text/event-stream") + b"HTTP/1.1 500 No",
    "compression that is none": STREAM.replace(
        b"\r\n\r\n", b"\r\ncontent-encoding: identity\r\n\r\n"
    )
    + _BODY,
    "keys twice": events(
        b'{"choices": [5], "choices": %b}' % json.dumps(words()["choices"]).encode(), STOP
    ),
    "cookies": RIGHT.replace(b"connection:", b"set-cookie: a=b; domain=127.0.0.1\r\nconnection:"),
    "escapes in the reason phrase": RIGHT.replace(b"200 OK", b"200 \x9b2J\x1b[2J"),
    "escapes in a header": RIGHT.replace(b"connection:", b"x: \x1b]0;y\x07\r\nconnection:"),
    "a status without a reason": RIGHT.replace(b"200 OK", b"200"),
    "calls of tools that nobody has": events(
        words(),
        chunk(
            delta={"tool_calls": [{"index": 10**30, "function": {"name": "rm", "arguments": 5}}]}
        ),
        STOP,
    ),
    "log-probabilities that nobody wants": events(logprobs(logprob="x", token=None), STOP),
    "a finish reason twice": events(words(), STOP, STOP),
    "words after the end mark": RIGHT + event(words("more")),
    "ids of tokens beyond all": events(
        chunk(delta={"content": TEXT}, token_ids=[2**70, -1, 0]), STOP
    ),
    "a name of its own": events({**words(), "model": "\x1b[2J", "id": ["x"], "created": "x"}, STOP),
}

#: Answers that are errors, by the class of the error.
FAILING: dict[type[LlavaToolsError], dict[str, Any]] = {
    ServerError: {
        **BROKEN,
        "HTTP/0.9": _BODY,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "an alert of TLS": b"\x15\x03\x01\x00\x02\x02\x46",
        "a request as an answer": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "a reset": _reset(STREAM + event(words())),
        "a reset in the head": _reset(b"HTTP/1.1 200 OK\r\nx: "),
        "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "no content": _status("204 No Content", ""),
        "reset content": _status("205 Reset Content", ""),
        "a status of 600": b"HTTP/1.1 600 What\r\n\r\n",
        "a status of 999": b"HTTP/1.1 999 What\r\n\r\n",
        "a status of 000": b"HTTP/1.1 000 What\r\n\r\n",
        "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
        "a line feed in the reason phrase": b"HTTP/1.1 200 O\nK\r\n\r\n" + _BODY,
        "a header without a name": RIGHT.replace(b"connection:", b": x\r\nconnection:"),
        "a header of megabytes": head("200 OK", x="y" * 3_000_000) + _BODY,
        "a length of letters": http("{}", content_length="1e3"),
        "a length with a sign": http("{}", content_length="+2"),
        "a length beyond all": http("{}", content_length="9" * 40),
        "two lengths": http("{}", content_length="2, 3"),
        "less than the right length": http(
            _BODY, content_type="text/event-stream", content_length="9"
        ),
        "an unknown transfer": head("200 OK", transfer_encoding="gzip") + _BODY,
        "a chunk of a negative size": _CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n",
        "chunks without their end": _chunked(event(words()), 9, b""),
        "an extension without end": endless(b"x" * 65536, _CHUNKED + b"5;"),
        "trailers without end": endless(b"x: y\r\n" * 9000, _chunked(event(words()), 9, b"0\r\n")),
        "compressed twice": http(gzip.compress(_GZIP), content_encoding="gzip, gzip"),
        "compressed as deflate": http(zlib.compress(_BODY), content_encoding="deflate"),
        "compressed and not said": http(_GZIP, content_type="text/event-stream"),
        "compressed as an escape": http(_GZIP, content_encoding="\x9b2J"),
        "a frame of zstd of terabytes": http(
            b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8, content_encoding="zstd"
        ),
        "JSON with a comment": events(b'{"choices": [] /* x */}', STOP),
        "JSON twice": events(b"{}{}", STOP),
        "an error of escapes": _status("500 X", json.dumps({"error": "\x1b[2J\u202e\r\nok"})),
        "an error of megabytes": _status("500 X", b"\x1b[2J" * 500_000),
        "an error that is compressed": _status("503 X", _GZIP, content_encoding="gzip"),
        "an error without a body": head("500 X"),
        "an error of deep JSON": _status("500 X", DEEP),
        "an error in a stream": events(words(), {"error": {"message": "x\x1b[2J", "code": 5}}),
        "an error in a stream, of a list": events({"error": ["\x1b[2J" * 9000]}),
        "a finish reason of escapes": events(words(), chunk(delta={}, finish_reason="\x1b[2J\n")),
        "a finish reason of megabytes": events(words(), chunk(delta={}, finish_reason="x" * 3**14)),
        "a filter": events(words(), chunk(delta={}, finish_reason="content_filter")),
        "indices for choices": events({"choices": {"0": words()}}, STOP),
        "a list of lists of megabytes": events(b"[" + b"[]," * 700_000 + b"[]]", STOP),
        "the key in an error": _echo("500 Error"),
        "the key in a finish reason": lambda request: events(
            chunk(delta={}, finish_reason=request)
        ),
        "the key in a stream": lambda request: events(words(), {"error": {"message": request}}),
        "the key as a number": lambda request: events(
            chunk(delta={"content": "x"}, token_ids=[request]), STOP
        ),
        "the key as bytes": lambda request: request.encode("latin-1"),
        "the key in a header": lambda request: head("500 Error", x=request.replace("\r\n", " ")),
    },
    RequestError: {
        "moved": _status("301 Moved", location="http://192.0.2.1/v1"),
        "found": _status("302 Found", location="/v1/chat/completions"),
        "see other": _status("303 Other", location="http://127.0.0.1:9/"),
        "moved for a time": _status("307 T", location="https://me:pass-word@192.0.2.1/?key=x"),
        "moved for good": _status("308 P", location="file:///etc/passwd"),
        "several choices": _status("300 Choices", location="http://[", x="y"),
        "use a proxy": _status("305 Use Proxy", location="http://192.0.2.1:3128"),
        "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "moved to escapes": _status("307 T", location="http://h/\x9b2J"),
        "moved to megabytes": _status("307 T", location="x" * 60_000),
        "moved nowhere": _status("307 T"),
        "moved to the key": lambda request: _status(
            "307 T", location="http://h/?" + request.replace("\r\n", " ")
        ),
        "a refusal": _refusal("no\x1b[2J"),
        "a refusal in a stream": events({"error": {"message": "\u202eno", "code": 418}}),
        "the key in a refusal": _echo("418 Teapot"),
    },
    ModelError: {
        "a key that is refused": _refusal("no", "401 Unauthorized", code="\x1b[2J"),
        "a bill": _refusal("pay", "402 Payment Required"),
        "a sign-in": _status("403 X", "<html>", www_authenticate='Basic realm="\x9b2J"'),
        "the key in a refused key": _echo("401 Unauthorized"),
    },
    ModelNotFoundError: {"no such model": _refusal("no", "404 Not Found")},
    QueueFullError: {
        "busy": _status("429 Busy", retry_after="99999999999"),
        "busy until never": _status("429 Busy", retry_after="-1"),
        "busy until NaN": _status("429 Busy", retry_after="NaN"),
        "busy until a day of escapes": _status("429 Busy", retry_after="\x9b2J"),
    },
    ContextOverflowError: {"too long": _refusal("maximum context length is -5")},
    SchemaError: {"a schema that nobody sent": _refusal("bad schema\x1b[2J")},
    OutputError: {
        "an answer of no schema": _refusal(
            "bad", code="invalid_output", text=[5], tool_calls=[{"arguments": {"a": "\x1b"}}]
        ),
        "the key in an answer of no schema": lambda request: _refusal(
            "bad", code="invalid_output", text=request
        ),
    },
    AnswerTimeoutError: {
        **SLOW,
        "a time-out in words": _refusal("late", "504 X", code="timeout"),
        "100 without end": endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, b""),
        "chunks now and then": slowly(b"1\r\n:\r\n", _CHUNKED),
        "a length that never comes": [http(event(words()), content_length="999999"), 60.0],
    },
}

#: Lists of models that lie, and what comes of them if the chat answers rightly.
LISTS: dict[str, Kind] = {
    **{
        f"a list: {name}": Kind(answer, (ModelNotFoundError,), "models")
        for name, answer in NO_LIST.items()
    },
    "a model of escapes": Kind(
        _models({"id": "\x1b[2J\n\u202e", "owned_by": "vllm"}), (None,), "models"
    ),
    "a model of a megabyte": Kind(
        _models({"id": "x" * 2**20, "owned_by": "vllm"}), (None,), "models"
    ),
    "a context of one token": Kind(
        _models({"id": "a", "owned_by": "vllm", "max_model_len": 1}), (None, RequestError), "models"
    ),
    "a context beyond all": Kind(
        _models({"id": "a", "owned_by": "vllm", "max_model_len": 10**30}), (None,), "models"
    ),
    "a context of NaN": Kind(
        http('{"data": [{"id": "a", "max_model_len": NaN}]}'), (ModelNotFoundError,), "models"
    ),
    "an owner that it is not": Kind(
        _models({"id": "a", "owned_by": "llava-tools"}), (None,), "models"
    ),
    "an owner of no name": Kind(
        _models({"id": "a", "owned_by": {"a": []}}), (ServerError,), "models"
    ),
    "no model": Kind(_models(), (ModelNotFoundError,), "models"),
    "models without names": Kind(_models(5, {}, {"id": None}), (ModelNotFoundError,), "models"),
    "two models": Kind(_models({"id": "\x1b[2Ja"}, {"id": "b\n"}), (ModelNotFoundError,), "models"),
    "many models": Kind(
        _models(*({"id": f"{'x' * 900}{number}"} for number in range(4000))),
        (ModelNotFoundError,),
        "models",
    ),
    "models without end": Kind(
        endless(b'{"id": "a"},' * 5000, head("200 OK") + b'{"data": ['), (ServerError,), "models"
    ),
    "lists in lists": Kind(
        http(b'{"data": [' + b"[]," * 1_200_000 + b"[]]}"), (ModelNotFoundError,), "models"
    ),
    "a list elsewhere": Kind(
        _status("307 T", location="http://192.0.2.1/"), (RequestError,), "models"
    ),
    "a list for others": Kind(_refusal("no", "401 X"), (ModelError,), "models"),
    "a list now and then": Kind(slowly(b"[", head("200 OK")), (AnswerTimeoutError,), "models"),
    "the key as a model": Kind(
        lambda request: _models({"id": "x"}, *({"id": value} for value in _values(request))),
        (ModelNotFoundError,),
        "models",
    ),
    "the key instead of a list": Kind(_echo("500 X"), (ServerError,), "models"),
}


def _values(request: str) -> list[str]:
    """Return the values of a request's headers."""
    return [line.partition(": ")[2] for line in request.split("\r\n")[1:] if ": " in line]


KINDS: dict[str, Kind] = {
    **{name: Kind(answer, (None,)) for name, answer in HARMLESS.items()},
    **{
        name: Kind(answer, (error,))
        for error, answers in FAILING.items()
        for name, answer in answers.items()
    },
    **LISTS,
}

#: What servers should not answer if tools are bound.
CALLS: dict[str, Kind] = {
    name: Kind(_if_streamed(_say(text)), (OutputError,))
    for name, text in {
        "no call": "Hello!",
        "a call of no tool": '<tool_call>{"name": "rm", "arguments": {"a": 1}}</tool_call>',
        "a call of no type": '<tool_call>{"name": "add", "arguments": {"a": "1"}}</tool_call>',
        "a call of NaN": '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>',
        "a call of 1e999": '<tool_call>{"name": "add", "arguments": {"a": 1e999}}</tool_call>',
        "a call of a list": '<tool_call>{"name": "add", "arguments": [1]}</tool_call>',
        "a call of escapes": '<tool_call>\x1b[2J{"name": "add"}</tool_call>',
        "a deep call": '<tool_call>{"name": "add", "arguments": ' + "[" * 90_000 + "</tool_call>",
        "a call of 9,000 digits": '<tool_call>{"name": "add", "arguments": {"a": '
        + "9" * 9_000
        + "}}</tool_call>",
        "a call without end": '<tool_call>{"name": "add", "arguments": {"a": ' + " " * 90_000,
        "many calls of nothing": "<tool_call></tool_call>" * 5_000,
        "a call in megabytes": "<tool_call>" * 90_000,
    }.items()
} | {
    "the key as a call": Kind(
        _if_streamed(lambda request: _say(f"<tool_call>{request}</tool_call>")), (OutputError,)
    ),
}

#: Answers of a judge, which are no streams; `None` for one that is read.
REPLIES: dict[str, Kind] = {
    "a reply": Kind(whole("0.7"), (None,)),
    "no reply": Kind(whole(None), (OutputError,)),
    "a reply of escapes": Kind(whole("\x1b[2J\u202e"), (OutputError,)),
    "a reply of megabytes": Kind(whole("x" * 3_000_000), (OutputError,)),
    "a reply of a number": Kind(whole(5), (ServerError,)),
    "a reply of the key": Kind(lambda request: whole(request), (OutputError,)),
    "replies without end": Kind(endless(b"[" * 65536, head("200 OK")), (ServerError,)),
}


def _scored(**fields: Any) -> bytes:
    """Return what scores a label, with other fields."""
    right = {
        "usage": {"prompt_tokens": 1},
        "prompt_logprobs": [None, {"5": {"logprob": -1.5, "decoded_token": "yes</s>"}}],
    }
    return whole(**right | fields)


def _token(**fields: Any) -> bytes:
    token = {"logprob": -1.5, "decoded_token": "yes</s>", **fields}
    return _scored(prompt_logprobs=[None, {"5": token}])


def _token_of(*values: Any) -> bytes:
    return http(json.dumps({"tokens": list(values)}))


#: What servers should not answer about the probability of `yes`, and the ids of a text.
SCORES: dict[str, Kind] = {
    "a score": Kind(_scored(), (None,)),
    "a score of NaN": Kind(_token(logprob=float("nan")), (ServerError,)),
    "a score of 1e999": Kind(_token(logprob=0).replace(b" 0,", b" 1e999,"), (ServerError,)),
    "a score above certainty": Kind(_token(logprob=5.0), (ServerError,)),
    "a score of text": Kind(_token(logprob="x"), (ServerError,)),
    "no scores": Kind(_scored(prompt_logprobs=None), (ServerError,)),
    "scores of nothing": Kind(_scored(prompt_logprobs=[None, {}]), (ServerError,)),
    "scores of a list": Kind(_scored(prompt_logprobs=[None, [5]]), (ServerError,)),
    "scores of other words": Kind(_token(decoded_token="\x1b[2J" * 9000), (ServerError,)),
    "scores of the key": Kind(
        lambda request: _token(decoded_token="".join(_values(request))), (ServerError,)
    ),
    "no length": Kind(_scored(usage=None), (ServerError,)),
    "a length of less than nothing": Kind(_scored(usage={"prompt_tokens": -1}), (ServerError,)),
}
IDS: dict[str, Kind] = {
    "ids": Kind(_token_of(1, 2), (None,), "other"),
    "ids of text": Kind(_token_of("x"), (ServerError,), "other"),
    "ids below 0": Kind(_token_of(-1), (ServerError,), "other"),
    "ids of infinity": Kind(http('{"tokens": [1e999]}'), (ServerError,), "other"),
    "ids of null": Kind(http("null"), (ServerError,), "other"),
    "ids in megabytes": Kind(_token_of(*[7] * 3_000_000), (None,), "other"),
    "ids without end": Kind(endless(b"1," * 9000, head("200 OK") + b"["), (ServerError,), "other"),
    "ids of a page": Kind(http("<html>"), (ServerError,), "other"),
    "ids of nobody": Kind(_echo("404 Not Found"), (ServerError,), "other"),
    "ids of the key": Kind(lambda request: _token_of(*_values(request)), (ServerError,), "other"),
    "ids elsewhere": Kind(_status("307 T", location="http://192.0.2.1"), (RequestError,), "other"),
}
OWN_MODELS = _models({"id": "a", "owned_by": "llava-tools", "max_model_len": 10**30})
#: Streams of a server that says it is this project's, which parses answers itself.
OWN: dict[str, Kind] = {
    name: Kind(_if_streamed(answer), (ServerError, OutputError, None), "own")
    for name, answer in {**HARMLESS, **BROKEN}.items()
} | {
    "megabytes of words": Kind(
        endless(event(words("x" * 3_000_000)), STREAM), (ServerError,), "own"
    ),
}
