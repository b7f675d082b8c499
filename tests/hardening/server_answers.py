"""What a hostile server answers, by kind, and what each answer may lead to.

The kinds of `tests.remote.hostile_answers` are here, too.
"""

from __future__ import annotations

import gzip
import json
import zlib
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
from tests.hardening.model_lists import LISTS
from tests.hardening.server_answer import (
    BODY,
    CHUNKED,
    RIGHT,
    TEXT,
    Kind,
    chunked,
    echo,
    refusal,
    then_reset,
    with_status,
)
from tests.remote.hostile_answers import BROKEN, READ, SLOW
from tests.remote.hostile_server import (
    DEEP,
    STOP,
    STREAM,
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

_GZIP = gzip.compress(BODY)
#: Answers that lead to the right text, though nobody should send them.
HARMLESS: dict[str, Any] = {
    **READ,
    "100 before the answer": b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + RIGHT,
    "102 and 103 with headers": b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" + RIGHT,
    "chunks of one byte": chunked(BODY, 1),
    "chunks with extensions": chunked(BODY, 9, extension=b';a="\x7f"'),
    "trailers": chunked(BODY, 40, b"0\r\nx-checksum: 7\r\nset-cookie: a=b\r\n\r\n"),
    "more than its length": http(BODY, content_type="text/event-stream") + b"HTTP/1.1 500 No",
    "compression that is none": STREAM.replace(
        b"\r\n\r\n", b"\r\ncontent-encoding: identity\r\n\r\n"
    )
    + BODY,
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
        "HTTP/0.9": BODY,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
        "an alert of TLS": b"\x15\x03\x01\x00\x02\x02\x46",
        "a request as an answer": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "a reset": then_reset(STREAM + event(words())),
        "a reset in the head": then_reset(b"HTTP/1.1 200 OK\r\nx: "),
        "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "no content": with_status("204 No Content", ""),
        "reset content": with_status("205 Reset Content", ""),
        "a status of 600": b"HTTP/1.1 600 What\r\n\r\n",
        "a status of 999": b"HTTP/1.1 999 What\r\n\r\n",
        "a status of 000": b"HTTP/1.1 000 What\r\n\r\n",
        "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
        "a line feed in the reason phrase": b"HTTP/1.1 200 O\nK\r\n\r\n" + BODY,
        "a header without a name": RIGHT.replace(b"connection:", b": x\r\nconnection:"),
        "a header of megabytes": head("200 OK", x="y" * 3_000_000) + BODY,
        "a length of letters": http("{}", content_length="1e3"),
        "a length with a sign": http("{}", content_length="+2"),
        "a length beyond all": http("{}", content_length="9" * 40),
        "two lengths": http("{}", content_length="2, 3"),
        "less than the right length": http(
            BODY, content_type="text/event-stream", content_length="9"
        ),
        "an unknown transfer": head("200 OK", transfer_encoding="gzip") + BODY,
        "a chunk of a negative size": CHUNKED + b"-5\r\nabcde\r\n0\r\n\r\n",
        "chunks without their end": chunked(event(words()), 9, b""),
        "an extension without end": endless(b"x" * 65536, CHUNKED + b"5;"),
        "trailers without end": endless(b"x: y\r\n" * 9000, chunked(event(words()), 9, b"0\r\n")),
        "compressed twice": http(gzip.compress(_GZIP), content_encoding="gzip, gzip"),
        "compressed as deflate": http(zlib.compress(BODY), content_encoding="deflate"),
        "compressed and not said": http(_GZIP, content_type="text/event-stream"),
        "compressed as an escape": http(_GZIP, content_encoding="\x9b2J"),
        "a frame of zstd of terabytes": http(
            b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8, content_encoding="zstd"
        ),
        "JSON with a comment": events(b'{"choices": [] /* x */}', STOP),
        "JSON twice": events(b"{}{}", STOP),
        "an error of escapes": with_status("500 X", json.dumps({"error": "\x1b[2J\u202e\r\nok"})),
        "an error of megabytes": with_status("500 X", b"\x1b[2J" * 500_000),
        "an error that is compressed": with_status("503 X", _GZIP, content_encoding="gzip"),
        "an error without a body": head("500 X"),
        "an error of deep JSON": with_status("500 X", DEEP),
        "an error in a stream": events(words(), {"error": {"message": "x\x1b[2J", "code": 5}}),
        "an error in a stream, of a list": events({"error": ["\x1b[2J" * 9000]}),
        "a finish reason of escapes": events(words(), chunk(delta={}, finish_reason="\x1b[2J\n")),
        "a finish reason of megabytes": events(words(), chunk(delta={}, finish_reason="x" * 3**14)),
        "a filter": events(words(), chunk(delta={}, finish_reason="content_filter")),
        "indices for choices": events({"choices": {"0": words()}}, STOP),
        "a list of lists of megabytes": events(b"[" + b"[]," * 700_000 + b"[]]", STOP),
        "the key in an error": echo("500 Error"),
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
        "moved": with_status("301 Moved", location="http://192.0.2.1/v1"),
        "found": with_status("302 Found", location="/v1/chat/completions"),
        "see other": with_status("303 Other", location="http://127.0.0.1:9/"),
        "moved for a time": with_status("307 T", location="https://me:pass-word@192.0.2.1/?key=x"),
        "moved for good": with_status("308 P", location="file:///etc/passwd"),
        "several choices": with_status("300 Choices", location="http://[", x="y"),
        "use a proxy": with_status("305 Use Proxy", location="http://192.0.2.1:3128"),
        "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "moved to escapes": with_status("307 T", location="http://h/\x9b2J"),
        "moved to megabytes": with_status("307 T", location="x" * 60_000),
        "moved nowhere": with_status("307 T"),
        "moved to the key": lambda request: with_status(
            "307 T", location="http://h/?" + request.replace("\r\n", " ")
        ),
        "a refusal": refusal("no\x1b[2J"),
        "a refusal in a stream": events({"error": {"message": "\u202eno", "code": 418}}),
        "the key in a refusal": echo("418 Teapot"),
    },
    ModelError: {
        "a key that is refused": refusal("no", "401 Unauthorized", code="\x1b[2J"),
        "a bill": refusal("pay", "402 Payment Required"),
        "a sign-in": with_status("403 X", "<html>", www_authenticate='Basic realm="\x9b2J"'),
        "the key in a refused key": echo("401 Unauthorized"),
    },
    ModelNotFoundError: {"no such model": refusal("no", "404 Not Found")},
    QueueFullError: {
        "busy": with_status("429 Busy", retry_after="99999999999"),
        "busy until never": with_status("429 Busy", retry_after="-1"),
        "busy until NaN": with_status("429 Busy", retry_after="NaN"),
        "busy until a day of escapes": with_status("429 Busy", retry_after="\x9b2J"),
    },
    ContextOverflowError: {"too long": refusal("maximum context length is -5")},
    SchemaError: {"a schema that nobody sent": refusal("bad schema\x1b[2J")},
    OutputError: {
        "an answer of no schema": refusal(
            "bad", code="invalid_output", text=[5], tool_calls=[{"arguments": {"a": "\x1b"}}]
        ),
        "the key in an answer of no schema": lambda request: refusal(
            "bad", code="invalid_output", text=request
        ),
    },
    AnswerTimeoutError: {
        **SLOW,
        "a time-out in words": refusal("late", "504 X", code="timeout"),
        "100 without end": endless(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, b""),
        "chunks now and then": slowly(b"1\r\n:\r\n", CHUNKED),
        "a length that never comes": [http(event(words()), content_length="999999"), 60.0],
    },
}

KINDS: dict[str, Kind] = {
    **{name: Kind(answer, (None,)) for name, answer in HARMLESS.items()},
    **{
        name: Kind(answer, (error,))
        for error, answers in FAILING.items()
        for name, answer in answers.items()
    },
    **LISTS,
}
