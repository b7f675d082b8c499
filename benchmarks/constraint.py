"""Costs of a constraint: time per token under a grammar, and prompt tokens of tools.

Time: random weights with LLaVA 1.5's 576 tokens per image (vision 256x6, language 768x12). The same
question is answered unconstrained and under a schema that never lets the answer end, in turn; the
figures are medians of the seconds per token, those that the grammar forces included. Prompt tokens:
the instructions for 1, 5 and 20 tools against the same tools as JSON, by the embedded model's
tokenizer.

    python -m benchmarks.constraint [--rounds 9] [--threads 1] [--dtype float32]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.follow_up import SHAPE
from benchmarks.machine import describe
from llava_tools import Llava, Message, open_image
from llava_tools.chat.tool_calls import instructions
from llava_tools.core.constraints import UNCONSTRAINED, Constraint, ToolSpec
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine.engine import LlavaEngine
from tests.checkpoints import write_checkpoint

TOKENS = 65
ENDLESS = Constraint(schema={"type": "array", "items": {"type": "string"}, "minItems": 500})
ARGUMENTS = {
    "place": {"type": "string", "description": "City and country, e.g. Ulm, Germany"},
    "days": {"type": "integer", "minimum": 1, "maximum": 7},
    "unit": {"enum": ["celsius", "fahrenheit"]},
}
SUBJECTS = (
    *("weather", "traffic", "news", "prices", "flights", "trains", "hotels", "events", "maps"),
    *("images", "documents", "invoices", "contacts", "calendar", "tasks", "notes", "recipes"),
    *("sensors", "orders", "tickets"),
)


def token_seconds(engine: LlavaEngine, constraint: Constraint, number: int) -> float:
    """Return the mean seconds between tokens of one answer."""
    image = open_image(Image.new("RGB", (400, 300), (number % 256, 90, 40)))
    messages = (Message("user", (image, "What is in the picture?")),)
    sampling = SamplingParams(max_tokens=2 * TOKENS)  # more than are read
    stream = engine.stream(Request(messages, sampling, constraint))
    tokens = 0
    try:
        next(stream)
        begin = time.perf_counter()
        while tokens < TOKENS:
            tokens += len(next(stream).token_ids)  # several where the grammar forces some
        return (time.perf_counter() - begin) / tokens
    finally:
        stream.close()


def time_cost(folder: Path, rounds: int, dtype: str) -> dict[str, float]:
    """Return medians of seconds per token, free and constrained, and their ratio.

    Weights go into an empty folder.
    """
    write_checkpoint(folder, shape=SHAPE)
    model = Llava(str(folder), dtype=dtype)  # type: ignore[arg-type]
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    seconds: dict[str, list[float]] = {"free": [], "constrained": []}
    for number in range(rounds + 1):  # the first round warms up
        seconds["free"].append(token_seconds(engine, UNCONSTRAINED, number))
        seconds["constrained"].append(token_seconds(engine, ENDLESS, number))
    model.close()
    free, constrained = (statistics.median(seconds[name][1:]) for name in ("free", "constrained"))
    ratios = [b / a for a, b in zip(seconds["free"][1:], seconds["constrained"][1:], strict=True)]
    return {
        "free_ms": round(1e3 * free, 2),
        "constrained_ms": round(1e3 * constrained, 2),
        "ratio": round(constrained / free, 3),
        "ratio_of_pairs": round(statistics.median(ratios), 3),
    }


def prompt_cost() -> dict[str, dict[str, int]]:
    """Return the size of 1, 5 and 20 tools in the prompt, and their size as JSON."""
    costs = {}
    with Llava() as model:
        for count in (1, 5, 20):
            tools = tuple(
                ToolSpec(
                    f"search_{subject}",
                    f"Search {subject} near a place for the coming days.",
                    {"type": "object", "properties": ARGUMENTS, "required": ["place"]},
                )
                for subject in SUBJECTS[:count]
            )
            text = instructions(Constraint(tools))
            as_json = json.dumps(
                [
                    {"name": t.name, "description": t.description, "parameters": t.parameters}
                    for t in tools
                ]
            )
            costs[str(count)] = {
                "tokens": len(model.backend.token_ids(text)),
                "characters": len(text),
                "tokens_as_json": len(model.backend.token_ids(as_json)),
                "characters_as_json": len(as_json),
            }
    return costs


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        seconds = time_cost(Path(folder), options.rounds, options.dtype)
    report = {"time": seconds, "tools": prompt_cost(), "dtype": options.dtype, **describe()}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
