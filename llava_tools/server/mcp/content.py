"""Results of tools as MCP has them: data with a schema, text for the planner, images and links.

The text is the one that planners of the other frameworks read. The images are what a notebook shows
of the result, such as the image with the box that was located.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from mcp_types.version import is_version_at_least

from llava_tools.images import ImageRef
from llava_tools.server.mcp.jpeg import MAX_RESULT_BYTES, fit_jpeg
from llava_tools.server.mcp.resources import image_uri
from llava_tools.tools.display import ImageResult
from llava_tools.tools.geometry import Box
from llava_tools.tools.spec import ToolResult

#: The first version of the protocol with links to resources.
LINKS_VERSION = "2025-06-18"


@dataclass(frozen=True)
class ContentOptions:
    """What results have beside data and text.

    Attributes:
        images: Images, for planners that see.
        links: Links to images as resources, for hosts that show them. LangChain's MCP adapters make
            file blocks of links, which chat models refuse.
    """

    images: bool = True
    links: bool = False


def to_call_result(
    result: ToolResult, protocol_version: str, options: ContentOptions
) -> CallToolResult:
    """Return the result of a tool for a client; its images are as small as they must be."""
    data = result.model_dump(mode="json", exclude=result.program_only)
    content: list[ContentBlock] = [TextContent(type="text", text=str(result))]
    if options.links and is_version_at_least(protocol_version, LINKS_VERSION):
        handles = dict.fromkeys(_handles(result.model_dump(mode="json")))
        content += [
            ResourceLink(type="resource_link", uri=image_uri(handle), name=handle)
            for handle in handles
        ]
    call_result = CallToolResult(content=content, structured_content=data)
    images = result.displayed if options.images and isinstance(result, ImageResult) else ()
    used = len(json.dumps(call_result.model_dump(mode="json", by_alias=True)))
    call_result.content += _image_blocks(images, MAX_RESULT_BYTES - used)
    return call_result


def _image_blocks(
    images: Sequence[tuple[ImageRef, Box | None]], max_bytes: int
) -> Iterator[ImageContent]:
    for image, box in images:
        # 100 bytes are for the block around the data.
        data = fit_jpeg(image, box, max_bytes // len(images) - 100)
        yield ImageContent(type="image", data=data, mime_type="image/jpeg")


def _handles(data: Any) -> Iterator[str]:
    """Yield the handles in the data of a result: all that is called `image`."""
    if isinstance(data, list):
        for item in data:
            yield from _handles(item)
    elif isinstance(data, dict):
        for name, value in data.items():
            if name == "image" and value:
                yield value
            else:
                yield from _handles(value)
