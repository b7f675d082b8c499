"""The toolkit and the tool spec, and both selectors, do and return the same."""

from __future__ import annotations

import asyncio
import math
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
from llava_tools.core.calibration import Calibration, Scaling
from llava_tools.core.requests import Request
from llava_tools.errors import RequestError
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import AbsentResult

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


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("yes", [0.2, 0.9])
@pytest.mark.parametrize("name", ["locate", "count", "look"])
def test_what_is_not_there_is_refused_alike(name: str, yes: float, is_async: bool) -> None:
    def score(_: Request, label: str) -> float:
        return math.log((yes if label.lower() == "yes" else 1 - yes) / 2)

    answer = "[0.25, 0.5, 0.5, 0.75]" if name == "locate" else "3"
    calibration = Calibration("m", "", "d", yes_no=Scaling(2.0, 0.0, 9))
    backend = ScriptedBackend([answer], scores=score, calibration=calibration)
    ours, theirs = _tools(
        llm=Llava(backend=backend), image_store=(store := ImageStore()), existence_threshold=0.5
    )
    arguments = {"image": LlavaToolkit(image_store=store).add(NIGHT)} | CALLS[name]
    if name == "look":
        arguments["about"] = "the star"
    assert ours[name].args_schema.model_fields.keys() >= arguments.keys()
    call = {"type": "tool_call", "name": name, "id": "1", "args": arguments}
    if is_async:
        message = asyncio.run(ours[name].ainvoke(call))
        output = asyncio.run(theirs[name].acall(**arguments))
    else:
        message, output = ours[name].invoke(call), theirs[name].call(**arguments)
    assert message.status == "success"
    assert message.content == output.content
    assert message.artifact == output.raw_output
    assert (type(message.artifact) is AbsentResult) is (yes < 0.5)
    if yes < 0.5:  # odds of 0.25, whose square root is 0.5
        assert message.artifact.certainty == pytest.approx(1 / 3, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"tools": ("x",)}, {"allowed_hosts": ("http://a/b",)}, {"existence_threshold": 2.0}],
)
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
    # The second prompt finds KV of the first one, which a step of other rows computed.
    expected = list(choice.probabilities.values())
    assert selection.probabilities == pytest.approx(expected, rel=1e-4)
