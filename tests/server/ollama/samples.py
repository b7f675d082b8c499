"""Images, tools and streams that the tests of Ollama's API share."""

from __future__ import annotations

import base64
import json
from typing import Any

from PIL import Image

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.images import open_image

IMAGE = open_image(open_image(Image.new("RGB", (8, 8), "red")).data)
OTHER = open_image(open_image(Image.new("RGB", (8, 8), "blue")).data)
LOOK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {
            "type": "object",
            "properties": {"question": {"type": "string"}},
            "required": ["question"],
        },
    },
}
CALL = write_call(ToolCall("", "look", {"question": "What?"}))


def base64_of(image: Any) -> str:
    return base64.b64encode(image.data).decode()


def chat_body(content: str = "What?", **fields: Any) -> dict[str, Any]:
    return {"model": "llava", "messages": [{"role": "user", "content": content}], **fields}


def prompt_body(prompt: str = "What?", **fields: Any) -> dict[str, Any]:
    return {"model": "llava", "prompt": prompt, **fields}


def lines_of(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]
