"""The options of `Llava` and of its calls, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from pydantic import ValidationError

from llava_tools.errors import LlavaToolsError, RequestError, unknown_option
from llava_tools.options import EngineKeywords, EngineOptions
from llava_tools.types import Sampling, SamplingOptions

#: Options that choose and load the engine, besides `model` and the key, which is nobody's to read.
ENGINE = tuple(i.name for i in fields(EngineOptions) if i.name not in ("model", "api_key"))
#: Options that a call may bring as well.
SAMPLING = tuple(item.name for item in fields(Sampling))
#: Other names under which LlamaIndex's users know our options.
OTHER_NAMES = {"model_name": "model", "context_window": "context"}


def checked(options: Mapping[str, Any], names: Iterable[str], where: str) -> dict[str, Any]:
    """Return the options of a new model under our names, once all is checked that needs no model.

    Raises:
        RequestError: An unknown option, one given under two names, or a value not possible.
    """
    told: dict[str, Any] = {}
    for name, value in options.items():
        own = OTHER_NAMES.get(name, name)
        if own in told:
            raise RequestError(f"{own} was given twice, once by another name.", f"Keep {own}=….")
        told[own] = value
    refuse_unknown(told, names, where)
    if isinstance(told.get("stop"), str):
        told["stop"] = [told["stop"]]
    sampling({name: told[name] for name in SAMPLING if name in told}, where)
    engine = {name: told[name] for name in ENGINE if name in told}
    EngineOptions.of(told.get("model", "tiny"), cast(EngineKeywords, engine), where)
    return told


def refuse_unknown(options: Iterable[str], names: Iterable[str], where: str) -> None:
    """Refuse what is not among `names`.

    Raises:
        RequestError: The first unknown option and the nearest known one.
    """
    known = frozenset(names)
    for name in options:
        if name not in known:
            raise unknown_option(name, known, where)


def sampling(options: Mapping[str, Any], where: str) -> Sampling:
    """Return the sampling of options, of which None means the default.

    Raises:
        RequestError: A value out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return Sampling.of(cast(SamplingOptions, given), where)


def of_validation(error: ValidationError) -> LlavaToolsError:
    """Return the one-line error of what pydantic found wrong first."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, LlavaToolsError):
        return cause
    name = ".".join(str(part) for part in first["loc"][:1]) or "Llava"
    value = f"={first['input']!r:.80}" if first["loc"] else ""
    return RequestError(f"{name}{value} is not possible.", f"{first['msg']}.")
