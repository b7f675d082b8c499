"""Benchmarks from their data to results: resumed, limited, judged, scored again, kept apart."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from llava_tools.errors import EngineError, RequestError, ServerError
from llava_tools.evaluation.evaluate import evaluate, find_data, rescore
from llava_tools.evaluation.options import EvalOptions
from llava_tools.evaluation.result import Evaluation
from llava_tools.evaluation.run_folder import run_folder
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend
from tests.evaluation.made_tasks import FixedJudge, right_answer, write_data

pytestmark = pytest.mark.usefixtures("small_tasks")


@pytest.fixture
def options(tmp_path: Path) -> EvalOptions:
    write_data(tmp_path / "data")
    return EvalOptions("pope", tmp_path / "data")


def _run(
    options: EvalOptions,
    tmp_path: Path,
    backend: ScriptedBackend | None = None,
    judge: FixedJudge | None = None,
    engine_options: EngineOptions | None = None,
) -> Evaluation:
    backend = backend or ScriptedBackend(right_answer)
    return evaluate(options, engine_options or EngineOptions(), backend, tmp_path / "out", judge)


def test_a_rule_scores_the_answers(options: EvalOptions, tmp_path: Path) -> None:
    evaluation = _run(options, tmp_path)
    (result,) = evaluation.results
    assert result.score is not None
    assert (result.score.value, result.score.count) == (100.0, 20)
    assert (result.samples, result.total, result.is_limited) == (20, 20, False)
    assert (result.needs, result.notes) == ("", [])
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved == json.loads(json.dumps(evaluation.as_dict()))
    assert saved["tasks"]["pope"]["published"] == {"7b": 80.0, "13b": 90.0}
    assert saved["tasks"]["pope"]["parts"] == {"right": 20}
    assert saved["manifest"]["tasks"]["pope"]["files"].keys() == {"questions.json"}
    assert saved["manifest"]["runs"][0]["limit"] is None


def test_a_second_run_asks_nothing_and_finds_the_same(options: EvalOptions, tmp_path: Path) -> None:
    first = _run(options, tmp_path)
    backend = ScriptedBackend(["wrong"])
    second = _run(options, tmp_path, backend)
    assert not backend.requests
    assert second.results == first.results
    assert len(second.manifest.runs) == 2


def test_a_limited_run_says_so_and_a_full_one_takes_its_answers(
    options: EvalOptions, tmp_path: Path
) -> None:
    (result,) = _run(replace(options, limit=5), tmp_path).results
    assert (result.samples, result.total, result.is_limited) == (4, 20, True)
    assert result.notes == [
        "limited to 4 of 20 samples: not comparable with the published figures."
    ]
    backend = ScriptedBackend(right_answer)
    (result,) = _run(options, tmp_path, backend).results
    assert len(backend.requests) == 16
    assert not result.is_limited
    (result,) = _run(replace(options, limit=5), tmp_path, backend).results
    assert (len(backend.requests), result.samples) == (16, 4)


@pytest.mark.parametrize("judged", [True, False])
def test_a_server_and_a_judge_are_named_where_they_are_needed(
    options: EvalOptions, tmp_path: Path, judged: bool
) -> None:
    judge = FixedJudge("50") if judged else None
    results = _run(replace(options, tasks="all"), tmp_path, judge=judge).results
    assert [result.task.name for result in results] == ["vqav2", "pope", "mm_vet"]
    served, _, reviewed = results
    assert (served.score, served.needs) == (None, "a server")
    path = tmp_path / "out" / "vqav2" / "submission.json"
    assert served.submission == path
    assert str(path) in served.notes[0]
    assert len(json.loads(path.read_text())) == 20
    if judged:
        assert reviewed.score is not None
        assert (reviewed.score.value, reviewed.judge, reviewed.needs) == (50.0, "fixed", "")
    else:
        assert (reviewed.score, reviewed.judge, reviewed.needs) == (None, None, "a judge")
        assert "--judge-url" in reviewed.notes[0]


def test_a_limited_run_does_not_replace_the_submission_of_all(
    options: EvalOptions, tmp_path: Path
) -> None:
    (full,) = _run(replace(options, tasks="vqav2"), tmp_path).results
    (part,) = _run(replace(options, tasks="vqav2", limit=4), tmp_path).results
    assert full.submission == tmp_path / "out" / "vqav2" / "submission.json"
    assert part.submission == tmp_path / "out" / "vqav2" / "limited" / "submission.json"
    assert len(json.loads(full.submission.read_text())) == 20
    assert len(json.loads(part.submission.read_text())) == 4


def test_a_failing_judge_loses_no_other_result(options: EvalOptions, tmp_path: Path) -> None:
    judge = FixedJudge(error=ServerError("The judge is down."))
    evaluation = _run(replace(options, tasks="all"), tmp_path, judge=judge)
    assert [result.task.name for result in evaluation.results] == ["vqav2", "pope"]
    assert str(evaluation.failed["mm_vet"]) == "The judge is down."
    again = rescore(EvalOptions(), tmp_path / "out", FixedJudge())
    assert [result.judge for result in again.results] == [None, None, "fixed"]


def test_bad_data_fail_alone(
    options: EvalOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.evaluation.made_tasks.ServedTask.folder", "served")
    bad = write_data(tmp_path / "data", folder="served") / "images" / "3.png"
    bad.write_bytes(b"no image")
    evaluation = _run(replace(options, tasks="all"), tmp_path)
    assert [result.task.name for result in evaluation.results] == ["pope", "mm_vet"]
    assert "The sample '3' cannot be answered" in str(evaluation.failed["vqav2"])


def test_a_failing_model_ends_the_run_and_keeps_its_answers(
    options: EvalOptions, tmp_path: Path
) -> None:
    def script(request: object) -> str:
        if len(backend.requests) > 6:
            raise EngineError("It broke.")
        return "4"

    backend = ScriptedBackend(script)
    with pytest.raises(EngineError, match="It broke"):
        _run(replace(options, at_once=1), tmp_path, backend)
    lines = (tmp_path / "out" / "pope" / "answers.jsonl").read_text().splitlines()
    assert len(lines) == 6


def test_answers_of_another_model_are_not_mixed(options: EvalOptions, tmp_path: Path) -> None:
    _run(options, tmp_path)
    backend = ScriptedBackend(right_answer)
    with pytest.raises(RequestError, match="dtype='auto', now 'float16'"):
        _run(options, tmp_path, backend, engine_options=EngineOptions(dtype="float16"))
    assert not backend.requests


def test_answers_to_other_data_are_not_mixed(options: EvalOptions, tmp_path: Path) -> None:
    _run(options, tmp_path)
    questions = tmp_path / "data" / "numbers" / "questions.json"
    questions.write_text(questions.read_text().replace("Which", "What"))
    evaluation = _run(options, tmp_path)
    assert not evaluation.results
    assert "questions.json has changed" in str(evaluation.failed["pope"])
    shutil.rmtree(tmp_path / "out" / "pope")  # as the documentation recommends
    backend = ScriptedBackend(["wrong"])
    assert _run(options, tmp_path, backend).results
    assert len(backend.requests) == 20


def test_two_runs_do_not_write_to_one_folder(options: EvalOptions, tmp_path: Path) -> None:
    with run_folder(tmp_path / "out"), pytest.raises(RequestError, match="Another run writes to"):
        _run(options, tmp_path)
    assert _run(options, tmp_path).results


def test_missing_data_are_listed_with_all_and_an_error_by_name(
    options: EvalOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.evaluation.made_tasks.ServedTask.folder", "served")
    evaluation = _run(replace(options, tasks="all"), tmp_path)
    assert [task.name for task in evaluation.missing] == ["vqav2"]
    assert evaluation.as_dict()["missing"] == {"vqav2": "https://example.org/numbers"}
    with pytest.raises(RequestError, match=r"data of vqav2 are not in .*served.*example\.org"):
        _run(replace(options, tasks="pope,vqav2"), tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(None, "data is missing"), ("nowhere", "no folder"), ("", "the data of no benchmark")],
)
def test_no_data_at_all_are_an_error(tmp_path: Path, data: str | None, message: str) -> None:
    options = EvalOptions(data=None if data is None else tmp_path / data)
    with pytest.raises(RequestError, match=message):
        find_data(options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 0}, "limit=0"),
        ({"at_once": 0}, "at_once=0"),
        ({"at_once": 257}, r"at_once=257 .*at most 256"),
        ({"tasks": "popes"}, "no benchmark 'popes'"),
        ({"judge_model": "gpt"}, "judge_model='gpt' has no server"),
    ],
)
def test_impossible_options_are_errors(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        EvalOptions(**values)


def test_answers_are_scored_again_without_a_model(options: EvalOptions, tmp_path: Path) -> None:
    first = _run(replace(options, tasks="pope,vqav2", limit=6), tmp_path)
    again = rescore(EvalOptions(), tmp_path / "out")
    assert again.results == first.results
    (only,) = rescore(EvalOptions("pope"), tmp_path / "out").results
    assert only == first.results[1]


def test_data_that_have_moved_are_named_for_scoring(options: EvalOptions, tmp_path: Path) -> None:
    _run(options, tmp_path)
    (tmp_path / "data").rename(tmp_path / "moved")
    evaluation = rescore(EvalOptions(), tmp_path / "out")
    assert "data of pope are not in" in str(evaluation.failed["pope"])
    assert rescore(EvalOptions(data=tmp_path / "moved"), tmp_path / "out").results


def test_answers_that_are_not_all_there_are_not_scored(
    options: EvalOptions, tmp_path: Path
) -> None:
    _run(options, tmp_path)
    log = tmp_path / "out" / "pope" / "answers.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:7]))
    evaluation = rescore(EvalOptions(), tmp_path / "out")
    assert "has answers to 7 of 20 samples" in str(evaluation.failed["pope"])


def test_a_folder_without_answers_is_not_scored(options: EvalOptions, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no answers of an evaluation"):
        rescore(EvalOptions(), tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    _run(options, tmp_path)
    with pytest.raises(RequestError, match=r"has no answers to mm_vet.*It has: pope"):
        rescore(EvalOptions("mm_vet"), tmp_path / "out")


def test_progress_names_benchmark_and_step(options: EvalOptions, tmp_path: Path) -> None:
    seen: list[tuple[str, str, int, int]] = []
    lock = threading.Lock()

    def show(task: object, step: str, done: int, total: int) -> None:
        with lock:
            seen.append((task.name, step, done, total))  # type: ignore[attr-defined]

    backend = ScriptedBackend(right_answer)
    evaluate(
        replace(options, tasks="pope,mm_vet"),
        EngineOptions(),
        backend,
        tmp_path / "out",
        FixedJudge(),
        show,
    )
    assert seen[0] == ("pope", "answered", 0, 20)
    assert seen[20] == ("pope", "answered", 20, 20)
    assert seen[-1] == ("mm_vet", "judged", 20, 20)


def test_a_submission_that_cannot_be_written_is_the_benchmarks_error(
    options: EvalOptions, tmp_path: Path
) -> None:
    options = replace(options, tasks="pope,vqav2")
    (tmp_path / "out" / "vqav2").mkdir(parents=True)
    (tmp_path / "out" / "vqav2" / "submission.json").mkdir()
    evaluation = _run(options, tmp_path)
    assert [result.task.name for result in evaluation.results] == ["pope"]
    assert "cannot be written: Is a directory" in str(evaluation.failed["vqav2"])


def test_answers_without_their_manifest_are_not_taken_over(
    options: EvalOptions, tmp_path: Path
) -> None:
    _run(options, tmp_path)
    (tmp_path / "out" / "manifest.json").unlink()
    evaluation = _run(options, tmp_path, ScriptedBackend(["of another model"]))
    assert "does not say what the answers to pope there are of" in str(evaluation.failed["pope"])
