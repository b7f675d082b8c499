"""Answers for particular tasks: calls of tools, judges, scores, ids, and the own server's."""

from __future__ import annotations

import json
from typing import Any

from llava_tools.errors import (
    OutputError,
    RequestError,
    ServerError,
)
from tests.hardening.server_answer import (
    Kind,
    echo,
    header_values,
    if_streamed,
    list_models,
    say,
    whole,
    with_status,
)
from tests.hardening.server_answers import HARMLESS
from tests.remote.hostile_answers import BROKEN
from tests.remote.hostile_server import (
    STREAM,
    endless,
    event,
    head,
    http,
    words,
)

#: What servers should not answer if tools are bound.
CALLS: dict[str, Kind] = {
    name: Kind(if_streamed(say(text)), (OutputError,))
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
        if_streamed(lambda request: say(f"<tool_call>{request}</tool_call>")), (OutputError,)
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
        lambda request: _token(decoded_token="".join(header_values(request))), (ServerError,)
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
    "ids of nobody": Kind(echo("404 Not Found"), (ServerError,), "other"),
    "ids of the key": Kind(
        lambda request: _token_of(*header_values(request)), (ServerError,), "other"
    ),
    "ids elsewhere": Kind(
        with_status("307 T", location="http://192.0.2.1"), (RequestError,), "other"
    ),
}
OWN_MODELS = list_models({"id": "a", "owned_by": "llava-tools", "max_model_len": 10**30})
#: Streams of a server that says it is this project's, which parses answers itself.
OWN: dict[str, Kind] = {
    name: Kind(if_streamed(answer), (ServerError, OutputError, None), "own")
    for name, answer in {**HARMLESS, **BROKEN}.items()
} | {
    "megabytes of words": Kind(
        endless(event(words("x" * 3_000_000)), STREAM), (ServerError,), "own"
    ),
}
