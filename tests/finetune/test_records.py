"""Reading LLaVA's conversation JSON: each bad record raises an error that names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools.errors import ImageError, RequestError
from llava_tools.finetune.records import Record, read_captions, read_records, split_records
from llava_tools.images import open_image

HUMAN = {"from": "human", "value": "What?"}
HUMAN_WITH_IMAGE = {"from": "human", "value": "<image>\nWhat?"}
GPT = {"from": "gpt", "value": "That."}
SYSTEM = {"from": "system", "value": "Answer in two words."}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(images / "sub" / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    (images / "link.png").symlink_to(tmp_path / "outside.png")
    return images


def read(folder: Path, *items: Any) -> Any:
    data = folder.parent / "data.json"
    data.write_text(json.dumps(items))
    return read_records(data, folder)


def test_good_records(folder: Path) -> None:
    with_image, without_image = read(
        folder,
        {"id": 7, "image": "sub/a.png", "conversations": [HUMAN_WITH_IMAGE, GPT], "model": "x"},
        {"conversations": [GPT, {"from": "human", "value": "Where is <image> in HTML?"}, GPT]},
    )
    assert with_image.turns == ("What?", "That.")
    assert with_image.image == (folder / "sub" / "a.png").resolve()
    assert with_image.messages(open_image(with_image.image))[0].images[0].size == (8, 8)
    assert with_image.word_count == 2
    assert without_image.image is None
    assert [message.role for message in without_image.messages(None)] == ["user", "assistant"]
    assert "<image>" in without_image.turns[0]


def test_a_system_text_precedes_the_turns(folder: Path) -> None:
    with_image, text_only, without_system = read(
        folder,
        {"image": "sub/a.png", "conversations": [SYSTEM, HUMAN_WITH_IMAGE, GPT]},
        {"conversations": [SYSTEM, GPT, HUMAN, GPT]},  # a first turn of gpt is dropped
        {"conversations": [HUMAN, GPT]},
    )
    for record in (with_image, text_only):
        assert record.system == SYSTEM["value"]
        assert record.turns == ("What?", "That.")
        assert record.word_count == 6
    messages = with_image.messages(open_image(with_image.image))
    assert [message.role for message in messages] == ["system", "user", "assistant"]
    assert messages[0].text == SYSTEM["value"]
    assert [len(message.images) for message in messages] == [0, 1, 0]
    assert without_system.system is None
    assert [message.role for message in without_system.messages(None)] == ["user", "assistant"]


def test_a_caption_has_no_system_text(folder: Path) -> None:
    data = folder.parent / "data.json"
    item = {"id": "a", "image": "sub/a.png", "conversations": [SYSTEM, HUMAN_WITH_IMAGE, GPT]}
    data.write_text(json.dumps([item]))
    with pytest.raises(RequestError, match=r"record 0 \(id 'a'\) has a system text"):
        read_captions(data, folder)


@pytest.mark.parametrize(
    ("item", "message"),
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
        ({"conversations": [HUMAN, SYSTEM, GPT]}, "turn 1 is from 'system'. Put one system text"),
        ({"conversations": [HUMAN, GPT, SYSTEM]}, "turn 2 is from 'system'"),
        ({"conversations": [SYSTEM, SYSTEM, HUMAN, GPT]}, "turn 1 is from 'system'"),
        ({"conversations": [SYSTEM | {"value": " "}, HUMAN, GPT]}, "turn 0 is empty"),
        ({"conversations": [SYSTEM]}, "does not end with an answer"),
        ({"conversations": [SYSTEM, HUMAN]}, "does not end with an answer"),
        ({"conversations": [HUMAN, {"from": [], "value": "a"}]}, "turn 1 is from '[]'"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": " "}]}, "turn 1 is empty"),
        ({"conversations": [HUMAN, {"from": "gpt", "value": 3}]}, "turn 1 is empty"),
        ({"conversations": [HUMAN_WITH_IMAGE, GPT]}, "has <image>, but no image"),
        ({"image": "sub/a.png", "conversations": [HUMAN, GPT]}, "<image> not exactly once"),
        (
            {"image": "sub/a.png", "conversations": [HUMAN_WITH_IMAGE, GPT, HUMAN_WITH_IMAGE, GPT]},
            "not exactly once",
        ),
        (
            {"image": "sub/a.png", "conversations": [{"from": "human", "value": "<image>"}, GPT]},
            "has no question about its image",
        ),
        ({"image": ["sub/a.png"], "conversations": [HUMAN_WITH_IMAGE, GPT]}, "has the image"),
        ({"image": "", "conversations": [HUMAN_WITH_IMAGE, GPT]}, "has the image ''"),
        (
            {"image": "sub/b.png", "conversations": [HUMAN_WITH_IMAGE, GPT]},
            "'sub/b.png' of record 1 is not in",
        ),
        ({"image": "sub", "conversations": [HUMAN_WITH_IMAGE, GPT]}, "'sub' of record 1 is not in"),
        ({"image": "a\0.png", "conversations": [HUMAN_WITH_IMAGE, GPT]}, "is not in"),
        ({"image": "x" * 5000, "conversations": [HUMAN_WITH_IMAGE, GPT]}, "is not in"),
        ({"image": "../outside.png", "conversations": [HUMAN_WITH_IMAGE, GPT]}, "leads out of"),
        ({"image": "link.png", "conversations": [HUMAN_WITH_IMAGE, GPT]}, "leads out of"),
        ({"image": "/etc/hostname", "conversations": [HUMAN_WITH_IMAGE, GPT]}, "leads out of"),
    ],
)
def test_bad_records_are_refused(folder: Path, item: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(folder, {"conversations": [HUMAN, GPT]}, item)
    assert message in str(caught.value)
    assert "record 1" in str(caught.value)


def test_a_record_with_an_image_needs_the_image_folder(folder: Path) -> None:
    data = folder.parent / "data.json"
    data.write_text(json.dumps([{"image": "a.png", "conversations": [HUMAN_WITH_IMAGE, GPT]}]))
    with pytest.raises(RequestError, match="image folder"):
        read_records(data, None)
    with pytest.raises(RequestError, match="There is no folder"):
        read_records(data, folder / "missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        ("{}\n{}", "is not JSON"),
        ("{}", "is not a list"),
        ("[]", "holds no record"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    data = tmp_path / "data.json"
    data.write_text(content)
    with pytest.raises(RequestError, match=message):
        read_records(data, None)
    with pytest.raises(RequestError, match="cannot be read"):
        read_records(tmp_path / "missing.json", None)
    with pytest.raises(RequestError) as caught:
        read_records(tmp_path, None)
    assert str(caught.value).endswith("is no file. Name LLaVA's conversation JSON.")


@pytest.mark.parametrize("speaker", [0, 1])
def test_i15_a_lone_surrogate_names_its_record_and_turn(folder: Path, speaker: int) -> None:
    turns = [HUMAN, GPT]
    turns[speaker] = turns[speaker] | {"value": "a \ud800"}
    with pytest.raises(RequestError, match=rf"record 0 \(id '.*'\), turn {speaker} has a lone"):
        read(folder, {"id": "\udc00", "conversations": turns})


@pytest.mark.parametrize("name", ["a\ud800.png", "a\0.png", "a" * 5000, "sub"])
def test_i15_an_image_with_an_impossible_name_names_its_record(folder: Path, name: str) -> None:
    with pytest.raises(ImageError, match="record 0 is not in"):
        read(folder, {"image": name, "conversations": [HUMAN_WITH_IMAGE, GPT]})


@pytest.mark.parametrize(
    ("content", "message"),
    [("[" * 200_000, "nested too deeply"), ("[1, ]", "is not JSON"), ("\0", "is not JSON")],
)
def test_i15_a_file_that_is_no_json_is_named(folder: Path, content: str, message: str) -> None:
    data = folder.parent / "data.json"
    data.write_text(content)
    with pytest.raises(RequestError, match=rf"data\.json' .*{message}"):
        read_records(data, folder)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom", "/"])
def test_i15_a_device_is_not_read(folder: Path, path: str) -> None:
    with pytest.raises(RequestError, match="is no file"):
        read_records(Path(path), folder)


def test_i15_a_file_of_many_gigabytes_is_not_read(folder: Path) -> None:
    data = folder.parent / "data.json"
    with data.open("wb") as file:
        file.truncate(9_000_000_000)  # takes no space
    with pytest.raises(RequestError, match=r"has 9\.0 GB; the limit is 8 GB"):
        read_records(data, folder)


def test_records_are_held_out_by_seed() -> None:
    records = [Record(str(number), ("a", "b")) for number in range(10)]
    trained, held_out = split_records(records, 0.25, seed=1)
    assert len(held_out) == 3
    assert sorted([*trained, *held_out], key=lambda record: int(record.name)) == records
    assert split_records(records, 0.25, seed=1) == (trained, held_out)
    assert split_records(records, 0.25, seed=2) != (trained, held_out)
    assert split_records(records, 0.0, seed=1) == (records, [])
    with pytest.raises(RequestError, match="leaves none to train on"):
        split_records(records[:1], 0.5, seed=0)
