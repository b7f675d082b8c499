"""Cold start: imports, `info`, a search for words, the embedded model's first token.

Each in a fresh process.

    python -m benchmarks.cold_start [--rounds 5] [--threads 2] [--python VENV/bin/python]
        [--other FOLDER]

Reports the duration of the whole process, interpreter start included, and its CPU time, which a
busy machine changes less. `--python` is the interpreter of another environment: transformers
imports scipy and scikit-learn if they are installed, so a developer's environment starts more
slowly than a user's. `--other` is a checkout of another version, which is measured in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.drawn_pdf import DrawnPage, TextLine, write_pages
from benchmarks.machine import describe
from llava_tools.retrieval import PageIndex
from llava_tools.testing import ScriptedEmbedder

ROOT = Path(__file__).parent.parent
IMAGE = ROOT / "examples" / "images" / "night.png"
PROGRAMS = {
    "python": "pass",
    "import llava_tools": "import llava_tools",
    "import langchain_core": "import langchain_core.language_models.chat_models",
    "import langchain_llava": "import langchain_llava",
    "import llama_index.core": "import llama_index.core",
    "import llama_index.llms.llava": "import llama_index.llms.llava",
    "import torch, transformers": "import torch; from transformers import AutoModelForCausalLM",
    "info": "from llava_tools.info import report; report()",
    "info tiny": "from llava_tools.info import describe; describe('tiny')",
    "search for words": "import os\n"
    "from llava_tools.cli.main import main\n"
    "main(['search', os.environ['INDEX'], 'word7', '--mode', 'text'])",
    "first token": "from llava_tools import Llava\n"
    f"stream = Llava().stream('What colour is the star?', {str(IMAGE)!r})\n"
    "next(stream)\n"
    "import os; os._exit(0)",
}


def write_index(folder: Path) -> None:
    """Write an index of 300 pages, and name it in the environment."""
    pages = [
        DrawnPage((595, 842), [TextLine(f"word{number % 100} on page {number}", 60, 700)])
        for number in range(300)
    ]
    pdf = write_pages(folder / "300.pdf", pages)
    PageIndex(folder / "index", ScriptedEmbedder()).update([pdf])
    os.environ["INDEX"] = str(folder / "index")


def run(python: str, program: str, threads: int, root: Path) -> tuple[float, float]:
    """Run a program in a fresh interpreter; return its wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    path = os.pathsep.join([str(root), str(root / "integrations")])
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    command = [python, "-c", program]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def measure(
    python: str, rounds: int, threads: int, roots: Sequence[Path]
) -> list[dict[str, dict[str, float]]]:
    """Return median and least seconds by program; the first round only fills the disk cache."""
    seconds: list[dict[str, list[tuple[float, float]]]] = [
        {name: [] for name in PROGRAMS} for _ in roots
    ]
    for _ in range(rounds + 1):
        for name, program in PROGRAMS.items():
            for root, times in zip(roots, seconds, strict=True):
                times[name].append(run(python, program, threads, root))
    return [{name: _figures(times[1:]) for name, times in item.items()} for item in seconds]


def _figures(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    return {
        "wall_s": round(statistics.median(wall for wall, _ in times), 3),
        "cpu_s": round(statistics.median(cpu for _, cpu in times), 3),
        "least_wall_s": round(min(wall for wall, _ in times), 3),
    }


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of another environment"
    )
    parser.add_argument("--other", type=Path, help="checkout of another version")
    options = parser.parse_args()
    roots = [ROOT, *([options.other] if options.other else [])]
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder))
        figures = measure(options.python, options.rounds, options.threads, roots)
    for root, seconds in zip(roots, figures, strict=True):
        print(f"{root.name:32}{'wall, s':>10}{'least':>10}{'cpu, s':>10}")
        for name, times in seconds.items():
            print(f"{name:32}{times['wall_s']:>10}{times['least_wall_s']:>10}{times['cpu_s']:>10}")
    report = {"benchmark": "cold_start", "rounds": options.rounds, "threads": options.threads}
    print(json.dumps(report | describe() | {"seconds": figures[0], "other": figures[1:]}))


if __name__ == "__main__":
    main()
