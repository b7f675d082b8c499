"""MM-Vet: its files, its reviews, and figures equal to the official program's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.errors import RequestError
from llava_tools.evaluation.tasks.mm_vet import MMVet, parse_score, summarize
from tests.evaluation.scripted_judge import ScriptedJudge, write_lines, write_mm_vet

DATA = Path(__file__).parent.parent / "data"
REVIEWS = [json.loads(line) for line in (DATA / "mm_vet_reviews.jsonl").open()]
TASK = MMVet()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_mm_vet(tmp_path / "data")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def _judge(out: Path, folder: Path, judge: ScriptedJudge) -> Any:
    samples = TASK.load(folder)
    return TASK.judge(samples, {s.id: f"Answer {s.id}." for s in samples}, out, judge)


def _first_score(replies: list[str]) -> float:
    scores = [score for reply in replies if (score := parse_score(reply)) is not None]
    return scores[0] if scores else 0.0


def test_recorded_reviews_have_the_official_scores() -> None:
    assert len(REVIEWS) >= 200
    for review in REVIEWS:
        assert _first_score(review["replies"]) == review["official"], review


def test_recorded_reviews_have_the_official_figures() -> None:
    score = summarize(
        {review["question_id"]: review["official"] for review in REVIEWS},
        {review["question_id"]: review["capability"] for review in REVIEWS},
    )
    official = json.loads((DATA / "mm_vet_official.json").read_text())
    assert score.value == official["total"]
    for name, figure in official["capabilities"].items():
        assert score.parts[f"{name}, %"] == figure
    for name, figure in official["integrations"].items():
        assert score.parts[f"integration {name}, %"] == figure
    assert len(score.parts) == len(official["capabilities"]) + len(official["integrations"]) + 1


@pytest.mark.parametrize(("mean", "figure"), [(0.0105, 1.0), (0.0315, 3.2), (0.0735, 7.4)])
def test_figures_are_rounded_as_numpy_does(mean: float, figure: float) -> None:
    assert summarize({"v1_0": mean}, {"v1_0": ["ocr"]}).value == figure != round(mean * 100, 1)


@pytest.mark.parametrize(
    ("reply", "score"),
    [("0.5", 0.5), (" 1.0 |", 1.0), ("0\n", 0.0), ("1.1", None), ("-0.1", None), ("nan", None),
     ("", None), ("Score: 0.5", None), ("0,5", None)],
)  # fmt: skip
def test_a_score_is_the_first_word_from_0_to_1(reply: str, score: float | None) -> None:
    assert parse_score(reply) == score


def test_questions_are_the_official_ones(folder: Path) -> None:
    sample = TASK.load(folder)[0]
    assert (sample.id, sample.question, sample.max_tokens) == ("v1_0", "What is 0?", 1024)
    assert sample.image == folder / "images" / "v1_0.png"
    assert sample.truth["capabilities"] == ["math", "ocr"]


def test_questions_of_llavas_file_come_first(folder: Path) -> None:
    lines = [{"question_id": n, "image": f"v1_{n}.png", "text": f"Text {n}?"} for n in (2, 0)]
    write_lines(folder / "llava-mm-vet.jsonl", lines)
    samples = TASK.load(folder)
    assert [(s.id, s.question) for s in samples] == [("v1_2", "Text 2?"), ("v1_0", "Text 0?")]
    assert samples[0].truth["question"] == "What is 2?"
    write_lines(folder / "llava-mm-vet.jsonl", [{"question_id": 9, "text": "?"}])
    with pytest.raises(RequestError, match=r"line 1: mm-vet\.json has no 'v1_9'"):
        TASK.load(folder)


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"v1_0": 3}', '{"v1_0": {"question": "?"}}'])
def test_a_file_that_is_not_as_published_is_refused(folder: Path, text: str) -> None:
    (folder / "mm-vet.json").write_text(text)
    with pytest.raises(RequestError, match=r"mm-vet\.json is not possible"):
        TASK.load(folder)


def test_the_judge_completes_a_row_of_a_table(folder: Path, out: Path) -> None:
    (folder / "mm-vet_evaluator.py").write_text('import x\nprompt = """Q | G | P | C\n"""\n')
    judge = ScriptedJudge(lambda prompt: "0.5")
    score = _judge(out, folder, judge)
    prompt, options = judge.prompts[1]
    row = "What is 1? | one <AND> two <OR> three | Answer v1_1. | "
    assert prompt == f"Q | G | P | C\n\n{row}"
    assert (options["temperature"], options["system"]) == (0.0, "")
    assert score.notes == ()


def test_own_prompt_is_noted(folder: Path, out: Path) -> None:
    (note,) = _judge(out, folder, ScriptedJudge(lambda prompt: "0.5")).notes
    assert "mm-vet_evaluator.py" in note


def test_figures_are_means_by_capability_and_integration(folder: Path, out: Path) -> None:
    scores = {"v1_0": "1.0", "v1_1": "0.0", "v1_2": "0.4", "v1_3": "0.6"}
    judge = ScriptedJudge(lambda prompt: scores[prompt.rsplit("Answer ", 1)[1].split(".")[0]])
    score = _judge(out, folder, judge)
    assert (score.value, score.count) == (50.0, 4)
    assert score.parts == {
        "ocr, %": 50.0,
        "rec, %": 50.0,
        "know, %": 60.0,
        "math, %": 100.0,
        "integration know+rec, %": 60.0,
        "integration math+ocr, %": 100.0,
        "integration ocr, %": 0.0,
        "integration rec, %": 40.0,
        "missing reviews": 0,
    }


def test_unreadable_reviews_are_requested_five_times_then_count_as_0(
    folder: Path, out: Path
) -> None:
    judge = ScriptedJudge(lambda prompt: "Good." if "Answer v1_3." in prompt else "0.8")
    score = _judge(out, folder, judge)
    retried = [options["temperature"] for prompt, options in judge.prompts if "v1_3" in prompt]
    assert retried == [0.0, 0.0, 0.5, 1.0, 1.5]
    assert judge.prompts[-1][0].endswith("as a number: ")
    assert (score.value, score.parts["missing reviews"]) == (60.0, 1)
    assert "1 of 4 reviews are missing" in score.notes[0]
    assert "count as 0" in score.notes[1]


def test_judging_resumes(folder: Path, out: Path) -> None:
    judge = ScriptedJudge(lambda prompt: "0.5")
    first = _judge(out, folder, judge)
    assert _judge(out, folder, judge) == first
    assert len(judge.prompts) == 4


def test_results_and_grades_are_in_the_official_formats(folder: Path, out: Path) -> None:
    samples = TASK.load(folder)
    path = TASK.write_submission(samples, {s.id: f"Answer {s.id}." for s in samples}, out)
    assert path.name == "mm_vet.json"
    assert json.loads(path.read_text())["v1_3"] == "Answer v1_3."
    _judge(out, folder, ScriptedJudge(lambda prompt: "0.7"))
    grades = json.loads((out / "mm_vet_gpt-4-grade-1runs.json").read_text())
    assert list(grades) == ["v1_0", "v1_1", "v1_2", "v1_3"]
    assert grades["v1_2"] == {"model": ["gpt-4"], "content": ["0.7"], "score": [0.7]}
