"""Damaged, incomplete and hostile files are errors of one line that name the file."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.checkpoint_files import WeightFiles, find_weights
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14130000000\n"


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def _pickled(folder: Path, *, zipped: bool = True) -> None:
    weights = load_file(folder / "model.safetensors")
    path = folder / "pytorch_model.bin"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    (folder / "model.safetensors").unlink()


def _split(folder: Path, safe: bool = True) -> Path:
    """Split the weights into several files, and return their index."""
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    if safe:
        return folder / "model.safetensors.index.json"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    for path in folder.glob("model-*.safetensors"):
        torch.save(load_file(path), folder / f"pytorch_{path.stem}.bin")
        path.unlink()
    for key, name in index["weight_map"].items():
        index["weight_map"][key] = f"pytorch_{Path(name).stem}.bin"
    (folder / "model.safetensors.index.json").unlink()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder / "pytorch_model.bin.index.json"


@pytest.mark.parametrize("layout", ["zip", "before torch 1.6", "split", "split pickles"])
def test_every_layout_of_weights_loads(checkpoint: Path, copy: Path, layout: str) -> None:
    if layout.startswith("split"):
        _split(copy, safe=layout == "split")
    else:
        _pickled(copy, zipped=layout == "zip")
    loaded = load(EngineOptions(str(copy), dtype="float32"))
    expected = load(EngineOptions(str(checkpoint), dtype="float32")).model.state_dict()
    weights = loaded.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"model.safetensors", "pytorch_model.bin"}, "model.safetensors"),
        ({"model.safetensors", "model.safetensors.index.json"}, "model.safetensors"),
        ({"pytorch_model.bin", "original/model.safetensors"}, "pytorch_model.bin"),
        ({"consolidated.safetensors", "model.safetensors"}, "model.safetensors"),
    ],
)
def test_one_copy_of_the_weights_is_chosen(tmp_path: Path, files: set[str], expected: str) -> None:
    assert find_weights(tmp_path, files, "x") == WeightFiles((expected,))


def test_a_folder_without_weights_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'x' has no weights: neither model\.safetensors nor"):
        find_weights(tmp_path, {"config.json", "model.fp16.safetensors"}, "x")


def _truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def _damage_safetensors(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: change(folder / "model.safetensors")


def _damage_pickle(change: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        _pickled(folder)
        change(folder / "pytorch_model.bin")

    return damage


def _damage_index(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        index = _split(folder)
        content = json.loads(index.read_text())
        change(content)
        index.write_text(json.dumps(content))

    return damage


def _remove_a_shard(folder: Path) -> None:
    _split(folder)
    (folder / sorted(p.name for p in folder.glob("model-*"))[1]).unlink()


def _map_all(target: object) -> Callable[[dict[str, Any]], object]:
    return lambda index: index.update(weight_map=dict.fromkeys(index["weight_map"], target))


def _write(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def _edit(part: str, field: str, value: object) -> Callable[[Path], object]:
    """Return a function that changes a field of config.json, at its top if `part` is empty."""

    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (config[part] if part else config)[field] = value
        (folder / "config.json").write_text(json.dumps(config))

    return damage


DEEP = "[" * 100_000
TRUNCATED = "is truncated or damaged"
NO_INDEX = r"model\.safetensors\.index\.json of .* is not an index of weights"
POINTS = "is a Git LFS pointer, not the file itself.*git lfs pull"
AGAIN = "(Download|Export)"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_safetensors(lambda p: _truncate(p, 0)), f"model.safetensors of .* {TRUNCATED}"),
        (_damage_safetensors(lambda p: _truncate(p, 999)), f"model.safetensors of .* {TRUNCATED}"),
        (
            _damage_safetensors(lambda p: _truncate(p, p.stat().st_size - 1)),
            f"model.safetensors of .* {TRUNCATED} .*not fully covered",
        ),
        (_damage_safetensors(lambda p: p.write_text(POINTER)), f"model.safetensors of .* {POINTS}"),
        (_damage_pickle(lambda p: _truncate(p, 0)), f"pytorch_model.bin of .* {TRUNCATED}"),
        (_damage_pickle(lambda p: _truncate(p, 9999)), f"pytorch_model.bin of .* {TRUNCATED}"),
        (_damage_pickle(lambda p: p.write_text("<html>")), f"pytorch_model.bin of .* {TRUNCATED}"),
        (_damage_pickle(lambda p: p.write_text(POINTER)), f"pytorch_model.bin of .* {POINTS}"),
        (_damage_pickle(lambda p: torch.save([1], p)), "pytorch_model.bin of .* holds no weights"),
        (_remove_a_shard, r"lacks model-00002-of-.*, of which 1 are missing"),
        (_damage_index(lambda index: index.pop("weight_map")), NO_INDEX),
        (_damage_index(lambda index: index.pop("metadata")), NO_INDEX),
        (_damage_index(lambda index: index.update(weight_map={})), NO_INDEX),
        (_damage_index(lambda index: index.update(weight_map=[1])), NO_INDEX),
        (_damage_index(_map_all(7)), NO_INDEX),
        (_damage_index(_map_all("../../secret.safetensors")), r"lacks \.\./\.\./secret"),
        (lambda folder: _split(folder).write_text("{"), NO_INDEX),
        (lambda folder: _split(folder).write_text(POINTER), f"index.json of .* {POINTS}"),
        (lambda folder: (folder / "config.json").write_text(POINTER), "config.json of .*"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json of .* is not JSON"),
        (lambda folder: (folder / "tokenizer.json").write_text(POINTER), f"tokenizer.* {POINTS}"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer of .* is damaged"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "tokenizer of .* is damaged"),
        (lambda f: (f / "tokenizer_config.json").write_text("{"), "tokenizer of .* is damaged"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer: none of tokeniz"),
        (lambda f: (f / "generation_config.json").write_text("{"), "generation_config.json of"),
        (_write("generation_config.json", DEEP), "generation_config.json of .* is not a JSON obj"),
        (_write("generation_config.json", '{"eos_token_id": "x"}'), "invalid eos_token_id: 'x'"),
        (_write("generation_config.json", '{"eos_token_id": [[1]]}'), "invalid eos_token_id"),
        (_write("processor_config.json", DEEP), "processor_config.json is damaged"),
        (_write("chat_template.json", DEEP), "chat_template.json is damaged"),
        (lambda folder: _split(folder).write_text(DEEP), NO_INDEX),
        (_edit("", "text_config", None), "config.json of .* has no text_config"),
        (_edit("", "model_type", None), "config.json has no model_type"),
        (_edit("", "projector_hidden_act", "x"), "cannot read config.json of .* KeyError: 'x'"),
        (
            _edit("text_config", "hidden_size", -64),
            "cannot read config.json of .*negative",
        ),
        (_edit("vision_config", "patch_size", 0), "cannot read config.json of .* ZeroDivision"),
        (_edit("vision_config", "hidden_size", float("nan")), "cannot read config.json of .*nan"),
    ],
)
def test_a_damaged_file_is_an_error_of_one_line(
    copy: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(copy)
    with pytest.raises(ModelError, match=message) as caught:
        load(EngineOptions(str(copy)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "model.safetensors of .* cannot be read: Permission denied"),
        (
            "generation_config.json",
            "generation_config.json of .* cannot be read: Permission denied",
        ),
        ("config.json", "config.json of .*Permission denied"),
        ("preprocessor_config.json", "processor_config.json is damaged: .*Permission denied"),
        ("README.md", None),
    ],
)
def test_a_file_that_may_not_be_read_is_an_error_if_it_is_needed(
    copy: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str | None
) -> None:
    (copy / "README.md").write_text("---\nlicense: mit\n---\n")

    def deny(method: Callable[..., Any]) -> Callable[..., Any]:
        def denied(path: Path, *args: Any, **kwargs: Any) -> Any:
            if path == copy / name:
                raise PermissionError(13, "Permission denied", str(path))
            return method(path, *args, **kwargs)

        return denied

    for method in ("open", "read_text", "read_bytes"):
        monkeypatch.setattr(Path, method, deny(getattr(Path, method)))
    if message is None:
        load(EngineOptions(str(copy)))
        return
    with pytest.raises(ModelError, match=message):
        load(EngineOptions(str(copy)))


class _Code:
    """A pickle of this runs a command."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (self._command,)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_pickle_that_runs_code_is_not_opened(copy: Path, tmp_path: Path, form: str) -> None:
    _pickled(copy)
    marker = tmp_path / "marker"
    content = {"weight": _Code(f"touch {marker}")}
    with (copy / "pytorch_model.bin").open("wb") as file:
        torch.save(content, file) if form == "torch" else pickle.dump(content, file, 2)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin of .* is a pickle with more than"):
        load(EngineOptions(str(copy)))
    assert not marker.exists()
