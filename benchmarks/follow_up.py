"""Engine against `generate`: first token of a new and a cached image, decoding, eight at once.

Random weights of a small geometry with LLaVA 1.5's 576 tokens per image (vision 256x6, language
768x12), stored in bfloat16. Engine and `LlavaForConditionalGeneration.generate` take turns in one
process. `--dtype` is that of generate; the engine chooses its own. Ratios are of the fewest CPU
seconds of all rounds, which with one thread are close to those of an idle machine; ratios of median
wall seconds are printed as well.

    python -m benchmarks.follow_up [--rounds 7] [--threads 1] [--dtype float32] [--at-once 8]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from benchmarks.machine import describe
from llava_tools import Llava, Message, open_image
from llava_tools.bench.generate import GenerateContender
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine.engine import LlavaEngine
from llava_tools.images import ImageRef
from tests.checkpoints import Geometry, write_checkpoint

SHAPE = Geometry(vision=(256, 6), language=(768, 12), image=336, context_length=2048)
FIRST, SECOND = "What is in the picture?", "How many dogs are there, left or right of the line?"
DECODE = 33

T = TypeVar("T")


def _image(shade: int) -> ImageRef:
    return open_image(Image.effect_noise((400, 300), 40 + shade).convert("RGB"))


class Clocks:
    """Wall and CPU seconds by name; CPU seconds are of all threads of this process."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], T]) -> T:
        """Call a function and record its duration."""
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        self.processor.setdefault(name, []).append(time.process_time() - processor)
        self.wall.setdefault(name, []).append(time.perf_counter() - wall)
        return result


def measure(folder: Path, rounds: int, dtype: str, at_once: int) -> dict[str, float]:
    """Return seconds, and ratios of the engine's to `generate`'s.

    Weights go into an empty folder.
    """
    # 16-bit weights, as released ones are.
    write_checkpoint(folder, shape=SHAPE, dtype=torch.bfloat16)
    model = Llava(str(folder))
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    reference = GenerateContender(replace(model.options, dtype=dtype))  # type: ignore[arg-type]
    clocks = Clocks()
    equal: list[bool] = []

    def ours(messages: tuple[Message, ...], tokens: int) -> list[int]:
        request = Request(messages, SamplingParams(max_tokens=tokens))
        return list(collect(engine.stream(request), "").token_ids)

    def theirs(messages: tuple[Message, ...], tokens: int) -> list[int]:
        return reference.tokens(messages, tokens, exact=True)

    def message(image: ImageRef, question: str) -> tuple[Message, ...]:
        return (Message("user", (image, question)),)

    def compare(name: str, messages: tuple[Message, ...], tokens: int) -> None:
        actual = clocks.time(f"ours_{name}", lambda: ours(messages, tokens))
        expected = clocks.time(f"generate_{name}", lambda: theirs(messages, tokens))
        equal.append(actual == expected)

    def compare_many(conversations: list[tuple[Message, ...]]) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            clocks.time("ours_many", lambda: list(pool.map(ours, conversations, [16] * at_once)))
        clocks.time("generate_many", lambda: [theirs(messages, 16) for messages in conversations])

    for number in range(rounds + 1):  # the first round warms up
        pair = (_image(2 * number), _image(2 * number + 1))
        compare("new", message(pair[0], FIRST), 1)
        compare("follow_up", message(pair[0], SECOND), 1)
        compare("decode", message(pair[0], SECOND), DECODE)
        if at_once:
            compare_many([message(pair[n % 2], f"{SECOND} {number}{n}?") for n in range(at_once)])
    model.close()
    return {
        "answers_equal": sum(equal) / len(equal),
        **_summary(clocks.processor, "processor", min, many=at_once > 0),
        **_summary(clocks.wall, "wall", statistics.median, many=at_once > 0),
    }


def _summary(
    times: dict[str, list[float]], clock: str, pick: Callable[[list[float]], float], *, many: bool
) -> dict[str, float]:
    """Return seconds of one clock, picked from all rounds but the first, and their ratios."""
    seconds = {name: pick(values[1:]) for name, values in times.items()}
    speed = {
        name: (DECODE - 1) / (seconds[f"{name}_decode"] - seconds[f"{name}_follow_up"])
        for name in ("ours", "generate")
    }
    ratios = {
        "new_image_ratio": seconds["ours_new"] / seconds["generate_new"],
        "follow_up_ratio": seconds["ours_follow_up"] / seconds["generate_follow_up"],
        "decode_ratio": speed["ours"] / speed["generate"],
        **({"at_once_ratio": seconds["ours_many"] / seconds["generate_many"]} if many else {}),
    }
    figures = {
        **{f"{name}_s": value for name, value in seconds.items()},
        **{f"{name}_tokens_per_s": value for name, value in speed.items()},
        **ratios,
    }
    return {f"{clock}_{name}": round(value, 4) for name, value in figures.items()}


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--at-once", type=int, default=8, help="requests; 0 leaves this out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rounds, options.dtype, options.at_once)
    for name, value in figures.items():
        print(f"{name:36}{value:>10}")
    print(json.dumps({"benchmark": "follow_up", **vars(options), **describe(), **figures}))


if __name__ == "__main__":
    main()
