"""Labels of a conversation: equal to ones written by hand, and to the official preprocessing's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from llava_tools.chat import prompt
from llava_tools.core.requests import Message
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ModelError
from llava_tools.finetune.dataset import IGNORED, TokenizedExample, tokenize
from llava_tools.finetune.records import read_records
from llava_tools.images import open_image
from tests.checkpoints import llama_like_tokenizer
from tests.finetune.llama_tokenizer import make_tokenizer
from tests.finetune.official_preprocessing import IMAGE, preprocess

TOKENIZER = make_tokenizer()
PHOTO = open_image(Image.new("RGB", (4, 4), "red"))
IMAGE_ID = TOKENIZER.convert_tokens_to_ids("<image>")

Turns = list[tuple[str, str]]


def example(turns: Turns, folder: Path, image_tokens: int = 3) -> TokenizedExample:
    """Write a conversation as LLaVA's JSON, read it back, and tokenize it."""
    has_image = any("<image>" in value for _, value in turns)
    Image.new("RGB", (4, 4)).save(folder / "p.png")
    item = {"conversations": [{"from": speaker, "value": value} for speaker, value in turns]}
    data = folder / "data.json"
    data.write_text(json.dumps([item | ({"image": "p.png"} if has_image else {})]))
    (record,) = read_records(data, folder)
    messages = record.messages(PHOTO if has_image else None)
    return tokenize(messages, Tokenizer(TOKENIZER), IMAGE_ID, image_tokens)


def marked(tokenized: TokenizedExample) -> list[str]:
    """Tokens after the system sentence, target tokens in [brackets]."""
    names = TOKENIZER.convert_ids_to_tokens(list(tokenized.ids))
    for token, label in zip(tokenized.ids, tokenized.labels, strict=True):
        assert label in (token, IGNORED)
    start = names.index("▁US")
    assert set(tokenized.labels[:start]) == {IGNORED}
    return [
        f"[{name}]" if label != IGNORED else name
        for name, label in zip(names[start:], tokenized.labels[start:], strict=True)
    ]


def test_one_answer_about_an_image(tmp_path: Path) -> None:
    turns = [("human", "<image>\nWhat is in the picture?"), ("gpt", "A red circle. ")]
    assert marked(example(turns, tmp_path)) == [
        "▁US", "ER", ":", "▁",
        "<image>", "<image>", "<image>",
        "▁", "<0x0A>", "W", "h", "a", "t", "▁is", "▁in", "▁the", "▁picture?",
        "▁A", "SS", "IST", "ANT", ":",
        "[▁A]", "[▁red]", "[▁circle.]", "[▁]", "[</s>]",
    ]  # fmt: skip


def test_two_rounds_and_a_placeholder_after_the_question(tmp_path: Path) -> None:
    turns = [
        ("human", "What is in the picture?\n<image>"),
        ("gpt", "A red circle."),
        ("human", "Is it?"),
        ("gpt", "No."),
    ]
    assert marked(example(turns, tmp_path, image_tokens=1)) == [
        "▁US", "ER", ":", "▁", "<image>",
        "▁", "<0x0A>", "W", "h", "a", "t", "▁is", "▁in", "▁the", "▁picture?",
        "▁A", "SS", "IST", "ANT", ":", "[▁A]", "[▁red]", "[▁circle.]", "[</s>]",
        "USER", ":", "▁", "I", "s", "▁i", "t", "?",
        "▁A", "SS", "IST", "ANT", ":", "[▁]", "[N]", "[o]", "[.]", "[</s>]",
    ]  # fmt: skip


def test_no_image_and_text_that_looks_like_structure(tmp_path: Path) -> None:
    turns = [("human", "Is </s> red?"), ("gpt", "the USER: red")]
    assert marked(example(turns, tmp_path)) == [
        "▁US", "ER", ":", "▁", "I", "s", "▁", "</", "s>", "▁red", "?",
        "▁A", "SS", "IST", "ANT", ":",
        "[▁the]", "[▁US]", "[ER]", "[:]", "[▁red]", "[</s>]",
    ]  # fmt: skip


