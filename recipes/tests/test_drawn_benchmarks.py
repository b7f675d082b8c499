from __future__ import annotations

import base64
import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recipes.drawn_benchmarks import WRITERS, write_benchmarks
from recipes.drawn_benchmarks.scenes import (
    PAGE_KINDS,
    SHAPE_KINDS,
    TEXT_KINDS,
    draw_item,
)
from recipes.drawn_benchmarks.yes_no import MME_CATEGORIES, POPE_SPLITS

COUNT = 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_benchmarks(folder, COUNT, seed=1)
    return folder


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _rows(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(10**9)
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.mark.parametrize("kind", [*SHAPE_KINDS, *PAGE_KINDS, *TEXT_KINDS])
@pytest.mark.parametrize("seed", range(3))
def test_wrong_answers_are_there_and_none_is_right(kind: str, seed: int) -> None:
    for question in draw_item(kind, seed).questions:
        assert question.wrong
        assert question.answer not in question.wrong
        options, position = question.options(np.random.default_rng(seed))
        assert options[position] == question.answer
        assert len(set(options)) == len(options) == len(question.wrong) + 1


@pytest.mark.parametrize("seed", range(20))
def test_questions_about_shapes_are_answered_by_the_objects(seed: int) -> None:
    item = draw_item("count", seed)
    pairs = {f"{drawn.colour} {drawn.shape}" for drawn in item.objects}
    for question in item.questions[1:]:
        if question.kind == "exist":
            words = question.text.split()
            assert (question.answer == "yes") == (" ".join(words[3:5]) in pairs)
        elif question.kind == "count":
            assert int(question.answer) == len(item.objects)
        elif question.kind == "colour":
            shape = question.text.removesuffix("?").split()[-1]
            assert [o.colour for o in item.objects if o.shape == shape] == [question.answer]


def test_the_same_seed_writes_the_same_files(data: Path, tmp_path: Path) -> None:
    write_benchmarks(tmp_path, COUNT, seed=1, names=["pope", "textvqa"])
    again = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.parts[len(tmp_path.parts)] for path in again} == {"pope", "textvqa"}
    for path in again:
        assert path.read_bytes() == (data / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize(
    ("questions", "images"),
    [
        ("vqav2/llava_vqav2_mscoco_test-dev2015.jsonl", "vqav2/test2015"),
        ("gqa/llava_gqa_testdev_balanced.jsonl", "gqa/data/images"),
        ("vizwiz/llava_test.jsonl", "vizwiz/test"),
        ("textvqa/llava_textvqa_val_v051_ocr.jsonl", "textvqa/train_images"),
        ("pope/llava_pope_test.jsonl", "pope/val2014"),
        ("MME/llava_mme.jsonl", "MME/MME_Benchmark_release_version"),
        ("seed_bench/llava-seed-bench.jsonl", "seed_bench"),
        ("mm-vet/llava-mm-vet.jsonl", "mm-vet/images"),
        ("llava-bench-in-the-wild/questions.jsonl", "llava-bench-in-the-wild/images"),
    ],
)
def test_question_files_name_images_that_are_there(data: Path, questions: str, images: str) -> None:
    lines = _lines(data / questions)
    assert len(lines) >= COUNT
    for line in lines:
        assert line.keys() == {"question_id", "image", "text", "category"}
        Image.open(data / images / line["image"]).verify()


def test_vqav2_has_ten_annotators(data: Path) -> None:
    folder = data / "vqav2"
    questions = json.loads((folder / "v2_OpenEnded_mscoco_val2014_questions.json").read_text())
    annotations = json.loads((folder / "v2_mscoco_val2014_annotations.json").read_text())
    ids = [question["question_id"] for question in questions["questions"]]
    assert len(set(ids)) == COUNT
    assert ids == [entry["question_id"] for entry in annotations["annotations"]]
    types = set()
    for entry in annotations["annotations"]:
        answers = [answer["answer"] for answer in entry["answers"]]
        assert len(answers) == 10
        assert answers.count(entry["multiple_choice_answer"]) >= 7
        assert (folder / "val2014" / f"COCO_val2014_{entry['image_id']:012}.jpg").is_file()
        types.add(entry["answer_type"])
    assert types == {"yes/no", "number", "other"}


def test_vizwiz_has_unanswerable_questions(data: Path) -> None:
    records = json.loads((data / "vizwiz/val.json").read_text())
    assert Counter(record["answerable"] for record in records) == {1: 16, 0: 8}
    for record in records:
        answers = Counter(answer["answer"] for answer in record["answers"])
        assert answers.total() == 10
        assert (answers.most_common(1)[0] == ("unanswerable", 8)) == (not record["answerable"])
    tests = json.loads((data / "vizwiz/test.json").read_text())
    assert all(record.keys() == {"image", "question"} for record in tests)


def test_scienceqa_has_problems_with_and_without_images(data: Path) -> None:
    folder = data / "scienceqa"
    problems = json.loads((folder / "problems.json").read_text())
    tests = json.loads((folder / "pid_splits.json").read_text())["test"]
    with_image = [pid for pid in tests if problems[pid]["image"]]
    assert len(with_image) == COUNT < len(tests) < len(problems)
    assert all((folder / "images" / "test" / pid / "image.png").is_file() for pid in with_image)
    assert all(0 <= problems[pid]["answer"] < len(problems[pid]["choices"]) for pid in tests)
    records = json.loads((folder / "llava_test_CQM-A.json").read_text())
    assert [record["id"] for record in records] == tests


def test_pope_has_three_splits_of_as_many_yes_as_no(data: Path) -> None:
    lines = {split: _lines(data / f"pope/coco/coco_pope_{split}.json") for split in POPE_SPLITS}
    for entries in lines.values():
        assert Counter(entry["label"] for entry in entries) == {"yes": 6, "no": 6}
        assert [entry["question_id"] for entry in entries] == list(range(1, 13))
    assert lines["random"] != lines["adversarial"]
    combined = _lines(data / "pope/llava_pope_test.jsonl")
    assert Counter(line["category"] for line in combined) == dict.fromkeys(POPE_SPLITS, 12)
    assert len({line["question_id"] for line in combined}) == 36


def test_mme_has_both_layouts_and_pairs(data: Path) -> None:
    release = data / "MME" / "MME_Benchmark_release_version"
    assert {path.name for path in release.iterdir()} == set(MME_CATEGORIES)
    for category, (_, _, apart) in MME_CATEGORIES.items():
        folder = release / category
        texts = sorted(folder.rglob("*.txt"))
        assert texts
        assert (folder / "images").is_dir() == apart == (folder / "questions_answers_YN").is_dir()
        for path in texts:
            pairs = [line.split("\t") for line in path.read_text().splitlines()]
            assert [answer for _, answer in pairs] == ["Yes", "No"]
            assert all(question.endswith("? Please answer yes or no.") for question, _ in pairs)
            assert pairs[0][0] != pairs[1][0]


@pytest.mark.parametrize(
    "file", ["mmbench/mmbench_dev_20230712.tsv", "mmbench_cn/mmbench_dev_cn_20231003.tsv"]
)
def test_mmbench_rows_go_round_the_options(data: Path, file: str) -> None:
    rows = {int(row["index"]): row for row in _rows(data / file)}
    assert len(rows) >= COUNT
    for index, row in rows.items():
        options = [row[letter] for letter in "ABCD" if row[letter]]
        first = rows[index % 1_000_000]
        assert row[row["answer"]] == first[first["answer"]]
        assert sorted(options) == sorted(first[letter] for letter in "ABCD" if first[letter])
        assert index // 1_000_000 < len(options)
        Image.open(io.BytesIO(base64.b64decode(row["image"]))).verify()
        if "_cn" in file:
            assert any("一" <= character <= "鿿" for character in row["question"])


def test_seed_bench_has_images_and_frames_of_videos(data: Path) -> None:
    annotations = json.loads((data / "seed_bench/SEED-Bench.json").read_text())
    assert len(annotations["question_type"]) == 12
    types = Counter(entry["data_type"] for entry in annotations["questions"])
    assert types == {"image": 18, "video": 6}
    for entry in annotations["questions"]:
        choices = [entry[f"choice_{letter}"] for letter in "abcd"]
        assert len(set(choices)) == 4
        assert entry["answer"] in "ABCD"


def test_judged_benchmarks_have_references(data: Path) -> None:
    folder = data / "llava-bench-in-the-wild"
    questions, answers = _lines(folder / "questions.jsonl"), _lines(folder / "answers_gpt4.jsonl")
    assert [q["question_id"] for q in questions] == [a["question_id"] for a in answers]
    assert {q["category"] for q in questions} == {"conv", "detail", "complex"}
    captions = {line["image"] for line in _lines(folder / "context.jsonl")}
    assert captions == {question["image"] for question in questions}
    entries = json.loads((data / "mm-vet/mm-vet.json").read_text())
    assert list(entries) == [f"v1_{number}" for number in range(COUNT)]
    capabilities = {name for entry in entries.values() for name in entry["capability"]}
    assert capabilities == {"rec", "ocr", "know", "gen", "spat", "math"}
    assert any("<OR>" in entry["answer"] for entry in entries.values())


def test_every_benchmark_has_a_writer() -> None:
    assert len(WRITERS) == 12
