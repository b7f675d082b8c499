"""Keywords of the classes that wrap `Llava` for a framework, checked before anything is loaded.

Each framework's users know some options by other names; what an option may be is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from pydantic import ValidationError

from llava_tools.errors import LlavaToolsError, RequestError, unknown_option
from llava_tools.options import EngineKeywords, EngineOptions
from llava_tools.core.requests import Sampling, SamplingOptions

#: Options that choose and load the engine, besides `model` and the key, which is nobody's to read.
ENGINE = tuple(i.name for i in fields(EngineOptions) if i.name not in ("model", "api_key"))
#: Options that a call may bring as well.
SAMPLING = tuple(item.name for item in fields(Sampling))


def known(
    options: Mapping[str, Any], names: Iterable[str], where: str, others: Mapping[str, str]
) -> dict[str, Any]:
    """Return options under our own names, all of which must be among `names`.

    Args:
        options: As given.
        names: Our names of those that are taken.
        where: Who takes them, for the error message.
        others: Other names under which a framework's users know our options, and ours.

    Raises:
        RequestError: An unknown option, or one that was given under two names.
    """
    allowed = frozenset(names)
    renamed: dict[str, Any] = {}
    for name, value in options.items():
        own = others.get(name, name)
        if own not in allowed:
            more = [other for other, ours in others.items() if ours in allowed]
            raise unknown_option(name, [*allowed, *more], where)
        if own in renamed:
            raise RequestError(f"{own} was given twice, once by another name.", f"Keep {own}=….")
        renamed[own] = value
    return renamed


def checked(
    options: Mapping[str, Any], names: Iterable[str], where: str, others: Mapping[str, str]
) -> dict[str, Any]:
    """Return the options of a new model, once all is checked that needs no model; see `known`.

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """
    told = known(options, names, where, others)
    if isinstance(told.get("stop"), str):
        told["stop"] = [told["stop"]]
    sampling({name: told[name] for name in SAMPLING if name in told}, where)
    engine = {name: told[name] for name in ENGINE if name in told}
    EngineOptions.of(told.get("model", "tiny"), cast(EngineKeywords, engine), where)
    return told


def sampling(options: Mapping[str, Any], where: str) -> Sampling:
    """Return the sampling of options, of which None means the default.

    Raises:
        RequestError: A value out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return Sampling.of(cast(SamplingOptions, given), where)


def of_validation(error: ValidationError, where: str) -> LlavaToolsError:
    """Return the one-line error of what pydantic found wrong first; never all that was given."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, LlavaToolsError):
        return cause
    name = ".".join(str(part) for part in first["loc"][:1]) or where
    value = f"={first['input']!r:.80}" if first["loc"] else ""
    return RequestError(f"{name}{value} is not possible.", f"{first['msg']}.")
