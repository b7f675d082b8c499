"""The options of `ChatLlava` and of its calls, and what a model can do, told without loading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, cast

from langchain_core.language_models import ModelProfile

from llava_tools.errors import RequestError, unknown_option
from llava_tools.options import ALIASES, CONTEXTS, EngineKeywords, EngineOptions
from llava_tools.types import Sampling, SamplingOptions

#: Options that choose and load the engine, besides `model` and the key, which is nobody's to read.
ENGINE = tuple(i.name for i in fields(EngineOptions) if i.name not in ("model", "api_key"))
#: Options that a call may bring as well.
SAMPLING = tuple(item.name for item in fields(Sampling))
#: Other names under which LangChain's users know our options.
OTHER_NAMES = {"model_name": "model", "stop_sequences": "stop"}


def known(options: Mapping[str, Any], names: Iterable[str], where: str) -> dict[str, Any]:
    """Return options under our own names, all of which must be among `names`.

    Raises:
        RequestError: An unknown option, or one that was given under two names.
    """
    allowed = frozenset(names)
    renamed: dict[str, Any] = {}
    for name, value in options.items():
        own = OTHER_NAMES.get(name, name)
        if own not in allowed:
            others = [other for other, ours in OTHER_NAMES.items() if ours in allowed]
            raise unknown_option(name, [*allowed, *others], where)
        if own in renamed:
            raise RequestError(f"{own} was given twice, once by another name.", f"Keep {own}=….")
        renamed[own] = value
    return renamed


def checked(options: Mapping[str, Any], names: Iterable[str], where: str) -> dict[str, Any]:
    """Return the options of a new model, once all is checked that needs no model.

    Raises:
        RequestError: An unknown option, or a value that is not possible.
    """
    told = known(options, names, where)
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


def profile(model: str, context: int | None) -> ModelProfile:
    """Return what LangChain wants to know of a model; `context` where it is known."""
    context = context or CONTEXTS.get(ALIASES.get(model, model))
    told = ModelProfile(
        text_inputs=True,
        image_inputs=True,
        image_url_inputs=True,
        image_tool_message=True,
        pdf_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        text_outputs=True,
        image_outputs=False,
        audio_outputs=False,
        video_outputs=False,
        reasoning_output=False,
        tool_calling=True,
        tool_choice=True,
        tool_call_streaming=True,
        structured_output=True,
        temperature=True,
        open_weights=True,
    )
    if context is not None:
        told["max_input_tokens"] = context
    return told
