"""Calibration files: written, read, damaged, another model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llava_tools.core.calibration import UNCALIBRATED, Calibration, Scaling, read_calibration
from llava_tools.errors import ModelError

CALIBRATION = Calibration(
    "a/model", "f00", "200 photos — ours", Scaling(1.5, 0.0, 200), Scaling(2.5, -0.25, 80)
)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    CALIBRATION.write(path)
    assert read_calibration(path) == CALIBRATION
    assert json.loads(path.read_text())["version"] == 1


def _content(**changes: Any) -> dict[str, Any]:
    scaling = {"temperature": 1.5, "bias": 0, "count": 3}
    content = {"version": 1, "model": "m", "fingerprint": "f", "data": "d"}
    return {**content, "choice": scaling, "yes_no": scaling, **changes}


def _scaling(**changes: Any) -> dict[str, Any]:
    return {"temperature": 1.5, "bias": 0, "count": 3, **changes}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is damaged: it is no JSON"),
        ("[" * 100_000, "is damaged: it is no JSON"),
        ("[]", "is damaged: it is no JSON object"),
        (_content(version=2), "has version 2; this release reads version 1. Update llava-tools"),
        ({}, "has version None"),
        (_content(more=1), "its fields are not choice, data, fingerprint, model"),
        (_content(model=7), "model is 7, not a text"),
        (_content(choice=1.5), "choice does not have temperature, bias and count"),
        (_content(choice=_scaling(temperature="1")), "choice.temperature is '1', not a number"),
        (_content(yes_no=_scaling(bias=True)), "yes_no.bias is True, not a number"),
        (_content(yes_no=_scaling(temperature=0)), "yes_no.temperature is 0, and must be above 0"),
        ('{"version": 1, "model": NaN}', "its fields are not"),
        (_content(choice=_scaling(bias=float("inf"))), "choice.bias is inf, not a number"),
        (_content(choice=_scaling(count=10**400)), "choice.count is 1000"),
    ],
)
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ModelError) as caught:
        read_calibration(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "llava-tools calibrate" in str(caught.value)


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.json cannot be read: No such file"):
        read_calibration(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("calibration", "model", "fingerprint", "reason"),
    [
        (CALIBRATION, "a/model", "f00", None),
        (CALIBRATION, "copy/of-it", "f00", None),
        (CALIBRATION, "a/model", "f01", "its weights are not those of 'a/model'"),
        (CALIBRATION, "any", None, None),  # a server shows no weights
        (Calibration("m", "", "d"), "m", None, None),
        (Calibration("m", "", "d"), "n", None, "the server's model is 'n'"),
        (Calibration("m", "", "d"), "m", "f00", "it was fitted through a server"),
    ],
)
def test_a_calibration_belongs_to_its_model(
    calibration: Calibration, model: str, fingerprint: str | None, reason: str | None
) -> None:
    path = Path("c.json")
    if reason is None:
        calibration.check_model(path, model, fingerprint)
        return
    with pytest.raises(ModelError, match=r"c\.json was fitted for") as caught:
        calibration.check_model(path, model, fingerprint)
    assert reason in str(caught.value)


def test_no_calibration_changes_nothing() -> None:
    assert UNCALIBRATED.choice == UNCALIBRATED.yes_no == Scaling(1.0, 0.0, 0)
