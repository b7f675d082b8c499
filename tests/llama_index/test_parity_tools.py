"""The toolkit and the tool spec, and both selectors, do and return the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import ToolMetadata

from langchain_llava import ChatLlava, LlavaSelector, LlavaToolkit, image_block
from llama_index.selectors.llava import LlavaSingleSelector
from llama_index.tools.llava import LlavaToolSpec
from llava_tools import Llava
from llava_tools.errors import RequestError
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend

IMAGES = Path(__file__).parents[2] / "examples" / "images"
NIGHT = IMAGES / "night.png"
CALLS: dict[str, dict[str, Any]] = {
    "look": {"question": "What colour is the star?"},
    "describe": {},
    "read_text": {},
    "locate": {"thing": "the star"},
    "count": {"things": "stars"},
    "compare": {"question": "Which one shows a star?"},
    "choose": {"question": "What is there?", "labels": ["a star", "a dog"]},
    "zoom": {"box": [10, 10, 90, 90]},
}
OPTIONS = {
    "day": "Scenes in daylight.",
    "night": "Scenes in the dark.",
    "none": "Anything else.",
}


def _tools(**options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    toolkit, spec = LlavaToolkit(**options), LlavaToolSpec(**options)
    toolkit_tools = {tool.name: tool for tool in toolkit.get_tools()}
    return toolkit_tools, {tool.metadata.name: tool for tool in spec.to_tool_list()}


def test_names_descriptions_and_schemas_are_equal() -> None:
    ours, theirs = _tools()
    assert list(ours) == list(theirs)
    assert set(ours) == set(CALLS)
    for name, tool in ours.items():
        metadata = theirs[name].metadata
        assert tool.description == metadata.description
        assert tool.args_schema.model_json_schema() == metadata.fn_schema.model_json_schema()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_results_are_equal(name: str, is_async: bool) -> None:
    store = ImageStore()
    ours, theirs = _tools(image_store=store)
    handles = [LlavaToolkit(image_store=store).add(p) for p in (NIGHT, IMAGES / "sea.png")]
    images = {"images": handles} if name == "compare" else {"image": handles[0]}
    arguments = images | CALLS[name]
    call = {"type": "tool_call", "name": name, "id": "1", "args": arguments}
    if is_async:
        message = asyncio.run(ours[name].ainvoke(call))
        output = asyncio.run(theirs[name].acall(**arguments))
    else:
        message, output = ours[name].invoke(call), theirs[name].call(**arguments)
    assert message.status == "success"
    assert message.content == output.content == str(output.raw_output)
    assert type(message.artifact) is type(output.raw_output)
    assert message.artifact == output.raw_output


@pytest.mark.parametrize("image", ["img_" + "0" * 24, "/etc/passwd", str(NIGHT)])
def test_unknown_images_are_refused_alike(image: str) -> None:
    ours, theirs = _tools(llm=Llava(backend=ScriptedBackend()))
    arguments = {"image": image, "question": "?"}
    with pytest.raises(RequestError) as caught:
        theirs["look"].call(**arguments)
    assert ours["look"].invoke(arguments) == str(caught.value)


def test_allowed_directories_open_the_same_files() -> None:
    ours, theirs = _tools(allowed_directories=[IMAGES])
    arguments = {"image": str(NIGHT), "question": "What colour is the star?"}
    assert ours["look"].invoke(arguments) == theirs["look"].call(**arguments).content


@pytest.mark.parametrize("options", [{"tools": ("x",)}, {"allowed_hosts": ("http://a/b",)}])
def test_impossible_options_are_refused_alike(options: dict[str, Any]) -> None:
    errors = []
    for make in (LlavaToolkit, LlavaToolSpec):
        with pytest.raises(RequestError) as caught:
            make(**options)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("image", [None, NIGHT], ids=["text", "image"])
def test_selectors_choose_alike(image: Path | None) -> None:
    question = "Which scene is it?"
    blocks: list[Any] = [image_block(image)] if image else []
    choice = LlavaSelector(llm=ChatLlava(), options=OPTIONS).invoke(
        [HumanMessage([*blocks, question])]
    )
    selector: Any = LlavaSingleSelector()
    choices = [ToolMetadata(text, name) for name, text in OPTIONS.items()]
    query = QueryBundle(question, image_path=str(image) if image else None)
    selection = selector.select(choices, query)
    assert list(OPTIONS)[selection.ind] == choice.label
    assert selection.probabilities == pytest.approx(list(choice.probabilities.values()))
