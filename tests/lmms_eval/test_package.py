"""How lmms-eval finds the plug-in, and what happens without lmms-eval."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_the_entry_point_returns_a_manifest_of_both_classes(plugin: Callable[[str], Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (path,) = project["entry-points"]["lmms_eval.models"].values()
    module, _, function = path.partition(":")
    manifest = getattr(plugin(module), function)()
    assert manifest.model_id == "llava_tools"
    for class_path, is_simple in (
        (manifest.chat_class_path, False),
        (manifest.simple_class_path, True),
    ):
        module, _, name = class_path.rpartition(".")
        assert getattr(plugin(module), name).is_simple is is_simple


def test_the_package_can_be_imported_before_lmms_evals_models(
    plugin: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Importing these calls the entry point, which a package that is half imported does not have.
    monkeypatch.setitem(sys.modules, "lmms_eval.models", None)
    monkeypatch.setitem(sys.modules, "lmms_eval.models.registry_v2", None)
    assert callable(plugin("lmms_eval_llava").manifest)


def test_lmms_eval_is_no_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for needed in (project["dependencies"], *project["optional-dependencies"].values()):
        assert not [name for name in needed if name.startswith(("lmms", "torchvision"))]


def test_without_lmms_eval_the_error_names_the_package() -> None:
    program = (
        "import sys; sys.modules['lmms_eval'] = None\n"
        "try: import lmms_eval_llava\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == (
        "MissingExtraError lmms-eval is not installed, and this needs it. "
        'Run: python -m pip install "lmms-eval"'
    )


def test_making_a_model_loads_no_weights(plugin: Callable[[str], Any]) -> None:
    model = plugin("lmms_eval_llava.model").LlavaTools("7b", device="cuda", quantization="4bit")
    assert not model.is_simple