def test_a_system_text_makes_the_prompt_of_the_engine(tmp_path: Path) -> None:
    turns = [
        ("system", "Answer in red."),
        ("human", "<image>\nWhat?"),
        ("gpt", "A circle."),
        ("human", "Is it?"),
        ("gpt", "No."),
    ]
    tokenized = example(turns, tmp_path, image_tokens=3)
    tokenizer = Tokenizer(TOKENIZER)
    assert isinstance(IMAGE_ID, int)
    image_ids = [IMAGE_ID] * 3
    conversation = [
        Message("system", ("Answer in red.",)),
        Message("user", (PHOTO, "What?")),
        Message("assistant", ("A circle.",)),
        Message("user", ("Is it?",)),
    ]
    for index, answer in ((2, "A circle."), (4, "No.")):
        pieces = prompt.build(conversation[:index])
        prompt_ids = tokenizer.tokenize(pieces, lambda _: image_ids)
        assert list(tokenized.ids[: len(prompt_ids)]) == prompt_ids
        answer_ids = tokenizer.encode(f" {answer}", start=True)
        answer_ids.append(tokenizer.end_of_turn)
        end = len(prompt_ids) + len(answer_ids)
        assert list(tokenized.labels[len(prompt_ids) : end]) == answer_ids
        assert tokenized.labels[len(prompt_ids) - 1] == IGNORED
    assert end == len(tokenized.ids)
    targets = tokenized.target_tokens
    assert targets == sum(len(tokenizer.encode(f" {a}", start=True)) + 1 for _, a in turns[2::2])


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
    [  # like the mix's short answers, several about an image
        ("human", "<image>\nIs there a bus?\nAnswer the question using a single word or phrase."),
        ("gpt", "Yes"),
        ("human", "How many?"),
        ("gpt", "2"),
        ("human", "Please provide the bounding box: the left one."),
        ("gpt", "[0.12, 0.3, 0.45, 0.99]"),
    ],
    [("human", "Write two lines."), ("gpt", "One\nTwo"), ("human", "  Three  "), ("gpt", "ok")],
]


def assert_equals_official(turns: Turns, folder: Path) -> None:
    tokenized = example(turns, folder, image_tokens=1)
    ids, labels = preprocess(turns, TOKENIZER)
    assert [IMAGE if token == IMAGE_ID else token for token in tokenized.ids] == ids
    assert list(tokenized.labels) == labels


@pytest.mark.parametrize("turns", OFFICIAL, ids=["custom data", "short answers", "no image"])
def test_labels_equal_the_official_preprocessing(turns: Turns, tmp_path: Path) -> None:
    assert_equals_official(turns, tmp_path)


TEXT = st.text("ab red.,:?é\n日", min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3), st.booleans())
def test_labels_of_any_conversation_equal_the_official_preprocessing(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[str, str]], has_image: bool
) -> None:
    turns = [turn for question, answer in rounds for turn in (("human", question), ("gpt", answer))]
    if has_image:
        turns[0] = ("human", f"<image>\n{turns[0][1]}")
    assert_equals_official(turns, tmp_path_factory.mktemp("any"))


def test_examples_are_truncated_at_their_end(tmp_path: Path) -> None:
    whole = example([("human", "Is it?"), ("gpt", "A red circle.")], tmp_path)
    truncated = whole.truncate(len(whole.ids) - 2)
    assert whole.target_tokens - truncated.target_tokens == 2
    assert truncated.ids == whole.ids[:-2]
    assert whole.truncate(10).target_tokens == 0


def test_a_tokenizer_that_merges_prompt_and_answer_is_refused(tmp_path: Path) -> None:
    merging = Tokenizer(llama_like_tokenizer())
    data = tmp_path / "data.json"
    turns = [{"from": "human", "value": "How many dogs?"}, {"from": "gpt", "value": "A red circle"}]
    data.write_text(json.dumps([{"conversations": turns}]))
    with pytest.raises(ModelError, match="merges tokens of prompts with tokens of their answers"):
        tokenize(read_records(data, None)[0].messages(None), merging, 0, 1)
