"""Parts of requests that several tests send."""

from __future__ import annotations

import base64
from typing import Any

from PIL import Image

from llava_tools.images import open_image

IMAGE = open_image(open_image(Image.new("RGB", (8, 8), "red")).data)
URL = f"data:image/png;base64,{base64.b64encode(IMAGE.data).decode()}"
IMAGE_BLOCK: dict[str, Any] = {"type": "image_url", "image_url": {"url": URL}}
TEXT_BLOCK: dict[str, Any] = {"type": "text", "text": "what is it"}
LOOK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {
            "type": "object",
            "properties": {"question": {"type": "string"}},
            "required": ["question"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def conversation(content: Any = "What?", **fields: Any) -> dict[str, Any]:
    """Return the body of a request with one message of the user."""
    return {"messages": [{"role": "user", "content": content}], **fields}
