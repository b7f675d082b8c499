from __future__ import annotations

from llava_tools.evaluation.rules.choices import list_options


def test_options_are_lines_with_letters() -> None:
    assert list_options(["red", "See you,\nJack", "1", "2", "3"]) == (
        "A. red\nB. See you,\nJack\nC. 1\nD. 2\nE. 3"
    )
    assert list_options([]) == ""
