from __future__ import annotations

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_constructors_load_no_engine() -> None:
    process = run(
        "import sys\nfrom langchain_core.language_models import BaseChatModel\n"
        "before = set(sys.modules)\n"  # older releases of langchain-core load transformers
        "import llava_tools, langchain_llava\n"
        "langchain_llava.ChatLlava()\n"
        "langchain_llava.LlavaEmbeddings()\n"
        "langchain_llava.LlavaToolkit().get_tools()\n"
        "heavy = {'torch', 'transformers', 'numpy', 'llava_tools.engine', 'langchain'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    assert (process.stdout, process.stderr) == ("[]\n", "")


def test_import_without_langchain_names_the_extra() -> None:
    process = run("import sys\nsys.modules['langchain_core'] = None\nimport langchain_llava")
    assert process.returncode == 1
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("llava_tools.errors.MissingExtraError: langchain-core is not installed")
    assert "the extra 'langchain'. Run: python -m pip install" in last
