"""What may depend on what: kept by looking at what a fresh process has loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import llava_tools

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "numpy", "tokenizers", "accelerate")


def _loaded(program: str) -> set[str]:
    """Return the top-level names of the modules that a fresh interpreter ends up with."""
    show = "; import sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program + show], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "program",
    [
        "import llava_tools; llava_tools.Llava('7b', quantization='4bit')",
        "import llava_tools.remote.backend; import llava_tools.structured.grammar",
        "import llava_tools, langchain_llava; langchain_llava.ChatLlava()",
        "import langchain_llava; langchain_llava.LlavaEmbeddings()",
        "from llava_tools.embedding import Embedder; Embedder('7b').embed_texts([])",
        "from llava_tools import cli; cli._parser()",
        "from llava_tools import Llava, testing;"
        "Llava(backend=testing.ScriptedBackend()).ask('Hello?')",
        "from llava_tools import tools; tools.openai_tools()",
        "from llava_tools.retrieval import PageIndex; PageIndex('nowhere')",
        "import langchain_llava; langchain_llava.PageRetriever(index='nowhere')",
    ],
)
def test_above_the_seam_nothing_heavy_is_loaded(program: str) -> None:
    assert _loaded(program).isdisjoint(HEAVY)


def test_a_server_needs_its_extra_only_when_it_is_asked() -> None:
    program = (
        "import sys; sys.modules['openai'] = None\n"
        "from llava_tools import Llava\n"
        "model = Llava(base_url='http://127.0.0.1:9/v1')\n"
        "try: model.ask('What?')\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("MissingExtraError openai is not installed")
    assert "llava-tools[remote]" in done.stdout


def test_llama_index_loads_no_engine() -> None:
    loaded = _loaded("from llama_index.llms.llava import Llava; Llava(model='7b').metadata")
    assert loaded.isdisjoint({"torch", "transformers", "accelerate", "langchain_core"})


def test_the_core_knows_no_framework() -> None:
    names = [
        "model",
        "cli",
        "info",
        "registry",
        "testing",
        "options",
        "prompt",
        "types",
        "images",
        "fetch",
        "backend",
        "embedding",
    ]
    program = "import " + ", ".join(f"llava_tools.{name}" for name in names)
    assert _loaded(program).isdisjoint({"langchain_core", "llama_index", "pydantic"})


def _imports(folder: str) -> set[str]:
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        found |= _imports_of(path)
    return found


def _imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize(
    ("folder", "never"),
    [
        ("llava_tools/tools", ("llava_tools.retrieval", "llava_tools.engine", "langchain")),
        ("llava_tools/retrieval", ("llava_tools.cli", "llava_tools.engine", "langchain", "torch")),
        ("llava_tools/engine", ("recipes.tiny_llava", "llava_tools.cli", "langchain")),
        ("llava_tools/train", ("langchain", "llama_index")),
        (
            "llava_tools/bench",
            ("llava_tools.cli", "recipes.tiny_llava", "langchain", "llama_index"),
        ),
        ("integrations/langchain_llava", ("llava_tools.engine", "torch", "llama_index")),
        ("integrations/llama_index", ("llava_tools.engine", "torch", "langchain")),
    ],
)
def test_neighbours_do_not_reach_into_each_other(folder: str, never: tuple[str, ...]) -> None:
    assert not [name for name in _imports(folder) if name.startswith(never)]


def test_only_the_tuning_of_real_weights_knows_how_the_engine_loads_them() -> None:
    used = {
        "llava_tools.engine.device",
        "llava_tools.engine.loading.checkpoint",
        "llava_tools.engine.tokenizer",
    }
    folder = ROOT / "llava_tools" / "train"
    for path in folder.rglob("*.py"):
        found = {name for name in _imports_of(path) if name.startswith("llava_tools.engine")}
        assert found <= (used if path.parent.name == "adapt" else set()), path


def test_only_the_peer_of_bench_knows_how_the_engine_loads_its_model() -> None:
    for path in (ROOT / "llava_tools" / "bench").glob("*.py"):
        found = {name for name in _imports_of(path) if name.startswith("llava_tools.engine")}
        assert found == (
            {"llava_tools.engine.loading.checkpoint"} if path.stem == "generate" else set()
        ), path


def test_public_names() -> None:
    assert sorted(llava_tools.__all__) == [
        "Answer",
        "Delta",
        "ImageRef",
        "Llava",
        "LlavaToolsError",
        "Message",
        "Sampling",
        "open_image",
    ]
    for name in llava_tools.__all__:
        assert getattr(llava_tools, name).__name__ == name
    assert set(llava_tools.__all__) <= set(dir(llava_tools))
    with pytest.raises(AttributeError, match="no attribute 'Lava'"):
        _ = llava_tools.Lava
