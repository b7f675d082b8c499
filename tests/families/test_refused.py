"""Published checkpoints that are refused: in one sentence, before anything of their weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava_tools.engine import load_engine
from llava_tools.engine.loading.inspection import inspect, list_files
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions
from tests.families import writers
from tests.families.__main__ import line, refuse
from tests.families.loadable import LOADABLE
from tests.families.refused import REFUSED, Refused
from tests.families.unclear import UNCLEAR, Unclear


def _name(row: Refused) -> str:
    return row.name


@pytest.mark.parametrize("row", REFUSED, ids=_name)
def test_refusal_names_the_kind_and_the_way_out(row: Refused, tmp_path: Path) -> None:
    row.write(tmp_path)
    refusal = inspect(tmp_path, {**list_files(tmp_path), **row.files}, row.name).refusal_on("cpu")
    assert refusal is not None
    assert [text for text in row.says if text not in refusal.message] == []
    assert [text for text in row.way_out if text not in refusal.hint] == []
    assert "\n" not in refusal.message + refusal.hint


@pytest.mark.parametrize("row", REFUSED, ids=_name)
def test_engine_refuses_before_it_reads_weights(row: Refused, tmp_path: Path) -> None:
    # The last part of a hub id tells which model is the same in the layout of transformers.
    folder = tmp_path / row.name.split("/")[-1]
    row.write(folder)
    with pytest.raises(ModelError) as caught:
        load_engine(EngineOptions(str(folder), device="cpu"))
    assert [text for text in row.says if text not in str(caught.value)] == []
    assert [text for text in row.way_out if text not in str(caught.value)] == []


@pytest.mark.parametrize("unclear", UNCLEAR, ids=lambda unclear: unclear.row.name)
def test_a_format_that_is_not_certain_must_be_named(unclear: Unclear, tmp_path: Path) -> None:
    writers.write(unclear.row, tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.write_bytes(b"no weights")
    with pytest.raises(ModelError, match="conversation=") as caught:
        load_engine(EngineOptions(str(tmp_path), device="cpu"))
    assert [text for text in unclear.says if text not in str(caught.value)] == []


def test_the_page_of_checkpoints_is_current() -> None:
    """`python -m tests.families > docs/tested_models.md` writes it anew."""
    page = (Path(__file__).parents[2] / "docs" / "tested_models.md").read_text()
    names = [row.name for row in LOADABLE] + [item.row.name for item in UNCLEAR]
    assert len(LOADABLE) + len(REFUSED) > 30
    assert [name for name in names if f"| {name} |" not in page] == []
    assert [row.name for row in REFUSED if line(refuse(row)) not in page] == []


@pytest.mark.parametrize(
    "row", [row for row in REFUSED if row.config and "auto_map" in row.config], ids=_name
)
def test_code_of_a_repository_never_runs(row: Refused, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    folder = tmp_path / "model"
    row.write(folder)
    assert row.config is not None
    for reference in row.config["auto_map"].values():
        code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
        (folder / f"{reference.split('.')[0]}.py").write_text(code)
    with pytest.raises(ModelError):
        load_engine(EngineOptions(str(folder), device="cpu"))
    assert not marker.exists()
