"""Text with lone surrogates: answered and scored as with U+FFFD in their place."""

from __future__ import annotations

import pytest

from llava_tools import Embedder, Llava, Message


@pytest.mark.parametrize("bad", ["\ud800", "caf\udce9 \udfff"])
def test_lone_surrogates_are_read_as_replacement_characters(llava: Llava, bad: str) -> None:
    good = bad.encode("utf-8", "replace").decode().replace("?", "\ufffd")
    tokens = []
    for text in (bad, good):
        history = (Message("user", (text,)), Message("assistant", (f"{text} there",)))
        answer = llava.ask(text, history=history, system=f"Be {text}.", max_tokens=4)
        choice = llava.choose(text, (), [f"a {text}", "b"])
        assert set(choice.probabilities) == {f"a {text}", "b"}
        tokens.append((answer.token_ids, answer.usage, tuple(choice.probabilities.values())))
    assert tokens[0][0] == tokens[1][0]
    assert tokens[0][1].prompt_tokens == tokens[1][1].prompt_tokens
    assert tokens[0][2] == pytest.approx(tokens[1][2], rel=1e-4)


def test_lone_surrogates_are_embedded_as_replacement_characters() -> None:
    with Embedder() as embedder:
        first, second, other = embedder.embed_texts(["a \udce9 b", "a \ufffd b", "a c"])
    assert first == pytest.approx(second, abs=1e-6)
    assert first != pytest.approx(other, abs=1e-3)
