"""Options under the names of this project's peers.

Code that was written for ChatOllama, ChatOpenAI, ChatHuggingFace, their counterparts in LlamaIndex
or transformers passes options by those names. `peer_names` has what they mean here, or what to use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llava_tools.core.peer_names import (
    HINTS,
    NEUTRAL,
    QUANTIZATIONS,
    SYNONYMS,
    WRAPPERS,
    dtype_of,
    of_device_map,
)
from llava_tools.errors import RequestError, unknown_option


def normalize(
    options: Mapping[str, Any], names: Iterable[str], where: str, synonyms: Mapping[str, str]
) -> dict[str, Any]:
    """Return options under this package's names, `names` being those that `where` takes.

    `synonyms` maps a framework's names to them; `where` is a class or function.

    Raises:
        RequestError: An unknown option, or one that has two values under two names.
    """
    allowed = frozenset(names)
    normalized: dict[str, Any] = {}
    sampled: bool | None = None
    for keyword, value in _unwrapped(options, allowed, where):
        if keyword == "do_sample" and keyword not in allowed:
            sampled = value
            continue
        for name, own in _own_options(keyword, value, allowed, where, synonyms):
            if name in normalized and normalized[name] != own:
                raise RequestError(
                    f"{name} appears twice, once by another name.", f"Keep {name}=…."
                )
            normalized[name] = own
    if sampled is not None:
        _choose_temperature(normalized, sampled)
    return normalized


def _unwrapped(
    options: Mapping[str, Any], allowed: frozenset[str], where: str
) -> Iterator[tuple[str, Any]]:
    """Yield options, and those in dicts like `generate_kwargs`."""
    for keyword, value in options.items():
        if keyword not in WRAPPERS or keyword in allowed:
            yield keyword, value
        elif isinstance(value, Mapping):
            yield from _unwrapped(value, allowed, where)
        elif value is not None:
            raise RequestError(f"{keyword} is a {type(value).__name__}.", "Use a dict of options.")


def _own_options(
    keyword: str, value: Any, allowed: frozenset[str], where: str, synonyms: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    """Yield the option that a keyword means, if any."""
    name = synonyms.get(keyword, keyword)
    if name in allowed:
        yield name, value
        return
    if keyword in QUANTIZATIONS and "quantization" in allowed:
        if value:
            yield "quantization", QUANTIZATIONS[keyword]
        return
    name = SYNONYMS.get(keyword, "")
    if name in allowed:
        if keyword == "torch_dtype":
            value = dtype_of(value)
        elif keyword == "device_map":
            value = of_device_map(value)
        if value is not None:
            yield name, value
        return
    if keyword in NEUTRAL and _is_neutral(keyword, value):
        return
    if (hint := HINTS.get(keyword)) is not None:
        raise RequestError(f"{where} takes no option {keyword!r}.", hint)
    more = [synonym for synonym, target in synonyms.items() if target in allowed]
    raise unknown_option(keyword, [*allowed, *more], where)


def _is_neutral(keyword: str, value: object) -> bool:
    """Whether the value of a name without a counterpart has no effect; True is not 1."""
    neutral = NEUTRAL[keyword]
    return value is None or any(
        isinstance(value, bool) is isinstance(item, bool) and value == item for item in neutral
    )


def _choose_temperature(options: dict[str, Any], sampled: object) -> None:
    """Apply transformers' `do_sample`: without a temperature, it is 1 or 0.

    Raises:
        RequestError: It is neither True nor False, or the temperature contradicts it.
    """
    if not isinstance(sampled, bool):
        raise RequestError(f"do_sample={sampled!r:.80} is not possible.", "Use True or False.")
    temperature = options.setdefault("temperature", 1.0 if sampled else 0.0)
    if temperature is None:
        options["temperature"] = 1.0 if sampled else 0.0
    elif bool(temperature) is not bool(sampled):
        raise RequestError(
            f"do_sample={sampled!r} contradicts temperature={temperature!r}.",
            "Leave do_sample out: temperature=0 takes the likeliest token, more than 0 samples.",
        )
