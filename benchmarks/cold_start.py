"""Cold start: imports and the embedded model's first token, each in a fresh process.

    python -m benchmarks.cold_start [--rounds 5] [--threads 2] [--python VENV/bin/python]

Reports the duration of the whole process, interpreter start included, and its CPU time, which a
busy machine changes less. `--python` is the interpreter of another environment: transformers
imports scipy and scikit-learn if they are installed, so a developer's environment starts more
slowly than a user's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import describe

IMAGE = Path(__file__).parent.parent / "examples" / "images" / "night.png"
PROGRAMS = {
    "python": "pass",
    "import llava_tools": "import llava_tools",
    "import langchain_core": "import langchain_core.language_models.chat_models",
    "import langchain_llava": "import langchain_llava",
    "import llama_index.core": "import llama_index.core",
    "import llama_index.llms.llava": "import llama_index.llms.llava",
    "import torch, transformers": "import torch; from transformers import AutoModelForCausalLM",
    "first token": "from llava_tools import Llava\n"
    f"stream = Llava().stream('What colour is the star?', {str(IMAGE)!r})\n"
    "next(stream)\n"
    "import os; os._exit(0)",
}


def run(python: str, program: str, threads: int) -> tuple[float, float]:
    """Run a program in a fresh interpreter; return its wall and CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([python, "-c", program], check=True, env=environment)
    wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu


def measure(python: str, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Return median seconds by program; the first round only fills the disk cache."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds + 1):
        for name, program in PROGRAMS.items():
            seconds[name].append(run(python, program, threads))
    return {
        name: {
            "wall_s": round(statistics.median(wall for wall, _ in times[1:]), 3),
            "cpu_s": round(statistics.median(cpu for _, cpu in times[1:]), 3),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter of another environment"
    )
    options = parser.parse_args()
    figures = measure(options.python, options.rounds, options.threads)
    print(f"{'':32}{'wall, s':>10}{'cpu, s':>10}")
    for name, times in figures.items():
        print(f"{name:32}{times['wall_s']:>10}{times['cpu_s']:>10}")
    report = {"benchmark": "cold_start", "rounds": options.rounds, "threads": options.threads}
    print(json.dumps(report | describe() | {"seconds": figures}))


if __name__ == "__main__":
    main()
