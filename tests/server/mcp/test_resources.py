"""Images as resources: listed and read by handle."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from mcp import Client, MCPError
from PIL import Image

from llava_tools import open_image
from llava_tools.images.store import ImageStore
from llava_tools.server.mcp.resources import MAX_LISTED, list_images
from tests.server.mcp.scene import TALL, WIDE, add, make_server, read
from tests.strategies import encoded


async def test_images_are_listed_the_last_used_first(mode: Any) -> None:
    async with Client(make_server(), mode=mode) as client:
        assert (await client.list_resources()).resources == []
        wide, tall = await add(client), await add(client, TALL)
        listed = (await client.list_resources()).resources
        assert [resource.name for resource in listed] == [tall, wide]
        assert [resource.uri for resource in listed] == [f"image://{tall}", f"image://{wide}"]
        assert listed[1].description == "400 x 200 pixels"
        assert listed[1].mime_type == "image/png"
        (template,) = (await client.list_resource_templates()).resource_templates
        assert template.uri_template == "image://{handle}"


async def test_an_image_is_read_as_it_is(mode: Any) -> None:
    async with Client(make_server(), mode=mode) as client:
        contents = await read(client, await add(client))
    assert base64.b64decode(contents.blob) == WIDE
    assert contents.mime_type == "image/png"


async def test_a_format_that_few_models_take_becomes_png() -> None:
    bitmap = encoded(Image.new("RGB", (30, 20), "red"), "BMP")
    async with Client(make_server()) as client:
        contents = await read(client, await add(client, bitmap))
    assert contents.mime_type == "image/png"
    assert base64.b64decode(contents.blob).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("image://img_" + 24 * "0", "There is no picture"),
        ("image://../etc/passwd", "names no image"),
        ("image:///etc/passwd", "names no image"),
        ("file:///etc/passwd", "names no image"),
    ],
)
async def test_other_names_are_refused(uri: str, message: str, mode: Any) -> None:
    async with Client(make_server(), mode=mode) as client:
        with pytest.raises(MCPError, match=message) as caught:
            await client.read_resource(uri)
    assert caught.value.error.data == {"uri": uri}


def test_a_list_has_a_limit() -> None:
    store = ImageStore()
    for number in range(MAX_LISTED + 20):
        store.add(open_image(Image.new("RGB", (number + 1, 1))))
    listed = [resource.name for resource in list_images(store).resources]
    assert listed == store.handles()[::-1][:MAX_LISTED]
