"""Checks of the options of a connection to a server. No message has a header's or proxy's value."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from llava_tools.errors import RequestError

#: Names of headers, and values that HTTP can carry (RFC 9110).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
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


def without_credentials(url: str) -> str:
    """Return a URL without a user's name and password, which no message and no repr may show."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url.rpartition("@")[2]
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def authorization(url: str) -> dict[str, str]:
    """Return the header for the user's name and password in a URL; none for a URL without them."""
    host = url.partition("://")[2].partition("/")[0]
    user, separator, _ = host.rpartition("@")
    if not separator:
        return {}
    name, _, password = user.partition(":")
    plain = f"{unquote(name)}:{unquote(password)}"
    return {"Authorization": f"Basic {base64.b64encode(plain.encode()).decode()}"}


def move_credentials(options: dict[str, Any]) -> None:
    """Move a user's name and password from `base_url` to `default_headers`, which are not shown.

    A header that is set already stays.
    """
    url, headers = options.get("base_url"), options.get("default_headers")
    if not isinstance(url, str) or not (header := authorization(url)):
        return
    options["base_url"] = without_credentials(url)
    if headers is None:
        options["default_headers"] = header
    elif isinstance(headers, Mapping) and "authorization" not in map(str.lower, map(str, headers)):
        options["default_headers"] = {**headers, **header}


def check_connection(base_url: str | None, options: Mapping[str, object]) -> None:
    """Check the options of a connection; a None is not set.

    Raises:
        RequestError: One is not possible, or there is no server.
    """
    for name, value in options.items():
        if value is None:
            continue
        _CHECKS[name](value)
        if base_url is None:
            raise RequestError(
                f"{name} is for a server, and there is no base_url.", "Set base_url, too."
            )
    if options["proxy"] is not None and options["http_async_client"] is not None:
        raise RequestError(
            "proxy does not go with http_async_client, which has proxies of its own.",
            "Create the client with the proxy.",
        )


def _check_headers(headers: object) -> None:
    hint = 'Use a dict of strings, like {"X-Team": "vision"}.'
    if not isinstance(headers, Mapping):
        raise RequestError(f"default_headers is a {type(headers).__name__}.", hint)
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise RequestError(f"default_headers has the name {name!r:.60}.", hint)
        if not isinstance(value, str) or not HEADER_VALUE.fullmatch(value):
            raise RequestError(f"The value of {name!r:.60} in default_headers is no text.", hint)


def _check_extra_body(body: object) -> None:
    if not isinstance(body, Mapping) or not _is_json(body):
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


def _is_json(body: Mapping[Any, Any]) -> bool:
    try:
        json.dumps(dict(body), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return all(isinstance(name, str) for name in body)


def _check_proxy(proxy: object) -> None:
    if not isinstance(proxy, str) or not _PROXY.fullmatch(proxy):
        raise RequestError(
            "The value of proxy is not the URL of a proxy.", "Write http://host:port."
        )


def _check_async_client(client: Any) -> None:
    names = ("aclose", "build_request", "send")
    if not all(callable(getattr(client, name, None)) for name in names):
        raise RequestError(
            f"http_async_client is a {type(client).__name__}.",
            "Use an httpx.AsyncClient: all requests run on one event loop, those of invoke too.",
        )


_CHECKS: Mapping[str, Callable[[Any], None]] = {
    "default_headers": _check_headers,
    "extra_body": _check_extra_body,
    "proxy": _check_proxy,
    "http_async_client": _check_async_client,
}
#: Options that belong to the connection; see `llava_tools.options.EngineOptions`.
CONNECTION_OPTIONS = tuple(_CHECKS)
