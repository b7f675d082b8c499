"""Reading the conversations: every bad record has its error, which names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools.errors import ImageError, RequestError
from llava_tools.finetune.records import read_records

HUMAN = {"from": "human", "value": "What?"}
LOOK = {"from": "human", "value": "<image>\nWhat?"}
GPT = {"from": "gpt", "value": "That."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(images / "sub" / "a.png")
    (images / "broken.png").write_bytes(b"\x89PNG no picture")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (images / "link.png").symlink_to(tmp_path / "outside.png")
    return images


def read(folder: Path, *items: Any) -> Any:
    data = folder.parent / "data.json"
    data.write_text(json.dumps(items))
    return read_records(data, folder)


def test_good_records(folder: Path) -> None:
    looking, talking = read(
        folder,
        {"id": 7, "image": "sub/a.png", "conversations": [LOOK, GPT], "model": "x"},
        {"conversations": [GPT, {"from": "human", "value": "Where is <image> in HTML?"}, GPT]},
    )
    assert looking.turns == ("What?", "That.")
    assert looking.image == (folder / "sub" / "a.png").resolve()
    assert looking.messages(looking.look())[0].images[0].size == (8, 8)
    assert looking.words == 2
    assert talking.image is None
    assert talking.look() is None
    assert [message.role for message in talking.messages(None)] == ["user", "assistant"]
    assert "<image>" in talking.turns[0]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("words", "record 1 is a str"),
        ({"id": "x"}, "record 1 (id 'x') has no list 'conversations'"),
        ({"conversations": []}, "record 1 does not end with an answer"),
        ({"conversations": [HUMAN]}, "does not end with an answer"),
        ({"conversations": [HUMAN, GPT, HUMAN]}, "does not end with an answer"),
        ({"conversations": [HUMAN, "That."]}, "record 1, turn 1 is a str"),
        ({"conversations": [HUMAN, HUMAN, GPT]}, "two turns of 'human' in a row"),
        ({"conversations": [GPT, GPT]}, "two turns of 'gpt' in a row"),
        ({"conversations": [HUMAN, GPT, GPT]}, "two turns of 'gpt' in a row"),
        ({"conversations": [HUMAN, {"from": "bot", "value": "a"}]}, "turn 1 is from 'bot'"),
        ({"conversations": [HUMAN, {"from": [], "value": "a"}]}, "turn 1 is from '[]'"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": " "}]}, "turn 1 says nothing"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": 3}]}, "turn 1 says nothing"),
        ({"conversations": [LOOK, GPT]}, "has <image>, but no image"),
        ({"image": "sub/a.png", "conversations": [HUMAN, GPT]}, "<image> not exactly once"),
        ({"image": "sub/a.png", "conversations": [LOOK, GPT, LOOK, GPT]}, "not exactly once"),
        (
            {"image": "sub/a.png", "conversations": [{"from": "human", "value": "<image>"}, GPT]},
            "asks nothing about its image",
        ),
        ({"image": ["sub/a.png"], "conversations": [LOOK, GPT]}, "has the image"),
        ({"image": "", "conversations": [LOOK, GPT]}, "has the image ''"),
        ({"image": "sub/b.png", "conversations": [LOOK, GPT]}, "'sub/b.png' of record 1 is not in"),
        ({"image": "sub", "conversations": [LOOK, GPT]}, "'sub' of record 1 is not in"),
        ({"image": "a\0.png", "conversations": [LOOK, GPT]}, "is not in"),
        ({"image": "x" * 5000, "conversations": [LOOK, GPT]}, "is not in"),
        ({"image": "../outside.png", "conversations": [LOOK, GPT]}, "leads out of"),
        ({"image": "link.png", "conversations": [LOOK, GPT]}, "leads out of"),
        ({"image": "/etc/hostname", "conversations": [LOOK, GPT]}, "leads out of"),
    ],
)
def test_bad_records(folder: Path, item: Any, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(folder, {"conversations": [HUMAN, GPT]}, item)
    assert says in str(caught.value)
    assert "record 1" in str(caught.value)


def test_a_broken_image_names_its_record(folder: Path) -> None:
    (record,) = read(folder, {"id": 5, "image": "broken.png", "conversations": [LOOK, GPT]})
    with pytest.raises(ImageError, match=r"record 0 \(id '5'\).*broken\.png"):
        record.look()


def test_a_image_needs_a_folder(folder: Path) -> None:
    data = folder.parent / "data.json"
    data.write_text(json.dumps([{"image": "a.png", "conversations": [LOOK, GPT]}]))
    with pytest.raises(RequestError, match="pictures' folder"):
        read_records(data, None)
    with pytest.raises(RequestError, match="There is no folder"):
        read_records(data, folder / "missing")


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "no JSON"), ("{}\n{}", "no JSON"), ("{}", "no list"), ("[]", "no list")],
)
def test_bad_files(tmp_path: Path, content: str, says: str) -> None:
    data = tmp_path / "data.json"
    data.write_text(content)
    with pytest.raises(RequestError, match=says):
        read_records(data, None)
    with pytest.raises(RequestError, match="cannot be read"):
        read_records(tmp_path / "missing.json", None)
