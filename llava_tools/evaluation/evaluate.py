"""Runs benchmarks: their samples are answered, then scored, submitted to a file, or judged.

An output folder has `manifest.json`, `results.json`, and a folder for each benchmark with
`answers.jsonl`, its submission and its reviews. `evaluate` answers what is not answered there yet;
`rescore` needs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from llava_tools.core.backend import Backend
from llava_tools.errors import LlavaToolsError, RequestError
from llava_tools.evaluation.answer_log import AnswerLog, read_answers
from llava_tools.evaluation.catalog import find_tasks
from llava_tools.evaluation.data_files.writing import writing
from llava_tools.evaluation.fingerprint import (
    answer_options,
    file_digest,
    model_fingerprint,
    sample_digest,
)
from llava_tools.evaluation.manifest import (
    MANIFEST,
    Manifest,
    TaskData,
    describe_run,
    write_json_file,
)
from llava_tools.evaluation.options import EvalOptions
from llava_tools.evaluation.result import Evaluation, TaskResult
from llava_tools.evaluation.run_folder import run_folder
from llava_tools.evaluation.runner import answer_samples
from llava_tools.evaluation.selection import limit_samples
from llava_tools.evaluation.task import Answers, Judge, Sample, Task
from llava_tools.options import EngineOptions

#: Called with the benchmark and the step ("answered", "judged"), the number of finished samples and
#: that of all.
Show = Callable[[Task, str, int, int], None]

_ANSWERS = "answers.jsonl"
_RESULTS = "results.json"
_LIMITED = "limited"


def find_data(options: EvalOptions) -> tuple[list[Task], list[Task]]:
    """Return the chosen benchmarks whose data are there, and those that `all` leaves out.

    Raises:
        RequestError: A benchmark was named whose data are not there, or there is no data at all.
    """
    data = options.data
    if data is None:
        raise RequestError("data is missing.", "Set data (--data) to the folder of the data sets.")
    if not data.is_dir():
        raise RequestError(f"There is no folder {data} of data sets.", _data_hint())
    tasks = find_tasks(options.names)
    missing = [task for task in tasks if not has_data(task, data)]
    if missing and not options.takes_all:
        raise _no_data(missing[0], data)
    if len(missing) == len(tasks):
        raise RequestError(f"{data} has the data of no benchmark.", _data_hint())
    return [task for task in tasks if task not in missing], missing


def has_data(task: Task, data: Path) -> bool:
    """Return whether a benchmark's folder has any of its files."""
    folder = data / task.folder
    return any((folder / name).exists() for name in task.source.files)


def evaluate(
    options: EvalOptions,
    engine_options: EngineOptions,
    backend: Backend,
    folder: Path,
    judge: Judge | None = None,
    show: Show | None = None,
) -> Evaluation:
    """Answer and score benchmarks, and write the results into an output folder.

    A benchmark that fails for its data or its judge does not keep the others from being answered.

    Args:
        options: What is evaluated; `out` is not looked at.
        engine_options: Those that the backend was loaded with.
        backend: The model.
        folder: The output folder; created if missing. Answers in it are not made again.
        judge: Of the benchmarks that need one.
        show: See `Show`.

    Raises:
        RequestError: Data are missing, or the folder has answers of another model, or is in use.
        EngineError: The model could not go on; finished answers are kept.
    """
    tasks, missing = find_data(options)
    with run_folder(folder):
        model, chosen = model_fingerprint(engine_options, backend), answer_options(engine_options)
        manifest = Manifest.read(folder) or Manifest(model, chosen)
        manifest.check_model(model, chosen)
        run = describe_run(
            tasks=[task.name for task in tasks],
            limit=options.limit,
            at_once=options.at_once,
            device=engine_options.device,
            base_url=engine_options.base_url,
        )
        manifest = manifest.with_run(run)
        manifest.write(folder)
        evaluator = _Evaluator(folder, manifest, judge, show)
        for task in tasks:
            evaluator.run(task, options, backend)
        return evaluator.finish(missing)


def rescore(
    options: EvalOptions, folder: Path, judge: Judge | None = None, show: Show | None = None
) -> Evaluation:
    """Score the answers in an output folder again, or have a judge review them.

    Args:
        options: Which benchmarks, by default all in the folder, and where their data are, by
            default where they were. The rest is not looked at.
        folder: The output folder.
        judge: Of the benchmarks that need one.
        show: See `Show`.

    Raises:
        RequestError: The folder has no answers, or is in use.
    """
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.tasks:
        raise RequestError(
            f"{folder} has no answers of an evaluation.", "Name the folder that --out had."
        )
    if not options.takes_all and (absent := set(options.names) - manifest.tasks.keys()):
        raise RequestError(
            f"{folder} has no answers to {min(absent)}.", f"It has: {', '.join(manifest.tasks)}."
        )
    with run_folder(folder):
        evaluator = _Evaluator(folder, manifest, judge, show)
        for task in find_tasks(manifest.tasks.keys() & set(options.names)):
            evaluator.run(task, options)
        return evaluator.finish()


