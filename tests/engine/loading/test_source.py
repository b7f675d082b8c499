"""Names become local folders: `tiny`, folders, and repositories of the hub with their cache."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import constants

from llava_tools.engine.loading import hub as hub_module
from llava_tools.engine.loading import memory
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.source import resolve
from llava_tools.errors import ModelError, ModelNotFoundError
from llava_tools.options import EngineOptions
from tests.fake_hub import FakeHub

NAME = "someone/a-model"
FILES = {
    "config.json": b'{"model_type": "llava"}',
    "tokenizer.json": b"{}",
    "LICENSE": b"free",
    "README.md": b"# A model",
    "model.safetensors": b"weights" * 100,
    "pytorch_model.bin": b"the same weights" * 100,
    "original/consolidated.00.pth": b"and again" * 100,
    "modeling.py": b"raise SystemExit",
    "assets/logo.json": b"{}",
}
SMALL = {"config.json", "tokenizer.json", "LICENSE", "README.md"}


def _present(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_tiny_and_folders_need_no_hub(tmp_path: Path, hub: FakeHub) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert resolve("tiny").files["model.safetensors"] > 10**7
    source = resolve(str(tmp_path))
    assert (source.name, source.folder) == (str(tmp_path), tmp_path)
    source.fetch(["model.safetensors"])
    assert hub.requests == []


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve("~/model").folder == tmp_path / "model"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="is GGUF, the format of llama"):
        resolve(str(tmp_path / "model.gguf"))


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        *("", "nope", "nope/", "./nope", "~nobody/x", "a/b/c", "a" * 300, "a/" + "b" * 300),
        *("a\0b", "a/b\0", "\udcff", "a/\udcff", "a/.b", "a/b--c", "a b/c", "a/b.git", "a/b@main"),
    ],
    ids=lambda name: repr(name)[:20],
)
def test_a_name_that_cannot_be_one_needs_no_request(hub: FakeHub, name: str, offline: bool) -> None:
    with pytest.raises(ModelNotFoundError, match=r"There is no model|is no name of a"):
        resolve(name, local_files_only=offline)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("7B", "7b"),
        ("llava-1.5-13b-hf", "llava-hf/llava-1.5-13b-hf"),
        ("llava-hf/llava-1.5-7b-hf/", "llava-hf/llava-1.5-7b-hf"),
        ("https://huggingface.co/someone/a-model/tree/main", "someone/a-model"),
    ],
)
def test_a_name_that_is_nearly_right_is_corrected(name: str, suggestion: str) -> None:
    with pytest.raises(ModelNotFoundError, match=f"Did you mean '{suggestion}'"):
        resolve(name)


def test_what_exists_and_is_no_folder_is_no_hub_id(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/loop").symlink_to("loop")
    with pytest.raises(ModelNotFoundError, match="There is no model 'models/loop'"):
        resolve("models/loop")
    assert hub.requests == []


def test_only_small_files_are_downloaded_at_first(hub: FakeHub) -> None:
    commit = hub.publish(NAME, FILES)
    source = resolve(NAME)
    assert source.name == NAME
    assert source.folder.name == commit
    assert _present(source.folder) == SMALL
    assert source.files == {name: len(data) for name, data in FILES.items()}


def test_fetch_downloads_what_is_named(hub: FakeHub) -> None:
    hub.publish(NAME, FILES)
    source = resolve(NAME)
    source.fetch(["model.safetensors"])
    assert _present(source.folder) == {*SMALL, "model.safetensors"}
    assert (source.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_cached_model_takes_one_request(hub: FakeHub) -> None:
    hub.publish(NAME, FILES)
    resolve(NAME).fetch(["model.safetensors"])
    hub.requests.clear()
    resolve(NAME).fetch(["model.safetensors"])
    assert hub.requests == [f"GET /api/models/{NAME}/revision/main"]


@pytest.mark.parametrize("by", ["tag", "commit"])
def test_a_revision_is_loaded(hub: FakeHub, by: str) -> None:
    commit = hub.publish(NAME, FILES, "v1")
    hub.publish(NAME, FILES | {"LICENSE": b"new"})
    source = resolve(NAME, "v1" if by == "tag" else commit)
    assert source.folder.name == commit
    assert (source.folder / "LICENSE").read_bytes() == b"free"


class _Offline(NamedTuple):
    local_files_only: bool
    variable: bool


@pytest.mark.parametrize("offline", [_Offline(True, False), _Offline(False, True)])
@pytest.mark.parametrize("revision", [None, "main", "a commit"])
def test_offline_the_cache_is_read_without_a_request(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, offline: _Offline, revision: str | None
) -> None:
    commit = hub.publish(NAME, FILES)
    resolve(NAME).fetch(["model.safetensors"])
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline.variable)
    source = resolve(NAME, commit if revision == "a commit" else revision, offline.local_files_only)
    source.fetch(["model.safetensors"])
    assert source.folder.name == commit
    assert source.files == {n: len(FILES[n]) for n in (*SMALL, "model.safetensors")}
    assert hub.requests == []


@pytest.mark.parametrize("fault", ["stopped", 503, 403, "hang"])
def test_without_the_hub_the_cache_is_the_fallback(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: int | str,
) -> None:
    commit = hub.publish(NAME, FILES)
    resolve(NAME).fetch(["model.safetensors"])
    hub.requests.clear()
    _break(hub, monkeypatch, fault)
    with caplog.at_level(logging.WARNING):
        source = resolve(NAME)
        source.fetch(["model.safetensors"])
    assert source.folder.name == commit
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert record.getMessage().endswith("The copy in the local cache is used.")
    assert len(hub.requests) <= 1  # nothing is retried


def _break(hub: FakeHub, monkeypatch: pytest.MonkeyPatch, fault: int | str) -> None:
    if fault == "stopped":
        hub.stop()
        return
    hub.fault = fault
    if fault == "hang":
        monkeypatch.setattr(hub_module, "_DEADLINE", 0.2)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("stopped", "The hub cannot be reached for 'someone/a-model' (.*refused.*). Check the net"),
        ("hang", "The hub cannot be reached for 'someone/a-model' (.*). Check the network"),
        (503, "answers requests for 'someone/a-model' with 503 Service Unavailable. Try again la"),
        (401, "'someone/a-model' with 401 Unauthorized. Check your access token: run `hf auth"),
    ],
)
def test_without_hub_and_cache_the_error_is_one_line(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: int | str,
    message: str,
) -> None:
    _break(hub, monkeypatch, fault)
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        resolve(NAME)
    assert "\n" not in str(caught.value)
    assert caplog.records == []
    assert len(hub.requests) <= 1


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/nothing", None, "The hub has no repository 'someone/nothing', or it is private"),
        (NAME, "v9", "'someone/a-model' has no revision 'v9'. Its branches and tags are on"),
        ("someone/gated", None, "'someone/gated' is gated.* Request access on https://huggingface"),
        ("some one/a--model", None, "'some one/a--model' is no name of a repository"),
    ],
)
def test_a_name_that_the_hub_refuses_is_an_error(
    hub: FakeHub, name: str, revision: str | None, message: str
) -> None:
    hub.publish(NAME, FILES)
    hub.publish("someone/gated", FILES, gated=True)
    with pytest.raises(ModelNotFoundError, match=message) as caught:
        resolve(name, revision)
    assert "\n" not in str(caught.value)


def test_a_repository_that_became_gated_is_read_from_the_cache(hub: FakeHub) -> None:
    commit = hub.publish(NAME, FILES)
    resolve(NAME).fetch(["model.safetensors"])
    hub.publish(NAME, FILES | {"LICENSE": b"other terms"}, gated=True)
    assert resolve(NAME).folder.name == commit


def test_an_incomplete_snapshot_does_not_replace_a_complete_one(hub: FakeHub) -> None:
    first = hub.publish(NAME, FILES)
    resolve(NAME).fetch(["model.safetensors"])
    second = hub.publish(NAME, FILES | {"model.safetensors": b"better"})
    assert resolve(NAME).folder.name == second
    assert resolve(NAME, local_files_only=True).folder.name == first
    resolve(NAME).fetch(["model.safetensors"])
    assert resolve(NAME, local_files_only=True).folder.name == second


def test_a_partly_cached_model_is_an_error_without_a_network(hub: FakeHub) -> None:
    hub.publish(NAME, FILES)
    folder = resolve(NAME).folder
    with pytest.raises(ModelNotFoundError, match="is not completely in the local cache"):
        resolve(NAME, local_files_only=True)
    refs = folder.parents[1] / "refs"  # as other programs write them at once
    refs.mkdir()
    (refs / "main").write_text(folder.name)
    source = resolve(NAME, local_files_only=True)
    with pytest.raises(ModelError, match=r"is incomplete: it lacks model\.safetensors"):
        source.fetch(["model.safetensors"])


def test_an_interrupted_download_is_an_error_and_goes_on_later(hub: FakeHub) -> None:
    hub.publish(NAME, FILES)
    source = resolve(NAME)
    hub.file_fault = 500
    with pytest.raises(ModelError, match="The download was interrupted") as caught:
        source.fetch(["model.safetensors"])
    assert "\n" not in str(caught.value)
    hub.file_fault = None
    source.fetch(["model.safetensors"])
    assert (source.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_full_disk_is_an_error_before_the_download(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, FILES)
    snapshot = resolve(NAME).snapshot
    assert snapshot is not None
    large = replace(snapshot, files={**snapshot.files, "model.safetensors": 14_130_000_000})
    usage = shutil.disk_usage("/")._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = r"'someone/a-model' needs 14\.1 GB, and the disk of '.*hub' has 3\.0 GB free"
    with pytest.raises(ModelError, match=message):
        large.fetch(["model.safetensors"])
    assert "model.safetensors" not in hub.downloads()


def test_a_cache_that_cannot_be_written_is_an_error(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, FILES)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/hub/blobs")

    monkeypatch.setattr(hub_module.Snapshot, "_download", refuse)
    message = "'someone/a-model' cannot be downloaded (.*Permission denied.*). Check that the cache"
    with pytest.raises(ModelNotFoundError, match=message):
        resolve(NAME)


def test_a_cache_that_is_only_read_serves_what_it_has(hub: FakeHub) -> None:
    hub.publish(NAME, FILES)
    source = resolve(NAME)
    source.fetch(["model.safetensors"])
    refs = source.folder.parents[1] / "refs"
    shutil.rmtree(refs)
    refs.touch()  # nothing can be written below it
    resolve(NAME).fetch(["model.safetensors"])


def test_weights_that_another_commit_shares_need_no_space(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, FILES)
    resolve(NAME).fetch(["model.safetensors"])
    hub.publish(NAME, FILES | {"LICENSE": b"new"})
    source = resolve(NAME)
    usage = shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    source.fetch(["model.safetensors"])
    assert hub.downloads().count("model.safetensors") == 1


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_model_loads_from_the_hub(hub: FakeHub, checkpoint: Path) -> None:
    copies = {"pytorch_model.bin": b"no", "original/consolidated.safetensors": b"no"}
    hub.publish(NAME, _files(checkpoint) | copies)
    loaded = load(EngineOptions(NAME))
    assert loaded.name == NAME
    assert loaded.folder.parts[-2] == "snapshots"
    assert "model.safetensors" in hub.downloads()
    assert not copies.keys() & set(hub.downloads())
    hub.stop()
    assert load(EngineOptions(NAME, local_files_only=True)).folder == loaded.folder


def test_an_unsupported_model_is_refused_before_its_weights(hub: FakeHub, checkpoint: Path) -> None:
    config = json.dumps({"model_type": "llava_next"}).encode()
    hub.publish(NAME, _files(checkpoint) | {"config.json": config})
    with pytest.raises(ModelError, match="LLaVA-NeXT"):
        load(EngineOptions(NAME))
    assert "model.safetensors" not in hub.downloads()


def test_too_little_memory_is_an_error_before_the_weights(
    hub: FakeHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, _files(checkpoint))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    with pytest.raises(ModelError, match=r"GB in float32, and cpu has 0\.0 GB of free"):
        load(EngineOptions(NAME, dtype="float32", device="cpu"))
    assert "model.safetensors" not in hub.downloads()
