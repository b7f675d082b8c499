"""No code of a checkpoint runs, and nobody is asked on stdin whether it may."""

from __future__ import annotations

import ast
import builtins
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llava_tools
from llava_tools import Embedder, Llava
from llava_tools.engine.loading.checkpoint import load
from llava_tools.engine.loading.config import read_config
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions
from tests.checkpoints import write_clip

#: Classes by which transformers finds code that a checkpoint brings.
AUTO_MAP = {
    "AutoConfig": "code.Config",
    "AutoModel": "code.Model",
    "AutoModelForCausalLM": "code.Model",
    "AutoModelForImageTextToText": "code.Model",
    "AutoImageProcessor": "code.Processor",
    "AutoProcessor": "code.Processor",
    "AutoTokenizer": ["code.Tokenizer", "code.Tokenizer"],
}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that the code of a checkpoint would write. Answers on stdin would allow that."""
    path = tmp_path / "marker"
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("It asks on stdin."))
    yield path
    assert not path.exists()


def _edit(path: Path, **fields: Any) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | fields))


def _add_code(folder: Path, marker: Path) -> None:
    code = f"open({str(marker)!r}, 'w').close()\nclass Config: ...\nModel = Tokenizer = Config\n"
    for name in ("code.py", "custom_generate/generate.py"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    for name in ("tokenizer_config.json", "preprocessor_config.json", "processor_config.json"):
        _edit(folder / name, auto_map=AUTO_MAP)
    config = json.loads((folder / "config.json").read_text())
    for part in ("text_config", "vision_config"):
        config[part] = {**config[part], "auto_map": AUTO_MAP}
    _edit(folder / "config.json", **config, auto_map=AUTO_MAP)


@pytest.fixture
def hostile(checkpoint: Path, tmp_path: Path, marker: Path) -> Path:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "hostile"))
    _add_code(folder, marker)
    return folder


def test_a_llava_with_code_runs_without_it(hostile: Path) -> None:
    with Llava(str(hostile)) as model:
        assert model.ask("Which color?", max_tokens=2).usage.completion_tokens


@pytest.mark.parametrize("part", ["config.json", "text_config", "vision_config"])
def test_a_type_that_only_the_code_knows_is_refused(hostile: Path, part: str) -> None:
    config = json.loads((hostile / "config.json").read_text())
    (config if part == "config.json" else config[part])["model_type"] = "llava_of_a_stranger"
    (hostile / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"llava_of_a_stranger|code of its own") as caught:
        load(EngineOptions(str(hostile)))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_class_that_only_the_code_knows_is_not_taken(hostile: Path) -> None:
    _edit(hostile / "tokenizer_config.json", tokenizer_class="TokenizerOfAStranger")
    load(EngineOptions(str(hostile)))


def test_attention_kernels_that_a_config_names_are_not_loaded(hostile: Path) -> None:
    config = json.loads((hostile / "config.json").read_text())
    for place in (config, config["text_config"], config["vision_config"]):
        place |= {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"}
    (hostile / "config.json").write_text(json.dumps(config))
    read: Any = read_config(hostile, "hostile")
    loaded: Any = load(EngineOptions(str(hostile))).model.config
    for config, implementation in ((read, None), (loaded, "sdpa")):
        assert config._attn_implementation == implementation
        assert config.text_config._attn_implementation == implementation
        assert config.vision_config._attn_implementation == implementation


def test_every_call_that_reads_a_checkpoint_forbids_code() -> None:
    package = Path(llava_tools.__file__).parent
    calls = 0
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            reader = ast.unparse(node.func)
            if node.func.attr not in ("from_pretrained", "from_config") or "Peft" in reader:
                continue  # PEFT's configuration is JSON, and its class is named
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert arguments.get("trust_remote_code") == "False", f"{path}: {reader}"
            calls += 1
    assert calls >= 5


def test_a_clip_with_code_runs_without_it(checkpoint: Path, tmp_path: Path, marker: Path) -> None:
    write_clip(tmp_path / "clip", checkpoint)
    _add_code(tmp_path / "clip", marker)
    model = Embedder(str(checkpoint), clip=str(tmp_path / "clip"))
    assert len(model.embed_texts(["red"])[0]) == 24
    model.close()
