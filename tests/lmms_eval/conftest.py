"""Puts the stand-in for lmms-eval in its place, and makes models of it with scripted backends."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from llava_tools import Llava
from llava_tools.testing import ScriptedBackend
from tests.lmms_eval.stand_in import modules, plugin_modules

DOCUMENTS = [
    {"question": f"Question {number}?", "image": Image.new("RGB", (8, 8), (number, 0, 0))}
    for number in range(6)
]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports modules of the plug-in beside the stand-in for lmms-eval."""
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    yield lambda name: importlib.import_module(name)
    for name in plugin_modules():  # they hold classes of the stand-in
        del sys.modules[name]


@pytest.fixture
def make(plugin: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a model that answers through a backend."""

    def make_model(backend: ScriptedBackend, path: str = "model.LlavaTools", **options: Any) -> Any:
        module = plugin("lmms_eval_llava.model")
        monkeypatch.setattr(module, "Llava", lambda model, **_: Llava(model, backend=backend))
        name, _, class_name = path.partition(".")
        model = getattr(plugin(f"lmms_eval_llava.{name}"), class_name)(**options)
        model.task_dict = {"task": {"test": DOCUMENTS}}
        return model

    return make_model
