"""Tools parse arguments, describe themselves, and run blocking or in an event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

from llava_tools import tools
from llava_tools.chat import image_handles
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.engine.grammar_masks import GrammarCache
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ImageError, RequestError
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import ImageStore
from llava_tools.tools import RESULT_TYPES, TOOLS
from tests.checkpoints import llama_like_tokenizer
from tests.tools.scene import Scene

EXAMPLES: dict[str, dict[str, Any]] = {
    "look": {"question": "What is it?"},
    "describe": {},
    "read_text": {},
    "locate": {"thing": "x"},
    "count": {"things": "dogs"},
    "compare": {"question": "What colour?"},
    "choose": {"question": "?", "labels": ["a", "b"]},
    "zoom": {"box": [0, 0, 9, 9], "question": "?"},
}


@pytest.mark.parametrize("name", TOOLS)
async def test_arun_returns_the_same_as_run(name: str) -> None:
    scene = Scene("[0.25, 0.5, 0.5, 0.75]" if name == "locate" else "7")
    arguments: dict[str, Any] = {"image": scene.wide} | EXAMPLES[name]
    if name == "compare":
        arguments["images"] = [arguments.pop("image"), scene.resolver.add(Image.new("RGB", (1, 1)))]
    tool = TOOLS[name]
    parsed = tool.parse(json.dumps(arguments))
    result = await tool.arun(scene.model, parsed, scene.resolver)
    assert str(result) == str(tool.run(scene.model, parsed, scene.resolver))
    assert len(str(result)) < 200
    assert type(result) is RESULT_TYPES[name]


@pytest.mark.parametrize("name", TOOLS)
def test_result_is_restored_from_its_data(name: str) -> None:
    scene = Scene("[0.25, 0.5, 0.5, 0.75]" if name == "locate" else "7")
    arguments: dict[str, Any] = EXAMPLES[name]
    if name == "compare":
        other = scene.resolver.add(Image.new("RGB", (1, 1)))
        arguments = {"images": [scene.wide, other], **arguments}
    result = scene.call(name, **arguments)
    for data in (result.model_dump(), json.loads(result.model_dump_json())):
        again = RESULT_TYPES[name].model_validate(data)
        assert again == result
        if name in ("locate", "zoom"):
            assert hash(again) == hash(result)
        assert str(again) == str(result)


def test_message_that_holds_a_result_keeps_its_type_when_dumped() -> None:
    class Holder(BaseModel):
        held: Any

    result = Scene("7").call("count", things="dogs")
    assert Holder(held=result).model_dump()["held"] is result
    assert Holder(held=[result]).model_dump()["held"][0] is result
    assert Holder(held=result).model_dump(mode="json") == {"held": {"count": 7}}
    assert json.loads(Holder(held=result).model_dump_json()) == {"held": {"count": 7}}


async def test_cancelling_stops_the_generation() -> None:
    gate = threading.Semaphore(2)
    scene = Scene("one two three four five", pause=gate.acquire)
    tool = TOOLS["look"]
    arguments = tool.parse({"image": scene.wide, "question": "?"})
    task = asyncio.create_task(tool.arun(scene.model, arguments, scene.resolver))
    while not scene.backend.requests:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.release(9)
    assert scene.backend.closed_early == 1


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("look", {"question": "?"}, "image: Field required"),
        ("look", {"image": "img_1", "question": "?", "zoom": 2}, "zoom: Extra inputs"),
        ("look", {"image": "img_1", "question": ""}, "question: String should have at least 1"),
        ("choose", {"image": "img_1", "question": "?", "labels": ["a"]}, "labels: List should"),
        ("zoom", {"image": "img_1", "box": [1, 2, 3]}, "box: List should have at least 4"),
        ("zoom", '{"image": "img_1", "box": [1, 2', "Invalid JSON"),
        ("count", 7, "arguments: Input should be a valid dictionary"),
    ],
)
def test_bad_arguments_raise_one_line(name: str, arguments: object, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        tools.call(Scene().model, name, arguments)
    assert "\n" not in str(caught.value)
    assert "It takes: " in str(caught.value)


def test_unknown_image_and_unknown_tool_raise() -> None:
    with pytest.raises(ImageError, match="no picture 'img_1'"):
        Scene().call("look", image="img_1", question="?")
    with pytest.raises(RequestError, match="Did you mean 'locate'"):
        tools.call(Scene().model, "located", {})


def test_openai_tools_are_short_and_enforceable() -> None:
    described = tools.openai_tools()
    assert [tool["function"]["name"] for tool in described] == list(TOOLS)
    assert "title" not in json.dumps(described)
    codec = Tokenizer(llama_like_tokenizer())
    grammars = GrammarCache(codec.tokenizer, len(codec.tokenizer))
    specs = tuple(ToolSpec(**tool["function"]) for tool in described)
    _, best_effort = grammars.matcher(Constraint(tools=specs))
    assert not best_effort
    assert [tool["function"]["name"] for tool in tools.openai_tools(["zoom"])] == ["zoom"]


def test_image_arguments_take_handles_unless_paths_or_urls_are_allowed(tmp_path: Path) -> None:
    def schemas(resolver: ImageResolver | None) -> list[dict[str, Any]]:
        described = tools.openai_tools(resolver=resolver)
        return [tool["function"]["parameters"]["properties"] for tool in described]

    for properties in schemas(None) + schemas(ImageResolver(ImageStore())):
        image = properties["image"] if "image" in properties else properties["images"]["items"]
        assert image["pattern"] == image_handles.PATTERN
    wider = schemas(ImageResolver(ImageStore(), allowed_directories=[tmp_path]))
    assert image_handles.PATTERN not in json.dumps(wider)
    assert [list(properties) for properties in wider] == [list(narrow) for narrow in schemas(None)]
