"""`Manifest`: which model answered which samples, with which options, versions and hardware.

It stands in the output folder, and decides whether a run may add its answers to those there.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from llava_tools.bench.machine import describe
from llava_tools.errors import RequestError
from llava_tools.evaluation.data_files.writing import replace_text

#: Name of the file in an output folder.
MANIFEST = "manifest.json"
_FORMAT = 1
_ELSEWHERE = "Choose another output folder with --out, or the options that the answers are of."


@dataclass(frozen=True)
class TaskData:
    """The data of a benchmark that was answered.

    Attributes:
        samples: Number of samples of the whole data set.
        limit: The limit of the last run; None for none.
        digest: See `fingerprint.sample_digest`; of the whole data set.
        files: SHA-256 of the files that the benchmark's source lists, without folders.
        data: The data directory.
    """

    samples: int
    limit: int | None
    digest: str
    files: Mapping[str, str]
    data: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of an output folder.

    Attributes:
        model: See `fingerprint.model_fingerprint`.
        options: See `fingerprint.answer_options`.
        tasks: The data of the benchmarks, by their names.
        runs: What each run says of itself, in their order; see `describe_run`.
    """

    model: Mapping[str, str]
    options: Mapping[str, Any]
    tasks: Mapping[str, TaskData] = field(default_factory=dict)
    runs: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the manifest of a folder; None if there is none.

        Raises:
            RequestError: It is damaged, or of another version.
        """
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror}.", "Check it.") from error
        try:
            value = json.loads(data)
            if value.pop("format") != _FORMAT:
                raise ValueError("another version wrote it")
            tasks = {name: TaskData(**data) for name, data in value.pop("tasks").items()}
            return cls(**value | {"tasks": tasks, "runs": tuple(value["runs"])})
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise RequestError(
                f"{path} is no manifest of an evaluation ({error}).", "Choose another folder."
            ) from error

    def write(self, folder: Path) -> None:
        """Write it into a folder. The previous one stays until the new one is complete.

        Raises:
            RequestError: It cannot be written.
        """
        write_json_file(folder / MANIFEST, {"format": _FORMAT} | asdict(self))

    def check_model(self, model: Mapping[str, str], options: Mapping[str, Any]) -> None:
        """Check that the answers are of this model with these options.

        Raises:
            RequestError: They are not; the message has the first differences.
        """
        options = json.loads(json.dumps(options))  # as they were read from the file
        old, new = {**self.options, **self.model}, {**options, **model}
        if changed := [name for name in {**old, **new} if old.get(name) != new.get(name)]:
            raise RequestError(
                "The output folder has answers of another model or other options: "
                + ", ".join(f"{n}={old.get(n)!r}, now {new.get(n)!r}" for n in changed)
                + ".",
                _ELSEWHERE,
            )

    def check_task(self, name: str, data: TaskData) -> None:
        """Check that the answers to a benchmark are answers to these samples.

        Raises:
            RequestError: They are not.
        """
        if name not in self.tasks:
            return
        old = self.tasks[name]
        names = sorted({**old.files, **data.files})
        if changed := [n for n in names if old.files.get(n) != data.files.get(n)]:
            raise RequestError(
                f"The output folder has answers to other data of {name}: {changed[0]} has changed.",
                _ELSEWHERE,
            )
        if old.digest != data.digest:
            raise RequestError(
                f"The output folder has answers to other samples of {name}: their texts or limits "
                "have changed.",
                _ELSEWHERE,
            )

    def with_task(self, name: str, data: TaskData) -> Self:
        """Return a manifest with the data of a benchmark."""
        return replace(self, tasks={**self.tasks, name: data})

    def with_run(self, run: Mapping[str, Any]) -> Self:
        """Return a manifest with one more run."""
        return replace(self, runs=(*self.runs, run))


def describe_run(**settings: Any) -> dict[str, Any]:
    """Return the settings of a run with its date, versions and hardware."""
    machine = describe()
    versions = {"llava_tools": machine.pop("llava_tools"), "python": platform.python_version()}
    for package in ("torch", "transformers"):
        machine.pop(package, None)
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # a server runs the model
            continue
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"date": date, "versions": versions, "machine": machine} | settings


def write_json_file(path: Path, value: object) -> None:
    """Write a value as JSON. A previous file stays until the new one is complete.

    Raises:
        RequestError: It cannot be written.
    """
    replace_text(path, json.dumps(value, indent=2, default=str) + "\n")