class _Evaluator:
    """Runs one benchmark after the other in an output folder."""

    def __init__(
        self, folder: Path, manifest: Manifest, judge: Judge | None, show: Show | None
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._judge = judge
        self._show = show or (lambda task, step, done, total: None)
        self._results: list[TaskResult] = []
        self._failed: dict[str, LlavaToolsError] = {}

    def run(self, task: Task, options: EvalOptions, backend: Backend | None = None) -> None:
        """Answer the samples of a benchmark if there is a backend, and score the answers."""
        try:
            samples = self._load(task, options, answer=backend is not None)
            chosen = limit_samples(samples, self._manifest.tasks[task.name].limit)
            ids = {sample.id for sample in samples}
            if backend is None:
                answers: Answers = self._read(task, chosen, read_answers(self._log(task), ids))
            else:
                with writing(self._log(task)):
                    self._log(task).parent.mkdir(exist_ok=True)
                show = partial(self._show, task, "answered")
                with AnswerLog(self._log(task), ids) as log:
                    answers = answer_samples(
                        backend, chosen, log, at_once=options.at_once, progress=show
                    )
        except RequestError as error:
            self._failed[task.name] = error
            return
        try:
            self._results.append(self._score(task, chosen, answers, len(samples)))
        except LlavaToolsError as error:  # a judge may fail, too
            self._failed[task.name] = error

    def finish(self, missing: Sequence[Task] = ()) -> Evaluation:
        """Write the results, and return them."""
        evaluation = Evaluation(
            self._folder, self._manifest, tuple(self._results), tuple(missing), self._failed
        )
        write_json_file(self._folder / _RESULTS, evaluation.as_dict())
        return evaluation

    def _load(self, task: Task, options: EvalOptions, *, answer: bool) -> list[Sample]:
        """Load all samples of a benchmark, and check that its answers so far belong to them."""
        old = self._manifest.tasks.get(task.name)
        data = options.data
        if data is None:
            assert old is not None
            data = Path(old.data)
        if not has_data(task, data):
            raise _no_data(task, data)
        folder = data / task.folder
        samples = task.load(folder)
        files = {name: folder / name for name in task.source.files}
        digests = {name: file_digest(path) for name, path in files.items() if path.is_file()}
        limit = options.limit if answer or old is None else old.limit
        new = TaskData(len(samples), limit, sample_digest(samples), digests, str(data.resolve()))
        if self._log(task).exists():
            if old is None:  # the manifest comes before the answers: it was lost
                raise RequestError(
                    f"{MANIFEST} in {self._folder} does not say what the answers to {task.name} "
                    "there are of.",
                    "Choose another output folder with --out.",
                )
            self._manifest.check_task(task.name, new)
        self._manifest = self._manifest.with_task(task.name, new)
        self._manifest.write(self._folder)
        return samples

    def _log(self, task: Task) -> Path:
        return self._folder / task.name / _ANSWERS

    def _read(self, task: Task, samples: Sequence[Sample], answers: Answers) -> Answers:
        """Return the answers of a log to some samples, all of which must be there."""
        done = sum(sample.id in answers for sample in samples)
        if done < len(samples):
            raise RequestError(
                f"{self._log(task)} has answers to {done:,} of {len(samples):,} samples.",
                "Run the same `llava-tools eval` again, which answers the others.",
            )
        return {sample.id: answers[sample.id] for sample in samples}

    def _score(
        self, task: Task, samples: Sequence[Sample], answers: Answers, total: int
    ) -> TaskResult:
        folder = self._log(task).parent
        # A part of the answers does not replace the submission of all.
        place = folder if len(samples) == total else folder / _LIMITED
        with writing(place):
            place.mkdir(exist_ok=True)
            submission = task.write_submission(samples, answers, place)
        score, judge = task.score(samples, answers), None
        if score is None and task.scored_by == "judge" and self._judge is not None:
            show = partial(self._show, task, "judged")
            score = task.judge(samples, answers, folder, self._judge, show)
            judge = self._judge.model
        return TaskResult(task, len(samples), total, score, submission, judge)


def _no_data(task: Task, data: Path) -> RequestError:
    files = ", ".join(task.source.files)
    return RequestError(
        f"The data of {task.name} are not in {data / task.folder}, which has none of {files}.",
        f"They are at {task.source.url} ({task.source.size}).",
    )


def _data_hint() -> str:
    return "`llava-tools eval --list` says where data sets are to be had, and their folders."
