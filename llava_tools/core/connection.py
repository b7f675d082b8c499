"""Checks of the options of a connection to a server. No message has a header's or proxy's value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llava_tools.errors import RequestError

#: Names of headers, and values that HTTP can carry (RFC 9110).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PROXY = re.compile(r"(?:https?|socks5h?)://[^\s/?#]+/?")

#: Fields of a request's body that options or the request itself set.
WRITTEN_FIELDS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
        "repetition_penalty",
        "repeat_penalty",
        "repeat_last_n",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "structured_outputs",
        "return_token_ids",
        "add_special_tokens",
    }
)


def check_headers(headers: object) -> None:
    """Check `default_headers`: a mapping from names to values of HTTP headers.

    Raises:
        RequestError: It is none.
    """
    hint = 'Use a dict of strings, like {"X-Team": "vision"}.'
    if not isinstance(headers, Mapping):
        raise RequestError(f"default_headers is a {type(headers).__name__}.", hint)
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise RequestError(f"default_headers has the name {name!r:.60}.", hint)
        if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
            raise RequestError(f"The value of {name!r:.60} in default_headers is no text.", hint)


def check_extra_body(body: object) -> None:
    """Check `extra_body`: further fields of a request's JSON.

    Raises:
        RequestError: It is no dict, or has a field that is set otherwise.
    """
    if not isinstance(body, Mapping) or not all(isinstance(name, str) for name in body):
        raise RequestError(
            f"extra_body={body!r:.80} is not possible.",
            'Use a dict of JSON fields, like {"chat_template_kwargs": {…}}.',
        )
    for name in body:
        if name in WRITTEN_FIELDS:
            raise RequestError(
                f"extra_body has {name!r}, which this client writes itself.",
                "Use the option of that name, or tools and schemas.",
            )


def check_proxy(proxy: object) -> None:
    """Check `proxy`: the URL of a proxy.

    Raises:
        RequestError: It is none.
    """
    if not isinstance(proxy, str) or not _PROXY.fullmatch(proxy):
        raise RequestError(
            "The value of proxy is not the URL of a proxy.", "Write http://host:port."
        )


def check_async_client(client: Any) -> None:
    """Check `http_async_client`: an asynchronous client of httpx or httpx2.

    Raises:
        RequestError: It is none.
    """
    if not callable(getattr(client, "aclose", None)) or not callable(getattr(client, "send", None)):
        raise RequestError(
            f"http_async_client is a {type(client).__name__}.",
            "Use an httpx.AsyncClient: all requests run on one event loop, those of invoke too.",
        )
