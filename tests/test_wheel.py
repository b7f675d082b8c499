"""What the wheel holds, and that the namespace it shares with others stays a namespace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path, PurePath

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent
#: Folders that belong to no single distribution: a file in one would hide the others' packages.
SHARED = ("", "agent", "llms", "embeddings", "tools", "readers", "retrievers", "selectors")


@pytest.fixture(scope="module")
def files() -> set[str]:
    """Paths in the wheel, without building it."""
    builder = WheelBuilder(str(ROOT))
    return {
        PurePath(file.distribution_path).as_posix() for file in builder.recurse_included_files()
    }


def test_every_module_is_in_the_wheel(files: set[str]) -> None:
    for root in (".", "integrations"):
        for package in ("llava_tools", "langchain_llava", "llama_index", "lmms_eval_llava"):
            for path in (ROOT / root / package).rglob("*.py"):
                assert path.relative_to(ROOT / root).as_posix() in files
    assert {
        "llava_tools/py.typed",
        "llava_tools/tiny/model.safetensors",
        "llava_tools/tiny/calibration.json",
        "langchain_llava/py.typed",
        "lmms_eval_llava/py.typed",
        "llama_index/llms/llava/py.typed",
        "llama_index/embeddings/llava/py.typed",
        "llama_index/tools/llava/py.typed",
        "llama_index/readers/llava/py.typed",
        "llama_index/retrievers/llava/py.typed",
    } <= files


def test_nothing_else_is_in_the_wheel(files: set[str]) -> None:
    tops = {PurePath(file).parts[0] for file in files}
    assert tops == {"llava_tools", "langchain_llava", "llama_index", "lmms_eval_llava"}


def test_the_sdist_holds_the_recipe() -> None:
    files = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    assert {"recipes/tiny_llava/run.sh", "recipes/tiny_llava/data/words.txt"} <= files


def test_the_shared_namespace_holds_no_files(files: set[str]) -> None:
    shared = {(PurePath("llama_index") / folder).as_posix() for folder in SHARED}
    assert not [file for file in files if PurePath(file).parent.as_posix() in shared]


def test_it_merges_with_what_is_installed() -> None:
    program = (
        "import llama_index, llama_index.core, llama_index.llms.llava, llama_index.llms;"
        "print(llama_index.__spec__.origin, llama_index.llms.__spec__.origin)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None"]  # namespaces have no file
