"""Which modules may depend on which, by the imports in the source and by what a process loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "llava_tools"
HEAVY = ("torch", "transformers", "numpy", "tokenizers", "accelerate")

#: From the bottom to the top. A module imports from its own entry and from those below it.
LAYERS = (
    "errors",
    "images",
    "core",
    "chat",
    "options",
    "structured",
    "engine",
    "remote",
    "model_cache",
    "label_scoring",
    "evidence",
    "warmup",
    "model",
    "embedding",
    "testing",
    "model_fields",
    "info",
    "conversion",
    "bench",
    "evaluation",
    "tools",
    "retrieval",
    "finetune",
    "server",
    "cli",
    "__main__",
)

MOST_ROOT_MODULES = 12
#: Statements of a module in which imports stand.
AT_IMPORT = (ast.Import, ast.ImportFrom, ast.If, ast.Try)


def _module(path: Path) -> str:
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def _imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Yield what a syntax tree imports; of `from package import name` both readings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _imports_below(folder: Path) -> set[str]:
    return {
        name
        for path in folder.rglob("*.py")
        for name in _imports(ast.parse(path.read_text()), _module(path))
    }


def _layer(module: str) -> int:
    return LAYERS.index(module.split(".")[1])


def test_no_module_imports_from_a_layer_above_its_own() -> None:
    for path in PACKAGE.rglob("*.py"):
        module = _module(path)
        if module == "llava_tools":  # it names the public modules, which it loads lazily
            continue
        for name in _imports(ast.parse(path.read_text()), module):
            if name.startswith("llava_tools.") and name != "llava_tools.__version__":
                assert _layer(name) <= _layer(module), f"{module} imports {name}."


def test_remote_and_engine_are_independent() -> None:
    assert not [n for n in _imports_below(PACKAGE / "engine") if n.startswith("llava_tools.remote")]
    assert not [n for n in _imports_below(PACKAGE / "remote") if n.startswith("llava_tools.engine")]


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {_module(path): path for path in PACKAGE.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        # Imports inside functions run later and make no circle; those for type checkers count.
        tree = ast.parse(path.read_text())
        top = ast.Module([n for n in tree.body if isinstance(n, AT_IMPORT)], [])
        graph[module] = {
            name if name in modules else name.rpartition(".")[0] for name in _imports(top, module)
        } & (modules.keys() - {module})
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_the_root_holds_few_modules() -> None:
    modules = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
    assert len(modules) <= MOST_ROOT_MODULES, modules


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("llava_tools", ("recipes", "langchain", "llama_index", "lmms", "benchmarks", "tests")),
        ("llava_tools/core", HEAVY),
        ("llava_tools/images", HEAVY),
        ("llava_tools/chat", HEAVY),
        ("llava_tools/structured", HEAVY),
        ("llava_tools/remote", HEAVY),
        ("llava_tools/tools", HEAVY),
        ("llava_tools/evidence", (*HEAVY, "llava_tools.engine")),
        ("llava_tools/retrieval", ("torch", "transformers", "llava_tools.engine")),
        ("llava_tools/server", (*HEAVY, "llava_tools.engine")),
        ("llava_tools/cli", (*HEAVY, "llava_tools.engine")),
        ("integrations/langchain_llava", ("llava_tools.engine", "llama_index", *HEAVY)),
        ("integrations/llama_index", ("llava_tools.engine", "langchain", *HEAVY)),
        ("integrations/lmms_eval_llava", ("llava_tools.engine", "langchain", "llama", *HEAVY)),
        ("recipes", ("langchain", "llama_index")),
    ],
)
def test_folders_do_not_import_what_they_must_not(folder: str, forbidden: tuple[str, ...]) -> None:
    imported = _imports_below(ROOT / folder)
    assert not [name for name in imported if name.split(".")[0] in forbidden]
    assert not [name for name in imported if name.startswith(forbidden)]


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("finetune", {"device", "loading", "tokenizer"}),
        ("bench", {"bandwidth", "loading"}),
        ("evaluation", {"loading"}),
    ],
)
def test_few_folders_know_how_the_engine_loads_models(folder: str, allowed: set[str]) -> None:
    imported = _imports_below(PACKAGE / folder)
    used = {name.split(".")[2] for name in imported if name.startswith("llava_tools.engine.")}
    assert used <= allowed


#: What opens connections, and the modules that may use it: requests to model servers have one
#: policy, fetching the images that others name another.
CONNECTIONS = {
    "httpx": {"llava_tools.remote.transport"},
    "httpx2": set(),
    "http.client": {"llava_tools.images.fetch"},
    "urllib.request": set(),
    "urllib3": set(),
    "requests": set(),
    "aiohttp": set(),
    "websockets": set(),
    "openai": set(),
    "socket": {"llava_tools.images.fetch", "llava_tools.cli.serve", "llava_tools.cli.mcp"},
}


def test_one_module_opens_connections_to_model_servers() -> None:
    users: dict[str, set[str]] = {name: set() for name in CONNECTIONS}
    for folder in (PACKAGE, ROOT / "integrations"):
        for path in folder.rglob("*.py"):
            module = _module(path)
            for name in _imports(ast.parse(path.read_text()), module):
                for library in CONNECTIONS:
                    if name == library or name.startswith(f"{library}."):
                        users[library].add(module)
    assert users == CONNECTIONS


def test_nothing_touches_transformers_continuous_batching() -> None:
    for path in PACKAGE.rglob("*.py"):
        names = _imports(ast.parse(path.read_text()), _module(path))
        internal = [name for name in names if name.startswith("transformers.generation.cont")]
        assert not internal, f"{path}: {internal}"


def _loaded(program: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after a program."""
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
        "from llava_tools.cli import main; main.build_parser()",
        "from llava_tools import Llava, testing;"
        "Llava(backend=testing.ScriptedBackend()).ask('Hello?')",
        "from llava_tools import tools; tools.openai_tools()",
        "from llava_tools.retrieval import PageIndex; PageIndex('nowhere')",
        "import langchain_llava; langchain_llava.LlavaPageRetriever(index='nowhere')",
    ],
)
def test_nothing_heavy_is_loaded_before_the_first_request(program: str) -> None:
    assert _loaded(program).isdisjoint(HEAVY)


def test_a_server_needs_its_extra_only_at_the_first_request() -> None:
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "from llava_tools import Llava\n"
        "model = Llava(base_url='http://127.0.0.1:9/v1')\n"
        "try: model.ask('What?')\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("MissingExtraError httpx is not installed")
    assert "the extra 'remote'. Run: python -m pip install" in done.stdout


def test_llama_index_loads_no_engine() -> None:
    loaded = _loaded("from llama_index.llms.llava import Llava; Llava(model='7b').metadata")
    assert loaded.isdisjoint({"torch", "transformers", "accelerate", "langchain_core"})


def test_the_core_loads_no_framework() -> None:
    program = (
        "import llava_tools.model, llava_tools.embedding, llava_tools.testing, llava_tools.info, "
        "llava_tools.cli.main, llava_tools.images, llava_tools.chat.prompt"
    )
    assert _loaded(program).isdisjoint({"langchain_core", "llama_index", "pydantic"})
