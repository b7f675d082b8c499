"""The public names of the package."""

from __future__ import annotations

import pytest

import llava_tools
from llava_tools import errors

VALUES = [
    "Answer",
    "Backend",
    "Chunk",
    "Classification",
    "Constraint",
    "Embedder",
    "ImageRef",
    "ImageStore",
    "Llava",
    "Message",
    "Request",
    "SamplingParams",
    "Stream",
    "ToolCall",
    "ToolCallChunk",
    "ToolSpec",
    "open_image",
]


def test_public_names() -> None:
    public_errors = {name for name in vars(errors) if name.endswith("Error")}
    assert set(llava_tools.__all__) == public_errors | set(VALUES)
    assert llava_tools.__all__ == sorted(llava_tools.__all__)
    for name in llava_tools.__all__:
        assert getattr(llava_tools, name).__name__ == name
    assert set(llava_tools.__all__) <= set(dir(llava_tools))


def test_unknown_name_raises() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Lava'"):
        _ = llava_tools.Lava
