"""`LlavaSingleSelector` and `LlavaMultiSelector`, for routers of query engines and retrievers.

The names of the options are scored as answers (`llava_tools.tools.selection`), so that even a small
model always returns options that exist; nothing is generated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.base_selector import BaseSelector, MultiSelection, SingleSelection
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata

from llama_index.llms.llava import Llava
from llava_tools.errors import RequestError, check_count, refuse_unknown
from llava_tools.images import ImageRef, open_image
from llava_tools.tools.selection import aselect_option, select_option


class LlavaSelection(MultiSelection):
    """Selected options, the likeliest first; each one's `reason` is its probability."""

    probabilities: list[float]
    """The probability of each option, in their order; they sum to 1."""


class LlavaSelector(BaseSelector):
    """Base of the selectors.

    A query's image (`QueryBundle.image_path`) may be a local file, since the caller's own code
    names it. Options with names of their own are selected by them, others by numbers, which a small
    model hardly tells apart: name the tools of a router.

    Args:
        llm: The model that selects; the embedded one by default.

    Raises:
        RequestError: `llm` is no `Llava` of LlamaIndex.
    """

    def __init__(self, llm: Llava | None = None) -> None:
        if not isinstance(llm, Llava | None):
            raise RequestError(
                f"llm is a {type(llm).__module__}.{type(llm).__name__}, which cannot score labels.",
                "Use a llama_index.llms.llava.Llava.",
            )
        self._llm = Llava() if llm is None else llm

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        with_prompts = f"{type(self).__name__}.update_prompts"
        refuse_unknown(prompts_dict, (), with_prompts)

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> LlavaSelection:
        options = _options(choices)
        choice = select_option(self._llm._llava(), query.query_str, _images(query), options)
        return self._selection(list(choice.probabilities.values()))

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> LlavaSelection:
        images = await asyncio.to_thread(_images, query)
        options = _options(choices)
        choice = await aselect_option(self._llm._llava(), query.query_str, images, options)
        return self._selection(list(choice.probabilities.values()))

    def _selection(self, probabilities: list[float]) -> LlavaSelection:
        ranked = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)
        selections = [
            SingleSelection(index=index, reason=f"probability {probabilities[index]:.3f}")
            for index in ranked[: self._count(probabilities)]
        ]
        return LlavaSelection(selections=selections, probabilities=probabilities)

    def _count(self, probabilities: list[float]) -> int:
        """Return how many of the likeliest options are selected."""
        raise NotImplementedError


class LlavaSingleSelector(LlavaSelector):
    """Selects the likeliest option."""

    def _count(self, probabilities: list[float]) -> int:
        return 1


class LlavaMultiSelector(LlavaSelector):
    """Selects the options that are likelier than chance (1 / number of options), at least one.

    Args:
        llm: The model that selects; the embedded one by default.
        max_outputs: Maximum number of selected options, at least 1; None for no maximum.

    Raises:
        RequestError: An impossible maximum, or `llm` is no `Llava` of LlamaIndex.
    """

    def __init__(self, llm: Llava | None = None, max_outputs: int | None = None) -> None:
        super().__init__(llm)
        if max_outputs is not None:
            check_count("max_outputs", max_outputs)
        self._max_outputs = max_outputs

    def _count(self, probabilities: list[float]) -> int:
        likely = sum(probability * len(probabilities) > 1 for probability in probabilities)
        count = max(1, likely)
        return count if self._max_outputs is None else min(count, self._max_outputs)


def _options(choices: Sequence[ToolMetadata]) -> dict[str, str]:
    """Return names and descriptions; options without names of their own are numbered."""
    names: list[Any] = [choice.name for choice in choices]
    if None in names or len(set(names)) < len(names):
        names = [f"option_{number}" for number in range(1, len(choices) + 1)]
    return {name: choice.description for name, choice in zip(names, choices, strict=True)}


def _images(query: QueryBundle) -> list[ImageRef]:
    return [] if query.image_path is None else [open_image(Path(query.image_path))]
