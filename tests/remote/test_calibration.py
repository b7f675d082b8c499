"""Through a server probabilities are raw, unless a calibration is passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools import Llava
from llava_tools.core.calibration import UNCALIBRATED, Calibration, Scaling
from llava_tools.errors import ModelError
from tests.remote.requests import Connect, Serve, make_image


def test_probabilities_are_raw_without_a_calibration(serve: Serve, connect: Connect) -> None:
    backend = connect(serve())
    assert backend.calibration == UNCALIBRATED
    choice = Llava(backend=backend).choose("Which?", make_image(), ["yes", "dark red"])
    assert choice.probabilities["yes"] == pytest.approx(0.7311, abs=1e-4)  # odds of e


def test_a_passed_calibration_is_applied(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    Calibration("any", "f00", "d", Scaling(2.0, 0.0, 5)).write(path)
    with Llava(base_url=serve().url, calibration=path) as model:
        choice = model.choose("Which?", make_image(), ["yes", "dark red"])
        assert choice.probabilities["yes"] == pytest.approx(0.6225, abs=1e-4)  # odds of e ** 0.5


def test_a_calibration_of_another_served_model_is_refused(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    Calibration("other/model", "", "d").write(path)
    model = Llava(base_url=serve().url, calibration=str(path))
    with pytest.raises(ModelError, match="was fitted for 'other/model': the server's model is"):
        _ = model.backend
    missing = Llava(base_url="http://127.0.0.1:9/v1", calibration=str(tmp_path / "none.json"))
    with pytest.raises(ModelError, match="cannot be read"):
        _ = missing.backend
