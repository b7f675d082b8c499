"""Stop strings: the text that a filter lets through does not depend on how it was split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llava_tools.structured.stop_strings import StopStringFilter

pieces = st.lists(st.text(alphabet="ab \n", max_size=4), max_size=10)
stop_lists = st.lists(st.text(alphabet="ab \n", min_size=1, max_size=4), max_size=3)


def _feed(parts: list[str], stops: list[str]) -> tuple[list[str], StopStringFilter]:
    stop_filter = StopStringFilter(stops)
    shown = []
    for part in parts:
        shown.append(stop_filter.feed(part))
        if stop_filter.stopped:
            break
    return [*shown, stop_filter.flush()], stop_filter


@given(parts=pieces)
def test_without_stop_strings_the_text_is_stripped(parts: list[str]) -> None:
    shown, _ = _feed(parts, [])
    assert "".join(shown) == "".join(parts).strip()


@given(parts=pieces, stops=stop_lists)
def test_the_split_of_the_text_changes_nothing(parts: list[str], stops: list[str]) -> None:
    shown, stop_filter = _feed(parts, stops)
    whole, by_character = _feed(list("".join(parts)), stops)
    assert "".join(shown) == "".join(whole)
    assert stop_filter.stopped == by_character.stopped


@given(parts=pieces, stops=stop_lists)
def test_a_stop_string_is_not_shown(parts: list[str], stops: list[str]) -> None:
    shown, stop_filter = _feed(parts, stops)
    assert stop_filter.stopped == any(stop in "".join(parts).lstrip() for stop in stops)
    assert not any(stop in "".join(shown) for stop in stops)


def test_text_is_shown_as_soon_as_it_cannot_become_a_stop_string() -> None:
    stop_filter = StopStringFilter(["END"])
    assert [stop_filter.feed(part) for part in ("A cat", " E", "NT", "ER EN", "D x")] == [
        "A cat",
        "",
        " ENT",
        "ER",
        "",
    ]
    assert stop_filter.stopped
    assert stop_filter.flush() == ""
