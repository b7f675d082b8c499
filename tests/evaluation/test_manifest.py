"""The manifest says what was run, and refuses to mix answers of different models or data."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest

import llava_tools
from llava_tools.errors import RequestError
from llava_tools.evaluation.fingerprint import (
    answer_options,
    file_digest,
    model_fingerprint,
    sample_digest,
)
from llava_tools.evaluation.manifest import MANIFEST, Manifest, TaskData, describe_run
from llava_tools.evaluation.task import Sample
from llava_tools.options import EngineOptions
from llava_tools.testing import ScriptedBackend

MODEL = {"name": "tiny", "sha256": "12"}
DATA = TaskData(8910, 100, "ab", {"questions.json": "cd"}, "/data")


def _manifest() -> Manifest:
    manifest = Manifest(MODEL, answer_options(EngineOptions()), {"pope": DATA})
    return manifest.with_run(describe_run(tasks=["pope"], limit=100))


def test_a_manifest_is_read_back_as_it_was(tmp_path: Path) -> None:
    manifest = _manifest()
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert Manifest.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "tasks": {}}'])
def test_a_foreign_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(RequestError, match=r"manifest\.json is no manifest of an evaluation"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("data", [b"\xff\xfe{", b"[" * 200_000], ids=["no UTF-8", "deep"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(data)
    with pytest.raises(RequestError, match=r"manifest\.json is no manifest of an evaluation"):
        Manifest.read(tmp_path)


def test_a_manifest_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(RequestError, match=r"manifest\.json cannot be read: Is a directory"):
        Manifest.read(tmp_path)


def test_a_run_has_date_versions_and_hardware() -> None:
    run = describe_run(tasks=["pope"], limit=None)
    assert run["date"].endswith("+00:00")
    assert run["versions"]["llava_tools"] == llava_tools.__version__
    assert run["versions"]["python"] == platform.python_version()
    assert {"torch", "transformers"} <= run["versions"].keys()
    assert {"cpu", "cores", "memory_gb"} <= run["machine"].keys()
    assert run["tasks"] == ["pope"]


def test_the_same_model_and_options_may_go_on(tmp_path: Path) -> None:
    _manifest().write(tmp_path)
    manifest = Manifest.read(tmp_path)
    assert manifest is not None
    manifest.check_model(MODEL, answer_options(EngineOptions()))
    manifest.check_task("pope", replace(DATA, limit=None, data="/moved"))
    manifest.check_task("gqa", DATA)


@pytest.mark.parametrize(
    ("model", "options", "difference"),
    [
        ({"name": "tiny", "sha256": "34"}, EngineOptions(), "sha256='12', now '34'"),
        ({"name": "7b", "commit": "a"}, EngineOptions(), "name='tiny', now '7b'"),
        (MODEL, EngineOptions(dtype="bfloat16"), "dtype='auto', now 'bfloat16'"),
        (MODEL, EngineOptions(quantization="4bit"), "quantization=None, now '4bit'"),
        (MODEL, EngineOptions(conversation="chatml"), "conversation=None, now 'chatml'"),
    ],
)
def test_another_model_or_option_is_refused_and_named(
    model: dict[str, str], options: EngineOptions, difference: str
) -> None:
    with pytest.raises(RequestError, match="another model or other options") as error:
        _manifest().check_model(model, answer_options(options))
    assert difference in str(error.value)
    assert "--out" in error.value.hint


def test_options_without_influence_may_change() -> None:
    options = EngineOptions(local_files_only=True, keep_alive=60, max_concurrent_requests=1)
    _manifest().check_model(MODEL, answer_options(options))


def test_other_data_are_refused_and_named() -> None:
    with pytest.raises(RequestError, match=r"other data of pope: questions\.json has changed"):
        _manifest().check_task("pope", replace(DATA, files={"questions.json": "ef"}))
    with pytest.raises(RequestError, match="other samples of pope"):
        _manifest().check_task("pope", replace(DATA, digest="ef"))


def test_keys_and_passwords_are_not_in_a_manifest() -> None:
    options = EngineOptions(
        base_url="https://me:secret@example.org/v1", api_key="secret", default_headers={"a": "s"}
    )
    assert "secret" not in json.dumps(answer_options(options))
    assert options.base_url == "https://example.org/v1"
    assert "default_headers" not in answer_options(options)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "t"},
        {"question": "Why?"},
        {"image": Path("b.png")},
        {"image": b"b"},
        {"image": None},
        {"max_tokens": 5},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_digest_covers_what_the_model_gets(changed: dict[str, object]) -> None:
    sample = Sample("s", "What?", Path("folder/a.png"))
    digest = sample_digest([sample])
    assert sample_digest([replace(sample, **changed)]) != digest
    assert sample_digest([sample, replace(sample, id="t")]) != digest
    assert sample_digest([replace(sample, image=Path("elsewhere/a.png"))]) == digest


def test_new_weights_in_the_same_folder_are_another_model(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    options, backend = EngineOptions(model=str(tmp_path)), ScriptedBackend()
    before = model_fingerprint(options, backend)
    assert before["name"] == str(tmp_path)
    (tmp_path / "README.md").write_text("trained again")
    (tmp_path / "calibration.json").write_text("{}")
    assert model_fingerprint(options, backend) == before
    (tmp_path / "model.safetensors").write_text("trained again")
    assert model_fingerprint(options, backend)["sha256"] != before["sha256"]


def test_a_served_model_has_the_servers_name() -> None:
    options = EngineOptions(base_url="http://localhost:8000/v1")
    fingerprint = model_fingerprint(options, ScriptedBackend())
    assert fingerprint == {"name": "scripted", "served_at": "a server"}


def test_a_file_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file").startswith("ba7816bf8f01cfea")
