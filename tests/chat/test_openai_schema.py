"""Tool choices of OpenAI's API."""

from __future__ import annotations

from typing import Any

import pytest

from llava_tools.chat.openai_schema import tool_choice
from llava_tools.errors import RequestError


@pytest.mark.parametrize("name", ["auto", "any", "none", "required"])
def test_tool_choice_by_name_is_never_read_as_a_mode(name: str) -> None:
    choices: list[dict[str, Any]] = [
        {"type": "function", "function": {"name": name}},
        {"type": "tool", "name": name},
    ]
    for choice in choices:
        with pytest.raises(RequestError, match="is not possible"):
            tool_choice(choice)
    assert tool_choice(name) == ("any" if name == "required" else name)
