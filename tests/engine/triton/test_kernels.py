"""The Triton kernels, without a GPU: their results in the interpreter, and that they compile."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
]


def run(module: str, *arguments: str, **environment: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", f"tests.engine.triton.{module}", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_kernels_compute_the_same_as_torch_in_the_interpreter() -> None:
    run("interpreted", TRITON_INTERPRET="1")


@pytest.mark.parametrize("capability", ["75", "90"])
def test_kernels_compile_for_gpus(capability: str, tmp_path: Path) -> None:
    run("compiled", capability, TRITON_CACHE_DIR=str(tmp_path))
