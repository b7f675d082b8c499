"""How many new tokens a request may have."""

from __future__ import annotations

import pytest

from llava_tools.chat.token_limit import max_new_tokens
from llava_tools.errors import ContextOverflowError


@pytest.mark.parametrize(
    ("prompt_tokens", "max_tokens", "expected"),
    [
        (100, None, 512),
        (4096 - 512, None, 512),
        (4096 - 511, None, 511),
        (4095, None, 1),
        (4095, 1, 1),
        (96, 4000, 4000),
        (100, 3, 3),
    ],
)
def test_default_max_tokens_is_limited_by_the_context(
    prompt_tokens: int, max_tokens: int | None, expected: int
) -> None:
    assert max_new_tokens(prompt_tokens, 0, 576, max_tokens, 4096) == expected


@pytest.mark.parametrize(("prompt_tokens", "max_tokens"), [(4096, None), (4096, 1), (97, 4000)])
def test_request_longer_than_the_context_raises(prompt_tokens: int, max_tokens: int | None) -> None:
    with pytest.raises(ContextOverflowError):
        max_new_tokens(prompt_tokens, 0, 576, max_tokens, 4096)


def test_overflow_error_has_all_figures() -> None:
    with pytest.raises(ContextOverflowError) as caught:
        max_new_tokens(8 * 576 + 50, 8, 576, 100, 4096)
    message = str(caught.value)
    for figure in ("4758 tokens", "holds 4096", "8 image(s) at 576", "50 of text", "100 for"):
        assert figure in message
    assert caught.value.hint in message
    assert "\n" not in message
