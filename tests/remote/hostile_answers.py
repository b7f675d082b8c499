"""Answers that servers give but should not, by what is wrong with them."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.remote.hostile_server import (
    DEEP,
    STOP,
    STREAM,
    chunk,
    endless,
    endless_headers,
    event,
    events,
    head,
    http,
    slowly,
    words,
)

#: Answers that are read, though they are unusual.
READ: dict[str, Any] = {
    "a delta of null in the last chunk": events(words(), chunk(delta=None, finish_reason="stop")),
    "no delta in the last chunk": events(words(), chunk(finish_reason="stop")),
    "choices of null": events(words(), {"choices": None, "usage": None}, STOP),
    "a chunk of nothing": events({}, words(), STOP),
    "no space after the colon": STREAM
    + events(words(), STOP, end=b"data:[DONE]\n\n").replace(b"data: ", b"data:")[len(STREAM) :],
    "carriage returns and line feeds": STREAM
    + events(words(), STOP)[len(STREAM) :].replace(b"\n", b"\r\n"),
    "carriage returns": STREAM + events(words(), STOP)[len(STREAM) :].replace(b"\n", b"\r"),
    "byte by byte": [STREAM]
    + [bytes([byte]) for byte in events(words(), STOP)[len(STREAM) :].replace(b"\n", b"\r\n")],
    "an event in several lines": STREAM
    + b"data: "
    + json.dumps(words(), indent=1).replace("\n", "\ndata: ").encode()
    + b"\n\n"
    + event(STOP),
    "other fields and comments": STREAM
    + b": ping\n\nevent: message\nid: 7\nretry: 5\n"
    + event(words())
    + b": ping\n\n"
    + event(STOP),
    "a mark of the byte order": STREAM + b"\xef\xbb\xbf" + events(words(), STOP)[len(STREAM) :],
    "no last blank line": STREAM + event(words()) + event(STOP).rstrip(b"\n"),
    "no end mark": events(words(), STOP, end=b""),
    "one JSON document instead of a stream": http(
        json.dumps(chunk(message={"role": "assistant", "content": "ok"}, finish_reason="stop"))
    ),
    "no length and no content type": b"HTTP/1.0 200 OK\r\n\r\n" + event(words()) + event(STOP),
    "another success": events(words(), STOP).replace(b"200 OK", b"201 Created"),
    "an interim answer first": b"HTTP/1.1 103 Early Hints\r\n\r\n" + events(words(), STOP),
    "an endless body after the end": endless(b": more\n", events(words(), STOP)),
    "fields that nobody knows": events(
        words() | {"x": [{"y": None}]}, chunk(delta={"z": 1}, finish_reason="stop", w=2)
    ),
    "counts of null": events(words(), STOP, {"choices": [], "usage": {"prompt_tokens": None}}),
}

CHUNKED = head("200 OK", transfer_encoding="chunked")
GZIP = gzip.compress(b"data: " + b" " * 50_000_000)
#: Values of fields that they cannot have.
VALUES: dict[str, list[Any]] = {
    "event": [[], 5, "x", None, True],
    "choices": ["x", 5, {"a": 1}, [None], [[]], ["x"], True],
    "delta": [[1], "x", 5, True],
    "content": [5, ["x"], {"text": "x"}, True],
    "finish_reason": [[], {}, 5, True, ["stop"]],
    "usage": [
        "x",
        5,
        [1],
        {"prompt_tokens": "x"},
        {"prompt_tokens": -1},
        {"prompt_tokens": 1e300},
        {"completion_tokens": [1]},
        {"prompt_tokens_details": "x"},
    ],
    "token_ids": ["x", 5, [None], [{}], True],
}
#: Answers that are none.
BROKEN: dict[str, Any] = {
    "nothing": b"",
    "no HTTP": b"\x00\x01\x02 hello\r\n\r\n",
    "another protocol": b"HTTP/9.9 abc\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\ncontent-ty",
    "endless headers": endless_headers(),
    "less than its length": http("{", content_length="100"),
    "a negative length": http("{}", content_length="-5"),
    "a chunk of no size": CHUNKED + b"zz\r\n{}",
    "a chunk of any size": CHUNKED + b"f" * 40 + b"\r\n{}",
    "no content": head("204 No Content"),
    "no bytes": STREAM,
    "a page": http("<html>Welcome!</html>", content_type="text/html"),
    "only the end": events(),
    "no finish reason": events(words()),
    "no end": STREAM + event(words()) + b"data: {",
    "a line without end": endless(b"x" * 65536),
    "an event without end": endless(b"data: " + b"x" * 65536 + b"\n"),
    "words without end": endless(event(words()) * 100),
    "empty chunks without end": endless(event({}) * 100),
    "comments without end": endless(b": ping\n\n" * 9000),
    "a JSON document without end": endless(
        b"[" * 65536, head("200 OK", content_type="application/json")
    ),
    "few bytes that are many": http(GZIP, content_encoding="gzip"),
    "another compression": http(b"abc", content_encoding="zstd"),
    "cut off JSON": events(b'{"choices": [', STOP),
    "no UTF-8": events(b'{"choices": "\xff\xfe"}', STOP),
    "deep JSON": events(DEEP),
    "deep JSON in a field": events(b'{"choices": ' + DEEP + b"}"),
    "a number of 9,000 digits": events(b'{"usage": {"prompt_tokens": ' + b"9" * 9000 + b"}}"),
    "NaN": events(b'{"choices": [], "usage": {"prompt_tokens": NaN}}'),
    "infinity": events(b'{"choices": [], "usage": {"prompt_tokens": -Infinity}}'),
    "a number beyond all": events(b'{"choices": [], "usage": {"prompt_tokens": 1e999}}'),
    **{f"an event of {value!r}": events(value, STOP) for value in VALUES["event"]},
    **{f"choices of {value!r}": events({"choices": value}, STOP) for value in VALUES["choices"]},
    **{f"a delta of {value!r}": events(chunk(delta=value), STOP) for value in VALUES["delta"]},
    **{
        f"content of {value!r}": events(chunk(delta={"content": value}), STOP)
        for value in VALUES["content"]
    },
    **{
        f"a finish reason of {value!r}": events(words(), chunk(delta={}, finish_reason=value))
        for value in VALUES["finish_reason"]
    },
    **{f"usage of {value!r}": events({"usage": value}, STOP) for value in VALUES["usage"]},
    **{
        f"token ids of {value!r}": events(chunk(delta={"content": "x"}, token_ids=value), STOP)
        for value in VALUES["token_ids"]
    },
}

#: Answers that do not end.
SLOW: dict[str, Any] = {
    "silence": [STREAM, 60.0],
    "silence before the head": [60.0],
    "silence after the last word": [STREAM, event(words()), event(STOP), 60.0],
    "a head without end": slowly(b"x", b"HTTP/1.1 200 OK\r\nx: "),
    "bytes now and then": slowly(b": ping\n\n", STREAM),
    "words now and then": slowly(event(words()), STREAM),
    "an error without end": slowly(b"x", head("500 Error")),
    "JSON without end": slowly(b"[", head("200 OK", content_type="application/json")),
}

#: Answers of servers without a list of models.
NO_LIST: dict[str, Any] = {
    "bad request": http("", "400 Bad Request"),
    "not found": http("", "404 Not Found"),
    "no such method": http("", "405 Method Not Allowed"),
    "gone": http("", "410 Gone"),
    "not implemented": http("", "501 Not Implemented"),
    "a page": http("<html>Hello</html>", content_type="text/html"),
    "null": http("null"),
    "data of null": http('{"data": null}'),
    "data of text": http('{"data": "x"}'),
    "a list": http("[]"),
    "deep": http(DEEP),
    "no number": http('{"data": NaN}'),
    "compressed": http(GZIP, content_encoding="gzip"),
}
