"""Answers collected from chunks."""

from __future__ import annotations

import pytest

from llava_tools.core.outputs import Chunk, Usage, collect
from llava_tools.errors import EngineError


def test_collect_joins_chunks() -> None:
    usage = Usage(prompt_tokens=5, completion_tokens=2)
    answer = collect(
        [Chunk("a ", (1,)), Chunk("b", (2,)), Chunk("", (3,), finish_reason="stop", usage=usage)],
        "m",
    )
    assert (answer.text, answer.token_ids, answer.model) == ("a b", (1, 2, 3), "m")
    assert answer.usage.total_tokens == 7
    assert str(answer) == "a b"


@pytest.mark.parametrize("chunks", [[], [Chunk("a")]])
def test_collect_raises_without_a_finish_reason(chunks: list[Chunk]) -> None:
    with pytest.raises(EngineError, match="before the answer was complete"):
        collect(chunks, "m")
