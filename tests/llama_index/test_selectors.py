"""Selectors in LlamaIndex's routers; 200 of 200 valid choices."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.base_selector import BaseSelector
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import (
    CustomQueryEngine,
    RouterQueryEngine,
)
from llama_index.core.retrievers import BaseRetriever, RouterRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import QueryEngineTool, RetrieverTool, ToolMetadata
from PIL import Image

import llava_tools
from llama_index.llms.llava import Llava
from llama_index.selectors.llava import LlavaMultiSelector, LlavaSelection, LlavaSingleSelector
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.testing import ScriptedBackend
from tests.tools import routes

#: Probabilities of the options after every question; before it all are alike.
PROBABILITIES = {"mail": 0.5, "maps": 0.3, "music": 0.15, "shop": 0.05}


def _llm(backend: ScriptedBackend | None = None) -> Llava:
    return Llava(backend=backend or _backend(PROBABILITIES))


def _backend(probabilities: Mapping[str, float]) -> ScriptedBackend:
    def score(request: Request, label: str) -> float:
        if request.messages[-1].text == "N/A":
            return -1.0
        (name,) = (name for name in probabilities if f'"{name}"' in label)
        return math.log(probabilities[name])

    return ScriptedBackend(["combined"], scores=score)


def _choices(*names: str | None) -> list[ToolMetadata]:
    return [ToolMetadata(name=name, description=f"About {name}.") for name in names]


@pytest.mark.parametrize("run", ["select", "aselect"])
@pytest.mark.parametrize(
    ("selector_type", "options", "expected"),
    [
        (LlavaSingleSelector, {}, [2]),
        (LlavaMultiSelector, {}, [2, 1]),  # likelier than one in four
        (LlavaMultiSelector, {"max_outputs": 1}, [2]),
        (LlavaMultiSelector, {"max_outputs": 4}, [2, 1]),
    ],
)
async def test_selectors_rank_options_by_probability(
    run: str, selector_type: Any, options: dict[str, int], expected: list[int]
) -> None:
    selector = selector_type(_llm(), **options)
    choices = _choices("shop", "maps", "mail", "music")
    result = selector.select(choices, "Go.") if run == "select" else None
    result = result or await selector.aselect(choices, "Go.")
    assert isinstance(result, LlavaSelection)
    assert result.inds == expected
    assert result.reasons[0] == "probability 0.500"
    assert result.probabilities == pytest.approx([0.05, 0.3, 0.5, 0.15])


def test_several_equal_options_select_one() -> None:
    backend = _backend(dict.fromkeys(PROBABILITIES, 0.25))
    assert len(LlavaMultiSelector(_llm(backend)).select(_choices("mail", "maps"), "Go.").inds) == 1


@pytest.mark.parametrize(
    "choices",
    [_choices("tool", "tool"), _choices(None, "maps"), ["Sends letters.", "Finds routes."]],
)
def test_options_without_names_of_their_own_are_numbered(choices: Any) -> None:
    backend = _backend({"option_1": 0.2, "option_2": 0.8})
    assert LlavaSingleSelector(_llm(backend)).select(choices, "Go.").ind == 1
    described = [tool.description for tool in backend.requests[0].constraint.tools]
    texts = [item if isinstance(item, str) else item.description for item in choices]
    assert described == texts


async def test_the_querys_image_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), "red").save(path)
    backend = _backend(PROBABILITIES)
    selector = LlavaSingleSelector(_llm(backend))
    query = QueryBundle("What is it?", image_path=str(path))
    choices = _choices("mail", "maps")
    assert selector.select(choices, query).ind == (await selector.aselect(choices, query)).ind == 0
    assert [len(request.messages[0].images) for request in backend.requests] == [1, 0, 1, 0]


def test_impossible_options_raise() -> None:
    for number in (0, "2"):
        with pytest.raises(RequestError, match=f"max_outputs={number!r}"):
            LlavaMultiSelector(max_outputs=number)
    for other in (MockLLM(), llava_tools.Llava()):
        with pytest.raises(RequestError, match=r"Use a llama_index\.llms\.llava\.Llava"):
            LlavaSingleSelector(other)
    with pytest.raises(RequestError, match="no option"):
        LlavaSingleSelector(_llm()).select([], "Go.")
    prompts: Any = {"prompt": None}
    with pytest.raises(RequestError, match="'prompt'"):
        LlavaSingleSelector(_llm()).update_prompts(prompts)


class Engine(CustomQueryEngine):
    """Answers with its name."""

    name: str

    def custom_query(self, query_str: str) -> str:
        return self.name


class Retriever(BaseRetriever):
    """Returns a node with its name."""

    def __init__(self, name: str) -> None:
        self._name = name
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=self._name, id_=self._name))]


def _engine_tools() -> list[QueryEngineTool]:
    return [
        QueryEngineTool.from_defaults(Engine(name=name), name=name, description=f"About {name}.")
        for name in PROBABILITIES
    ]


@pytest.mark.parametrize("run", ["query", "aquery"])
@pytest.mark.parametrize(
    ("selector_type", "answer"), [(LlavaSingleSelector, "mail"), (LlavaMultiSelector, "combined")]
)
async def test_router_query_engine(run: str, selector_type: Any, answer: str) -> None:
    llm = _llm()
    engine = RouterQueryEngine.from_defaults(_engine_tools(), llm, selector_type(llm))
    response = engine.query("Go.") if run == "query" else await engine.aquery("Go.")
    assert str(response) == answer
    result = (response.metadata or {})["selector_result"]
    assert result.probabilities == pytest.approx(list(PROBABILITIES.values()))


@pytest.mark.parametrize("run", ["retrieve", "aretrieve"])
@pytest.mark.parametrize(
    ("selector_type", "texts"),
    [(LlavaSingleSelector, ["mail"]), (LlavaMultiSelector, ["mail", "maps"])],
)
async def test_router_retriever(run: str, selector_type: Any, texts: list[str]) -> None:
    llm = _llm()
    tools = [
        RetrieverTool.from_defaults(Retriever(name), name=name, description=f"About {name}.")
        for name in PROBABILITIES
    ]
    router = RouterRetriever(selector_type(llm), tools, llm)
    nodes = router.retrieve("Go.") if run == "retrieve" else await router.aretrieve("Go.")
    assert [node.text for node in nodes] == texts


@pytest.mark.slow
@pytest.mark.parametrize("selector_type", [LlavaSingleSelector, LlavaMultiSelector])
async def test_200_of_200_choices_are_valid(selector_type: Any, checkpoint: Path) -> None:
    """With random weights; those of the embedded model are tested through LangChain's selector."""
    llm = Llava(model=str(checkpoint))
    selector: BaseSelector = selector_type(llm)
    choices = [ToolMetadata(text, name) for name, text in routes.OPTIONS.items()]
    results = await asyncio.gather(
        *(selector.aselect(choices, request) for request in routes.requests())
    )
    llm.close()
    assert len(results) == 200
    for result in results:
        assert result.inds
        assert set(result.inds) <= set(range(8))
        assert len(set(result.inds)) == len(result.inds)
