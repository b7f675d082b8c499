"""LLaVA-Bench: its files, its reviews, and figures equal to the official program's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import OutputError, RequestError, ServerError
from llava_tools.evaluation.evaluate import evaluate, rescore
from llava_tools.evaluation.options import EvalOptions
from llava_tools.evaluation.tasks.llava_bench import LlavaBench, parse_scores, summarize
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.evaluation.scripted_judge import (
    CATEGORIES,
    ScriptedJudge,
    write_lines,
    write_llava_bench,
)

DATA = Path(__file__).parent.parent / "data"
REVIEWS = [json.loads(line) for line in (DATA / "llava_bench_reviews.jsonl").open()]
#: Reviews whose scores the official program does not find, and this project does.
LENIENT = {"8, 7": [8, 7], "8  7": [8, 7], " 9 8": [9, 8], "9 8 ": [9, 8], "8\t7": [8, 7]}
TASK = LlavaBench()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_llava_bench(tmp_path / "data")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def _judge(out: Path, folder: Path, judge: ScriptedJudge, **answers: str) -> Any:
    samples = TASK.load(folder)
    texts = {sample.id: f"Answer {sample.id}." for sample in samples} | answers
    return TASK.judge(samples, texts, out, judge)


def test_recorded_reviews_have_the_official_scores() -> None:
    assert len(REVIEWS) >= 200
    for review in REVIEWS:
        expected = LENIENT.get(review["content"], review["official"])
        assert parse_scores(review["content"]) == expected, review


def test_recorded_reviews_have_the_official_figures() -> None:
    lines = [{**review, "tuple": review["official"]} for review in REVIEWS if review["official"]]
    assert len(lines) >= 200
    score = summarize(lines)
    official = json.loads((DATA / "llava_bench_official.json").read_text())
    for category, (ratio, reference, answer) in official.items():
        name = category.removeprefix("llava_bench_")
        assert (score.value if name == "all" else score.parts[f"{name}, %"]) == ratio
        assert score.parts[f"{name}, reference's mean score x 10"] == reference
        assert score.parts[f"{name}, mean score x 10"] == answer
    assert score.count == len(lines)


def test_samples_have_the_questions_and_what_the_judge_reads(folder: Path) -> None:
    sample = TASK.load(folder)[3]
    assert (sample.id, sample.question) == ("3", "What is in part 3?")
    assert sample.image == folder / "images" / "001.jpg"
    assert sample.max_tokens == 1024
    assert sample.truth["context"] == "A caption of 001.jpg."
    assert sample.truth["reference"] == "Reference 3."
    assert sample.truth["category"] == "llava_bench_conv"


def test_a_list_of_captions_is_joined(folder: Path) -> None:
    captions = [{"image": f"{n:03}.jpg", "caption": ["One.", "Two."]} for n in range(3)]
    write_lines(folder / "context.jsonl", captions)
    assert TASK.load(folder)[0].truth["context"] == "One.\nTwo."


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("questions.jsonl", None, "no such file"),
        ("questions.jsonl", [{"question_id": 1}], "'category'"),
        ("context.jsonl", [{"image": "000.jpg", "caption": "x"}], "no caption of '001.jpg'"),
        ("answers_gpt4.jsonl", [{"question_id": 0, "text": "x"}], "no answer to question 1"),
    ],
)
def test_files_that_are_not_as_published_are_refused(
    folder: Path, name: str, lines: list[Any] | None, message: str
) -> None:
    (folder / name).unlink()
    if lines is not None:
        write_lines(folder / name, lines)
    with pytest.raises(RequestError, match=message):
        TASK.load(folder)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "missing.jpg"])
def test_images_outside_the_folder_and_missing_ones_are_refused(folder: Path, name: str) -> None:
    question = {"question_id": 0, "image": name, "category": "conv", "text": "?"}
    write_lines(folder / "questions.jsonl", [question])
    write_lines(folder / "context.jsonl", [{"image": name, "caption": "x"}])
    with pytest.raises(RequestError, match=r"is not in|no such image"):
        TASK.load(folder)


def test_the_judge_reads_the_official_layout(folder: Path, out: Path) -> None:
    (folder / "rule.json").write_text(
        json.dumps(
            {f"llava_bench_{c}": {"role": "Helper", "prompt": f"Rate {c}."} for c in CATEGORIES}
        )
    )
    judge = ScriptedJudge(lambda prompt: "8 4")
    _judge(out, folder, judge)
    prompt, options = judge.prompts[1]
    assert prompt == (
        "[Context]\nA caption of 000.jpg.\n\n[Question]\nWhat is in part 1?\n\n"
        "[Helper 1]\nReference 1.\n\n[End of Helper 1]\n\n"
        "[Helper 2]\nAnswer 1.\n\n[End of Helper 2]\n\n[System]\nRate detail.\n\n"
    )
    assert (options["temperature"], options["max_tokens"]) == (0.2, 1024)


def test_reviews_are_written_in_the_official_format(folder: Path, out: Path) -> None:
    score = _judge(out, folder, ScriptedJudge(lambda prompt: "8 6\nWell.", at_once=4))
    lines = [json.loads(line) for line in (out / "llava_bench_gpt-4-reviews.jsonl").open()]
    assert [line["question_id"] for line in lines] == [0, 1, 2, 3, 4, 5]
    assert lines[2]["tuple"] == [8, 6]
    assert lines[2]["content"] == "8 6\nWell."
    assert lines[2]["category"] == "llava_bench_complex"
    assert (lines[2]["id"], lines[2]["answer1_id"]) == (3, "ref2")
    assert (score.value, score.count) == (75.0, 6)
    assert score.parts["detail, %"] == 75.0


def test_own_prompt_is_noted_and_the_official_one_is_not(folder: Path, out: Path) -> None:
    judge = ScriptedJudge(lambda prompt: "8 4")
    (note,) = _judge(out, folder, judge).notes
    assert "rule.json" in note
    rules = {f"llava_bench_{c}": {"role": "A", "prompt": "R"} for c in ("conv", "detail")}
    (folder / "rule.json").write_text(json.dumps(rules))
    with pytest.raises(RequestError, match="no rule for 'llava_bench_complex'"):
        TASK.load(folder)
    rules["llava_bench_complex"] = {"role": "A", "prompt": "R"}
    (folder / "rule.json").write_text(json.dumps(rules))
    program = "def get():\n    return [{'role': 'system', 'content': 'Judge!'}, {'role': 'user'}]\n"
    (folder / "eval_gpt_review_bench.py").write_text(program)
    assert _judge(out, folder, judge).notes == ()
    assert judge.prompts[-1][1]["system"] == "Judge!"


def test_unreadable_reviews_are_requested_thrice_then_counted(folder: Path, out: Path) -> None:
    judge = ScriptedJudge(lambda prompt: "Hard to say." if "Answer 4." in prompt else "10 5")
    score = _judge(out, folder, judge)
    assert len(judge.prompts) == 5 + 3
    assert score.parts["missing reviews"] == 1
    assert (score.value, score.count) == (50.0, 5)
    assert "1 of 6 reviews" in score.notes[0]
    assert "Hard to say." in score.notes[0]
    assert "-1" not in (out / "llava_bench_gpt-4-reviews.jsonl").read_text()


def test_without_any_review_there_is_no_figure(folder: Path, out: Path) -> None:
    with pytest.raises(OutputError, match="None of 6 reviews has a score"):
        _judge(out, folder, ScriptedJudge(lambda prompt: ""))


def test_judging_resumes_and_requests_only_what_changed(folder: Path, out: Path) -> None:
    judge = ScriptedJudge(lambda prompt: "8 4")
    judge.fails_after = 4
    with pytest.raises(ServerError, match="cannot be reached"):
        _judge(out, folder, judge)
    judge.fails_after = None
    assert _judge(out, folder, judge).count == 6
    assert len({prompt for prompt, _ in judge.prompts}) == len(judge.prompts) == 6
    _judge(out, folder, judge, **{"2": "Another answer."})
    assert len(judge.prompts) == 7
    assert "Another answer." in judge.prompts[-1][0]
    other = ScriptedJudge(lambda prompt: "8 8", model="org/other 2")
    assert _judge(out, folder, other).value == 100.0
    assert len(other.prompts) == 6
    assert (out / "llava_bench_org_other_2-reviews.jsonl").exists()


def test_the_official_rules_may_come_after_the_answers(tmp_path: Path, out: Path) -> None:
    folder = write_llava_bench(tmp_path / TASK.folder)
    options = EvalOptions(tasks=TASK.name, data=tmp_path)
    judge = ScriptedJudge(lambda prompt: "8 4")
    evaluate(options, EngineOptions(), ScriptedBackend(), out, judge)
    rules = {f"llava_bench_{c}": {"role": "A", "prompt": "Official."} for c in CATEGORIES}
    (folder / "rule.json").write_text(json.dumps(rules))
    (result,) = rescore(options, out, judge).results
    assert result.score is not None
    assert result.score.value == 50.0
    assert len(judge.prompts) == 12
    assert judge.prompts[-1][0].endswith("[System]\nOfficial.\n\n")


def test_submission_is_an_official_answers_file(folder: Path, out: Path) -> None:
    samples = TASK.load(folder)
    path = TASK.write_submission(samples, {s.id: f"Ä {s.id}" for s in samples}, out)
    lines = [json.loads(line) for line in path.open()]
    assert [line["question_id"] for line in lines] == [0, 1, 2, 3, 4, 5]
    assert lines[1]["text"] == "Ä 1"
    assert lines[1]["prompt"] == "What is in part 1?"
    assert len({line["answer_id"] for line in lines}) == 6
    assert TASK.score(samples, {}) is None
