"""Full-text search finds words in every script, short and long ones, and phrases."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools.retrieval.schema import DocumentRow, IndexMetadata, PageRow
from llava_tools.retrieval.store import Store
from llava_tools.retrieval.text_index import has_phrases, phrases, without_stop_words
from llava_tools.retrieval.writable_store import WritableStore

PART_NUMBER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 2
TEXTS = {
    "Thai": "เครื่องชงกาแฟต้องล้างตะกรันทุกเดือน",
    "Korean": "한국어 문서를 색인하고 검색합니다. 커피 머신의 석회질을 제거하십시오",
    "Chinese": "咖啡机需要每个月除垢。",
    "Japanese": "コーヒーマシンの石灰除去は毎月行う。",
    "English": "The Who played for the IT department, and it was loud",
    "part": f"Part {PART_NUMBER} and X-4711/B.9",
    "German": "Die Größe der Paketverwaltungsoberfläche",
    "empty": "",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    location = Path(tmp_path_factory.mktemp("index"))
    store = WritableStore(location, IndexMetadata("m", "c", 1))
    rows = [
        PageRow("d", number, name, 9, 9, text, b"", [1.0])
        for number, (name, text) in enumerate(TEXTS.items(), start=1)
    ]
    store.add_pages(rows)
    store.put_documents([DocumentRow("d.pdf", "d", len(rows), True, True)])
    store.clean_up()
    return Store(location)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *[(word, "Thai") for word in ("กาแฟ", "ตะกรัน", "ล้าง")],
        *[(word, "Korean") for word in ("검색", "석회질", "커피", "색인", "검색하는")],
        *[(word, "Chinese") for word in ("除垢", "咖啡机", "咖啡", "每个月", "垢")],
        *[(word, "Japanese") for word in ("石灰", "毎月", "コーヒー", "マシン")],
        *[(word, "English") for word in ("IT", "The Who", "the", "who", '"The Who"', "playing")],
        *[(word, "part") for word in (PART_NUMBER, PART_NUMBER.lower(), "X-4711/B.9", "4711")],
        *[(word, "German") for word in ("größe", "Paketverwaltung", "Oberfläche", "oberflache")],
    ],
)
def test_a_word_finds_its_page_first(store: Store, query: str, name: str) -> None:
    assert [row["handle"] for row in store.match_text(query, 5)][:1] == [name]


@pytest.mark.parametrize("query", ["☃", "zxqv", "猫", "?", '""', '"'])
def test_what_no_page_has_finds_none(store: Store, query: str) -> None:
    assert store.match_text(query, 5) == []


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('"IT department"', ["English"]),
        ('"department IT"', []),
        ("“The Who”", ["English"]),
        ('"石灰除去"', ["Japanese"]),
        ('"除去石灰"', []),
        ('"석회질" 커피', ["Korean"]),
        ('Größe "Part"', ["part"]),
    ],
)
def test_phrases_in_quotes_must_be_on_the_page(
    store: WritableStore, query: str, names: list[str]
) -> None:
    rows = [row for row in store.match_text(query, 5) if has_phrases(query, row["text"])]
    assert [row["handle"] for row in rows] == names


def test_phrases_are_what_quotation_marks_enclose() -> None:
    assert phrases('a "b c" „d“ «e f» "" "?" "g') == ["b c", "d", "e f"]
    assert has_phrases("no phrase", "")
    assert has_phrases('"multi way"', "A Multi   way valve")
    assert not has_phrases('"way valve"', "multiway valve")


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("How is the pump descaled?", "pump descaled?"),
        ("Wie wird die Pumpe entkalkt?", "Pumpe entkalkt?"),
        ("the IT department", "IT department"),
        ("The Who", "The Who"),
        ("AT THE PUMP", "PUMP"),
        ("what is it", "what is it"),
        ("x & y-axis", "x & y-axis"),
    ],
)
def test_stop_words_are_left_out_beside_others(query: str, kept: str) -> None:
    assert without_stop_words(query) == kept


def test_a_page_with_the_query_as_a_heading_is_first(tmp_path: Path) -> None:
    store = WritableStore(tmp_path / "index", IndexMetadata("m", "c", 1))
    texts = ["Arrays 3 Vectors 5 arrays arrays", "Arrays An array is a row", "more on arrays"]
    rows = [
        PageRow("d", page, "", 9, 9, text, b"", [1.0], headings=headings)
        for page, (text, headings) in enumerate(
            zip(texts, ["contents", "arrays", ""], strict=True), start=1
        )
    ]
    store.add_pages(rows)
    store.put_documents([DocumentRow("d.pdf", "d", 3, True, True)])
    store.clean_up()
    assert [row["page"] for row in Store(tmp_path / "index").match_text("3. Arrays", 1)] == [2]
