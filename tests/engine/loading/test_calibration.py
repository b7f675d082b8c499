"""A model's calibration: found in its folder or named, and refused if it is another model's."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.core.calibration import UNCALIBRATED, Calibration, Scaling
from llava_tools.engine.loading.calibration import fingerprint
from llava_tools.engine.loading.checkpoint import load
from llava_tools.errors import ModelError
from llava_tools.finetune.merge import merge, weight_files
from llava_tools.options import EngineOptions

LABELS = ["red", "blue", "green"]


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def _calibration(folder: Path, temperature: float = 3.0) -> Calibration:
    weights = fingerprint(folder, ["model.safetensors"])
    return Calibration("m", weights, "d", Scaling(temperature, 0.0, 7), Scaling(2.0, 1.0, 7))


def _probabilities(**options: object) -> tuple[dict[str, float], float]:
    image = Image.new("RGB", (40, 30), "red")
    with Llava(**options) as model:
        choice = model.choose("Which colour?", image, LABELS)
        return dict(choice.probabilities), model.score("a red thing", image)


def test_the_file_in_the_folder_is_applied(folder: Path) -> None:
    raw, raw_yes = _probabilities(model=str(folder))
    _calibration(folder).write(folder / "calibration.json")
    scaled, yes = _probabilities(model=str(folder))
    weights = {label: probability ** (1 / 3) for label, probability in raw.items()}
    total = sum(weights.values())
    expected = {label: weight / total for label, weight in weights.items()}
    assert scaled == pytest.approx(expected, abs=1e-5)
    assert max(scaled, key=scaled.__getitem__) == max(raw, key=raw.__getitem__)
    odds = math.log(raw_yes / (1 - raw_yes))
    assert yes == pytest.approx(1 / (1 + math.exp(-odds / 2 - 1)), abs=1e-5)


def test_a_named_file_counts_instead(folder: Path, tmp_path: Path) -> None:
    _calibration(folder).write(folder / "calibration.json")
    other = tmp_path / "other.json"
    _calibration(folder, 9.0).write(other)
    assert load(EngineOptions(str(folder))).calibration.choice.temperature == 3.0
    options = EngineOptions(str(folder), calibration=other)
    assert load(options).calibration.choice.temperature == 9.0
    assert options == EngineOptions(str(folder), calibration=str(other))
    assert options != EngineOptions(str(folder))


def test_a_model_that_may_be_unloaded_keeps_it(folder: Path) -> None:
    _calibration(folder).write(folder / "calibration.json")
    assert _probabilities(model=str(folder), keep_alive=60) == _probabilities(model=str(folder))


def test_a_model_without_a_file_has_no_calibration(folder: Path) -> None:
    assert load(EngineOptions(str(folder))).calibration == UNCALIBRATED


def test_a_calibration_of_other_weights_is_refused(folder: Path) -> None:
    path = folder / "calibration.json"
    replace(_calibration(folder), fingerprint="0" * 64).write(path)
    with pytest.raises(ModelError, match="was fitted for 'm': its weights are not those of"):
        load(EngineOptions(str(folder)))
    path.write_text("{")
    with pytest.raises(ModelError, match=r"calibration\.json is damaged"):
        load(EngineOptions(str(folder)))


def test_any_changed_byte_in_a_sample_changes_the_fingerprint(folder: Path) -> None:
    before = fingerprint(folder, ["model.safetensors"])
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert fingerprint(folder, ["model.safetensors"]) != before
    path.write_bytes(bytes(data) + b"x")
    assert len({before, fingerprint(folder, ["model.safetensors"])}) == 2


def test_small_files_have_a_fingerprint(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"short")
    names = ["b.safetensors", "a.safetensors"]
    assert fingerprint(tmp_path, names) == fingerprint(tmp_path, sorted(names))
    assert len(fingerprint(tmp_path, [])) == 64


def test_a_tuned_model_does_not_inherit_it(folder: Path, tmp_path: Path) -> None:
    _calibration(folder).write(folder / "calibration.json")
    merge(weight_files(load(EngineOptions(str(folder)))), {}, tmp_path / "tuned")
    assert (tmp_path / "tuned" / "config.json").exists()
    assert not (tmp_path / "tuned" / "calibration.json").exists()
