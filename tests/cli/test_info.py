"""`llava-tools info`: what fits this machine, and what a model is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llava_tools.cli.main import main
from tests import published_configs as published


def test_short_names_are_listed_with_their_licences(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "0.5b   Tongyi Qianwen Research License" in out
    assert "'0.5b' is small enough for CPUs" in out


def test_a_model_is_described_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "tiny"]) == 0
    out = capsys.readouterr().out
    assert "Model       tiny\nPrompts     vicuna_v1\n" in out
    assert "Language    llama; context 2,048 tokens, built for 2,048\n" in out
    assert "Vision      clip_vision_model, 112 x 112 pixels, 64 tokens an image\n" in out
    assert "Weights     0.02 GB, float16, on this machine\nLicence     Apache-2.0\n" in out
    assert "float32     0.07 GB  yes" in out


def test_a_refused_model_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(published.ORIGINAL_7B))
    (tmp_path / "pytorch_model.bin").touch()
    assert main(["info", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "Refused     " in out
    assert f"Run: llava-tools convert {tmp_path} --out DIR" in out


def test_a_model_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(published.PIXTRAL))
    assert main(["info", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == str(tmp_path)
    assert "Pixtral" in report["refusal"]["message"]
    assert "base_url" in report["refusal"]["hint"]
    assert report["fits"] == []


def test_a_name_that_nothing_has_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("llava-tools: error: There is no model 'nothing'.")


def test_a_hub_id_needs_a_network_or_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "nobody/nothing", "--local-files-only"]) == 2
    assert "local_files_only" in capsys.readouterr().err


def test_folders_are_described_without_torch_and_transformers(checkpoint: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'huggingface_hub'): sys.modules[name] = None\n"
        "from llava_tools.cli.main import main\n"
        "code = main(['info', sys.argv[1]])\n"
        "assert main(['info']) == 0\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(checkpoint)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Prompts     unknown without transformers" in done.stdout
    assert "torch is not installed" in done.stdout
    assert done.stderr == ""
