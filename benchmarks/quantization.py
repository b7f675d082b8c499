"""What fewer bits cost in answers: the embedded model's questions, a language model's perplexity.

The embedded model answers drawn questions of the kinds on its card in each precision, through the
engine, all in one process: shares of right answers, and how many answers are those of float32.
With `--cache`, SmolLM2-135M-Instruct's perplexity and its checks of `real_language_model` follow.

    python -m benchmarks.quantization [--each 50] [--trial stranger] [--calls 100] [--cache DIR]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe
from benchmarks.real_language_model import checks
from benchmarks.real_language_model.checkpoint import prepare
from benchmarks.real_language_model.perplexity import perplexity
from langchain_llava import ChatLlava
from llava_tools import Llava
from llava_tools.chat.tool_calls import write_turn
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import OutputError
from recipes.tiny_llava import tool_exam
from recipes.tiny_llava.evaluate import LONG, LONG_KINDS, SHORT
from recipes.tiny_llava.exam import Item, Score, own_items, score, stranger_items

#: Options by the names in the table.
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}
AT_ONCE = 8


def answers(llava: Llava, items: Sequence[Item]) -> list[str]:
    """Return greedy answers, as long as on the card."""

    def ask(item: Item) -> str:
        limit = LONG if item.kind in LONG_KINDS else SHORT
        return llava.ask(item.question, item.image, max_tokens=limit).text.strip()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(ask, items))


def calls(llava: Llava, items: Sequence[tool_exam.ToolItem]) -> list[str]:
    """Return the text of calls that a grammar enforces."""

    def call(item: tool_exam.ToolItem) -> str:
        request = Request(item.messages, SamplingParams(max_tokens=150), item.constraint)
        try:
            answer = collect(llava.backend.stream(request), "")
        except OutputError as error:
            return str(error)
        return write_turn(answer.text, answer.tool_calls)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(call, items))


def embedded(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return for each precision the shares of right answers, by kind and in all."""
    draw = own_items if options.trial == "own" else stranger_items
    items = draw(options.each, options.seed)
    tools = [item for item in tool_exam.items() if "tools/" in item.kind]
    tools = tools[:: max(1, len(tools) // options.calls)] if options.calls else []
    figures: dict[str, dict[str, Any]] = {}
    exact: list[str] = []
    for name, settings in PRECISIONS.items():
        begin = time.perf_counter()
        with Llava(device="cpu", **settings) as llava:
            texts = answers(llava, items)
            written = calls(llava, tools)
        exact = exact or [*texts, *written]
        by_kind = score(items, texts)
        figures[name] = {
            "right": _mean(by_kind),
            "calls": _share(item.right(text) for item, text in zip(tools, written, strict=True)),
            "same": _share(a == b for a, b in zip(exact, [*texts, *written], strict=True)),
            "of": len(exact),
            "seconds": round(time.perf_counter() - begin),
            "kinds": {kind: round(s.right / s.total, 3) for kind, s in by_kind.items()},
        }
        print(name, json.dumps(figures[name]), flush=True)
    return figures


def language_model(folder: Path) -> dict[str, dict[str, Any]]:
    """Return for each precision the perplexity, and how many checks are right."""
    figures: dict[str, dict[str, Any]] = {}
    for name, settings in PRECISIONS.items():
        chat = ChatLlava(model=str(folder), device="cpu", **settings)
        with Llava(str(folder), device="cpu", **settings) as llava:
            results = [
                *checks.ask_questions(llava),
                *checks.fill_forms(chat),
                *checks.call_tools(chat),
            ]
            figures[name] = {
                "perplexity": round(perplexity(llava.backend), 3),
                "right": sum(check.right for check in results),
                "of": len(results),
            }
        print(name, json.dumps(figures[name]), flush=True)
    return figures


def _mean(scores: dict[str, Score]) -> float:
    """Return the mean over the kinds of questions."""
    return round(sum(s.right / s.total for s in scores.values()) / len(scores), 4)


def _share(values: Any) -> float | None:
    listed = list(values)
    return round(sum(listed) / len(listed), 4) if listed else None


def main() -> None:
    """Measure and print a line for each precision, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=50, help="questions a kind; 0: none")
    parser.add_argument("--trial", choices=["own", "stranger"], default="stranger")
    parser.add_argument("--calls", type=int, default=100, help="tool calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder of the real language model")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"benchmark": "quantization", "trial": options.trial}
    if options.each:
        report["embedded"] = embedded(options)
    if options.cache is not None:
        report["language_model"] = language_model(prepare(options.cache))
    print(json.dumps(report | describe()))


if __name__ == "__main__":
    main()
