from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llava_tools.structured.stop_strings import StopStringFilter

pieces = st.lists(st.text(alphabet="ab \n", max_size=4), max_size=10)
stop_lists = st.lists(st.text(alphabet="ab \n", min_size=1, max_size=4), max_size=3)


def _feed(parts: list[str], stops: list[str]) -> tuple[list[str], StopStringFilter]:
    words = StopStringFilter(stops)
    shown = []
    for part in parts:
        shown.append(words.feed(part))
        if words.stopped:
            break
    return [*shown, words.rest()], words


@given(parts=pieces)
def test_without_stops_the_text_comes_out_stripped(parts: list[str]) -> None:
    shown, _ = _feed(parts, [])
    assert "".join(shown) == "".join(parts).strip()


@given(parts=pieces, stops=stop_lists)
def test_how_the_text_was_cut_changes_nothing(parts: list[str], stops: list[str]) -> None:
    shown, words = _feed(parts, stops)
    whole, at_once = _feed(list("".join(parts)), stops)
    assert "".join(shown) == "".join(whole)
    assert words.stopped == at_once.stopped


@given(parts=pieces, stops=stop_lists)
def test_nothing_of_a_stop_string_is_shown(parts: list[str], stops: list[str]) -> None:
    shown, words = _feed(parts, stops)
    assert words.stopped == any(stop in "".join(parts).lstrip() for stop in stops)
    assert not any(stop in "".join(shown) for stop in stops)


def test_text_is_shown_as_soon_as_it_cannot_become_a_stop_string() -> None:
    words = StopStringFilter(["END"])
    assert [words.feed(part) for part in ("A cat", " E", "NT", "ER EN", "D x")] == [
        "A cat",
        "",
        " ENT",
        "ER",
        "",
    ]
    assert words.stopped
    assert words.rest() == ""
