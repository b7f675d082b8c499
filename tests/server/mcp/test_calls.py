"""Calls of tools: schemas, results, errors, and what calls may open."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, MCPError

from llava_tools import Llava, open_image, tools
from llava_tools.errors import RequestError
from llava_tools.server.mcp import ContentOptions, McpServer
from llava_tools.testing import ScriptedBackend
from tests.evidence.scripted import DEPENDENT, SQUARE, depends_on_square
from tests.images.fetching.site import Site, redirect, send
from tests.server.mcp.scene import (
    CALLS,
    TALL,
    WIDE,
    add,
    call_every_tool,
    data_of,
    error_of,
    images_of,
    links_of,
    make_server,
    text_of,
    tools_of,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "allowed"
    inside.mkdir()
    (inside / "a.png").write_bytes(WIDE)
    (tmp_path / "secret.png").write_bytes(WIDE)
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    return inside


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    server.answers = {"/a.png": send(WIDE), "/redirect": redirect(server.url(host="localhost"))}
    yield server
    server.close()


@pytest.mark.parametrize("threshold", [None, 0.5])
async def test_every_tool_answers(mode: Any, threshold: float | None) -> None:
    async with Client(make_server(existence_threshold=threshold), mode=mode) as client:
        await call_every_tool(client)


async def test_what_is_not_there_is_refused_by_the_schema_of_the_tool() -> None:
    async with Client(make_server(existence_threshold=0.9)) as client:
        listed = await tools_of(client)
        image = await add(client)
        calls = {
            "locate": {"thing": "the car"},
            "look": {"question": "Why?", "about": "the car"},
        }
        for name, arguments in calls.items():
            assert listed[name].output_schema["type"] == "object"
            result = await client.call_tool(name, {"image": image} | arguments)
            assert data_of(result) == {"thing": "the car", "certainty": 0.75}
            assert text_of(result).startswith('"the car" is not there (certainty 0.75)')
            Draft202012Validator(listed[name].output_schema).validate(data_of(result))


async def test_evidence_is_there_by_name_and_shows_its_drawing(mode: Any) -> None:
    backend = ScriptedBackend(["yellow"], scores_without=depends_on_square)
    server = McpServer(Llava(backend=backend), tools=["add_image", "show_evidence"])
    async with Client(server, mode=mode) as client:
        assert set(await tools_of(client)) == {"add_image", "show_evidence"}
        handle = await add(client, open_image(SQUARE).data)
        arguments = {"image": handle, "question": "What colour?"}
        result = await client.call_tool("show_evidence", arguments)
    data = data_of(result)
    assert (data["answer"], data["box"]) == ("yellow", list(DEPENDENT))
    assert [image.size for image in images_of(result)] == [(480, 480)]
    assert len(text_of(result).splitlines()) == 1


async def test_tools_have_the_schemas_of_the_other_frameworks(mode: Any) -> None:
    async with Client(make_server(), mode=mode) as client:
        listed = await tools_of(client)
    assert set(listed) == {"add_image", *CALLS}
    for function in (item["function"] for item in tools.openai_tools()):
        tool = listed[function["name"]]
        assert tool.description == function["description"]
        assert tool.input_schema == function["parameters"]
    for tool in listed.values():
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator.check_schema(tool.output_schema)
        assert tool.input_schema["type"] == tool.output_schema["type"] == "object"
        assert tool.annotations.read_only_hint is True
        assert tool.annotations.open_world_hint is False


@pytest.mark.parametrize("name", CALLS)
async def test_results_satisfy_their_schema_and_have_the_text_of_planners(name: str) -> None:
    arguments, _ = CALLS[name]
    async with Client(make_server()) as client:
        wide, tall = await add(client), await add(client, TALL)
        images = {"images": [wide, tall]} if name == "compare" else {"image": wide}
        result = await client.call_tool(name, images | arguments)
        tool = (await tools_of(client))[name]
    data = data_of(result)
    Draft202012Validator(tool.output_schema).validate(data)
    assert text_of(result) == str(tools.RESULT_TYPES[name].model_validate(data))


async def test_locate_and_zoom_show_the_image() -> None:
    server = make_server(content=ContentOptions(links=True))
    async with Client(server) as client:
        wide = await add(client)
        located = await client.call_tool("locate", {"image": wide, "thing": "the car"})
        zoomed = await client.call_tool("zoom", {"image": wide, "box": [0, 0, 40, 20]})
        looked = await client.call_tool("look", {"image": wide, "question": "What?"})
    (framed,) = images_of(located)
    assert framed.size == (400, 200)
    frame: Any = framed.getpixel((150, 99))
    inside: Any = framed.getpixel((150, 150))
    assert frame[0] > 150 > 100 > max(frame[1:])
    assert inside[2] > 100 > inside[0]
    assert links_of(located) == [f"image://{wide}"]
    (region,) = images_of(zoomed)
    assert region.size == (40, 20)
    assert links_of(zoomed) == [f"image://{data_of(zoomed)['image']}"]
    assert images_of(looked) == links_of(looked) == []


async def test_a_list_may_be_written_as_json() -> None:
    async with Client(make_server()) as client:
        wide = await add(client)
        zoomed = await client.call_tool("zoom", {"image": wide, "box": "[0, 0, 40, 20]"})
        wrong = await client.call_tool("zoom", {"image": wide, "box": "0, 0, 40, 20"})
    assert data_of(zoomed)["width"] == 40
    assert "zoom: box: Input should be a valid list" in error_of(wrong)


async def test_an_image_may_be_named_by_its_resource() -> None:
    async with Client(make_server()) as client:
        wide, tall = f"image://{await add(client)}", f"image://{await add(client, TALL)}"
        looked = await client.call_tool("look", {"image": wide, "question": "What is it?"})
        images = {"images": [wide, tall], "question": "What is it?"}
        compared = await client.call_tool("compare", images)
        wrong = await client.call_tool("look", {"image": "image:///etc/passwd", "question": "?"})
    assert data_of(looked)["text"] == "blue"
    assert data_of(compared)["same"] is True
    assert "There is no picture" in error_of(wrong)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
async def test_an_image_is_added_as_base64_or_data_url(prefix: str, mode: Any) -> None:
    async with Client(make_server(), mode=mode) as client:
        data = prefix + base64.b64encode(WIDE).decode()
        added = data_of(await client.call_tool("add_image", {"data": data}))
    assert added == {"image": added["image"], "width": 400, "height": 200}
    assert added["image"].startswith("img_")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"data": "AAAA"}, "not an image"),
        ({"data": "-"}, "is not valid base64"),
        ({"data": "/etc/passwd"}, "not an image"),
        ({}, "data: Field required"),
        ({"data": "AAAA", "name": "a.png"}, "name: Extra inputs are not permitted"),
    ],
)
async def test_what_is_no_image_is_not_added(arguments: dict[str, str], error: str) -> None:
    server = make_server()
    async with Client(server) as client:
        assert error in error_of(await client.call_tool("add_image", arguments))
        assert (await client.list_resources()).resources == []


async def test_paths_in_an_allowed_folder_are_opened(folder: Path, mode: Any) -> None:
    server = make_server(allowed_directories=[folder])
    async with Client(server, mode=mode) as client:
        for name in ("a.png", str(folder / "a.png")):
            look = {"image": name, "question": "What is it?"}
            assert data_of(await client.call_tool("look", look))["text"] == "blue"
        added = data_of(await client.call_tool("add_image", {"name": "a.png"}))
        assert (await client.list_resources()).resources[0].name == added["image"]
        both = await client.call_tool("add_image", {"name": "a.png", "data": "AAAA"})
    assert "either data or name is needed, not both" in error_of(both)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "link.png",
        "../allowed/../secret.png",
        "SECRET",
        "/etc/hostname",
        "file:///etc/hostname",
        "http://127.0.0.1/a.png",
        "http://10.0.0.1/a.png",
        "http://[::1]/a.png",
        "https://example.org/a.png",
        "data:image/png;base64,AAAA",
        "~/a.png",
    ],
)
@pytest.mark.parametrize("allowed", ["nothing", "a folder", "a host"])
async def test_nothing_else_is_opened(name: str, allowed: str, folder: Path) -> None:
    name = str(folder.parent / "secret.png") if name == "SECRET" else name
    options: dict[str, dict[str, Any]] = {
        "nothing": {},
        "a folder": {"allowed_directories": [folder]},
        "a host": {"allowed_hosts": ["images.example"]},
    }
    server = make_server(**options[allowed])
    async with Client(server) as client:
        calls: dict[str, dict[str, Any]] = {"look": {"image": name, "question": "What?"}}
        calls |= {} if allowed == "nothing" else {"add_image": {"name": name}}
        for tool, arguments in calls.items():
            result = await client.call_tool(tool, arguments)
            assert re.search("no (picture|file)|not among those allowed", error_of(result))
        assert (await client.list_resources()).resources == []


async def test_urls_of_an_allowed_host_are_fetched_but_not_its_redirects(site: Site) -> None:
    server = make_server(allowed_hosts=[f"127.0.0.1:{site.port}"])
    async with Client(server) as client:
        added = await client.call_tool("add_image", {"name": site.url()})
        refused = await client.call_tool("add_image", {"name": site.url("/redirect")})
        listed = await tools_of(client)
    assert data_of(added)["width"] == 400
    assert "not among those allowed" in error_of(refused)
    assert all(tool.annotations.open_world_hint for tool in listed.values())


@pytest.mark.parametrize(
    ("tool", "arguments", "message", "hint"),
    [
        (
            "look",
            {"image": "img_" + 24 * "0", "question": "What?"},
            "There is no picture",
            "Give the picture itself, or a handle",
        ),
        ("look", {"image": "x"}, "look: question: Field required", "It takes: image, question."),
        (
            "zoom",
            {"image": "WIDE", "box": [500, 0, 600, 9]},
            "has no area on the picture",
            "Give x1 < x2 and y1 < y2 within it.",
        ),
        (
            "look",
            {"image": "WIDE", "question": "What?", "colour": "red"},
            "look: colour: Extra inputs are not permitted",
            "It takes: image, question.",
        ),
    ],
)
async def test_errors_keep_their_hint(
    tool: str, arguments: dict[str, Any], message: str, hint: str, mode: Any
) -> None:
    async with Client(make_server(), mode=mode) as client:
        wide = await add(client)
        arguments = {name: wide if v == "WIDE" else v for name, v in arguments.items()}
        result = await client.call_tool(tool, arguments)
    assert message in error_of(result)
    assert error_of(result).endswith(hint) or hint in error_of(result)
    assert result.structured_content is None


async def test_errors_of_the_engine_are_results(mode: Any) -> None:
    backend = ScriptedBackend()
    backend.close()
    async with Client(McpServer(Llava(backend=backend)), mode=mode) as client:
        wide = await add(client)
        result = await client.call_tool("look", {"image": wide, "question": "What?"})
    assert error_of(result) == "This backend is closed. Make a new one."


async def test_unknown_errors_are_logged_and_hidden_from_the_client(
    mode: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(_: object) -> str:
        raise KeyError("a secret")

    server = McpServer(Llava(backend=ScriptedBackend(script)))
    async with Client(server, mode=mode) as client:
        wide = await add(client)
        with caplog.at_level(logging.ERROR), pytest.raises(MCPError) as caught:
            await client.call_tool("look", {"image": wide, "question": "What?"})
    assert "secret" not in str(caught.value)
    assert any(record.exc_info for record in caplog.records)


async def test_an_unknown_tool_is_an_error_of_the_protocol(mode: Any) -> None:
    async with Client(make_server(tools=["look"]), mode=mode) as client:
        with pytest.raises(MCPError, match="There is no tool 'locate', but look"):
            await client.call_tool("locate", {})


async def test_tools_are_selected_by_name() -> None:
    async with Client(make_server(tools=["look", "add_image"])) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["look", "add_image"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["lok"], "Did you mean 'look'"),
        ("look", "Use a list of names"),
        (["find"], "find needs an index"),
        (["ask_documents"], "ask_documents needs an index"),
    ],
)
def test_impossible_tools_are_refused(names: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_server(tools=names)


def test_impossible_folders_are_refused_before_a_client_connects(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="There is no folder"):
        make_server(allowed_directories=[tmp_path / "none"])


async def test_the_server_describes_itself(mode: Any) -> None:
    async with Client(make_server(), mode=mode) as client:
        information: Any = client.server_info
        assert information.name == "llava-tools"
        assert "img_" in str(client.instructions)
        assert json.loads(client.server_capabilities.model_dump_json())["prompts"] is None
