"""What is learned from a conversation: as written out by hand, and as the official code counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError
from llava_tools.finetune.labels import IGNORED, Lesson, write
from llava_tools.finetune.records import read_records
from llava_tools.images import open_image
from tests.checkpoints import llama_like_tokenizer
from tests.finetune.llama import tokenizer
from tests.finetune.official import IMAGE, preprocess

TOKENIZER = tokenizer()
TEXT = Tokenizer(TOKENIZER)
PHOTO = open_image(Image.new("RGB", (4, 4), "red"))
IMAGE_ID = TOKENIZER.convert_tokens_to_ids("<image>")

Turns = list[tuple[str, str]]


def lesson(turns: Turns, folder: Path, image_tokens: int = 3) -> Lesson:
    """Write a conversation as the JSON that LLaVA reads, read it, and make a lesson of it."""
    imaged = "<image>" in turns[0][1]
    Image.new("RGB", (4, 4)).save(folder / "p.png")
    record = {"conversations": [{"from": speaker, "value": value} for speaker, value in turns]}
    data = folder / "data.json"
    data.write_text(json.dumps([record | ({"image": "p.png"} if imaged else {})]))
    (read,) = read_records(data, folder)
    return write(read.messages(PHOTO if imaged else None), TEXT, IMAGE_ID, image_tokens)


def shown(found: Lesson) -> list[str]:
    """Tokens behind the system sentence, those that are learned in [brackets]."""
    names = TOKENIZER.convert_ids_to_tokens(list(found.ids))
    for token, label in zip(found.ids, found.labels, strict=True):
        assert label in (token, IGNORED)
    begin = names.index("▁US")
    assert set(found.labels[:begin]) == {IGNORED}
    return [
        f"[{name}]" if label != IGNORED else name
        for name, label in zip(names[begin:], found.labels[begin:], strict=True)
    ]


def test_one_answer_about_a_image(tmp_path: Path) -> None:
    turns = [("human", "<image>\nWhat is in the picture?"), ("gpt", "A red circle. ")]
    assert shown(lesson(turns, tmp_path)) == [
        "▁US", "ER", ":", "▁",
        "<image>", "<image>", "<image>",
        "▁", "<0x0A>", "W", "h", "a", "t", "▁is", "▁in", "▁the", "▁picture?",
        "▁A", "SS", "IST", "ANT", ":",
        "[▁A]", "[▁red]", "[▁circle.]", "[▁]", "[</s>]",
    ]  # fmt: skip


def test_two_rounds_and_the_image_named_last(tmp_path: Path) -> None:
    turns = [
        ("human", "What is in the picture?\n<image>"),
        ("gpt", "A red circle."),
        ("human", "Is it?"),
        ("gpt", "No."),
    ]
    assert shown(lesson(turns, tmp_path, image_tokens=1)) == [
        "▁US", "ER", ":", "▁", "<image>",
        "▁", "<0x0A>", "W", "h", "a", "t", "▁is", "▁in", "▁the", "▁picture?",
        "▁A", "SS", "IST", "ANT", ":", "[▁A]", "[▁red]", "[▁circle.]", "[</s>]",
        "USER", ":", "▁", "I", "s", "▁i", "t", "?",
        "▁A", "SS", "IST", "ANT", ":", "[▁]", "[N]", "[o]", "[.]", "[</s>]",
    ]  # fmt: skip


def test_words_alone_and_words_that_look_like_structure(tmp_path: Path) -> None:
    turns = [("human", "Is </s> red?"), ("gpt", "the USER: red")]
    assert shown(lesson(turns, tmp_path)) == [
        "▁US", "ER", ":", "▁", "I", "s", "▁", "<", "/", "s>", "▁red", "?",
        "▁A", "SS", "IST", "ANT", ":",
        "[▁the]", "[▁US]", "[ER]", "[:]", "[▁red]", "[</s>]",
    ]  # fmt: skip


OFFICIAL: list[Turns] = [
    [  # docs/Finetune_Custom_Data.md
        ("human", "<image>\nWrite a prompt for Stable Diffusion to generate this image."),
        (
            "gpt",
            "a beautiful painting of chernobyl by nekro, pascal blanche, john harris, greg "
            "rutkowski, sin jong hun, moebius, simon stalenhag. in style of cg art. ray tracing. "
            "cel shading. hyper detailed. realistic. ue 5. maya. octane render. ",
        ),
    ],
    [  # the form of the mix's questions with short answers, several about an image
        ("human", "<image>\nIs there a bus?\nAnswer the question using a single word or phrase."),
        ("gpt", "Yes"),
        ("human", "How many?"),
        ("gpt", "2"),
        ("human", "Please provide the bounding box: the left one."),
        ("gpt", "[0.12, 0.3, 0.45, 0.99]"),
    ],
    [("human", "Write two lines."), ("gpt", "One\nTwo"), ("human", "  Three  "), ("gpt", "ok")],
]


def check(turns: Turns, folder: Path) -> None:
    found = lesson(turns, folder, image_tokens=1)
    ids, labels = preprocess(turns, TOKENIZER)
    assert [IMAGE if token == IMAGE_ID else token for token in found.ids] == ids
    assert list(found.labels) == labels


@pytest.mark.parametrize("turns", OFFICIAL, ids=["custom data", "short answers", "words alone"])
def test_labels_are_those_of_the_official_preprocessing(turns: Turns, tmp_path: Path) -> None:
    check(turns, tmp_path)


WORDS = st.text("ab red.,:?é\n日", min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), st.booleans())
def test_any_conversation_is_labelled_as_officially(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[str, str]], imaged: bool
) -> None:
    turns = [turn for asked, told in rounds for turn in (("human", asked), ("gpt", told))]
    if imaged:
        turns[0] = ("human", f"<image>\n{turns[0][1]}")
    check(turns, tmp_path_factory.mktemp("any"))


def test_a_lesson_is_cut_as_in_the_official_training(tmp_path: Path) -> None:
    whole = lesson([("human", "Is it?"), ("gpt", "A red circle.")], tmp_path)
    cut = whole.cut(len(whole.ids) - 2)
    assert whole.learned - cut.learned == 2
    assert cut.ids == whole.ids[:-2]
    assert whole.cut(10).learned == 0


def test_a_tokenizer_that_joins_prompt_and_answer_is_refused(tmp_path: Path) -> None:
    joining = Tokenizer(llama_like_tokenizer())
    data = tmp_path / "data.json"
    said = [{"from": "human", "value": "How many dogs?"}, {"from": "gpt", "value": "A red circle"}]
    data.write_text(json.dumps([{"conversations": said}]))
    with pytest.raises(ModelError, match="joins prompts with their answers"):
        write(read_records(data, None)[0].messages(None), joining, 0, 1)
