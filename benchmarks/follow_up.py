"""Time to the first token of a new and of a known image, decoding, and eight at once.

Random weights of a small geometry with LLaVA 1.5's 576 tokens an image (vision 256x6, language
768x12), stored in bfloat16, next to `LlavaForConditionalGeneration.generate` in the same run,
interleaved. `--dtype` is generate's; the engine chooses its own. Ratios are of processor seconds,
the least of all rounds, which with one thread come near those of a machine that has nothing else to
do; medians of the clock's are printed too.

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
from llava_tools.bench.generate import Generate
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
    """Seconds by name, of the wall and of this process's threads."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    def time(self, name: str, work: Callable[[], T]) -> T:
        """Do something and note how long it took."""
        wall, processor = time.perf_counter(), time.process_time()
        done = work()
        self.processor.setdefault(name, []).append(time.process_time() - processor)
        self.wall.setdefault(name, []).append(time.perf_counter() - wall)
        return done


def measure(rounds: int, dtype: str, at_once: int) -> dict[str, float]:
    """Return medians of seconds and the ratios of ours to `generate`."""
    # Rounded to what 16 bit hold, as released ones are.
    folder = write_checkpoint(Path(tempfile.mkdtemp()), shape=SHAPE, dtype=torch.bfloat16)
    model = Llava(str(folder))
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    reference = Generate(replace(model.options, dtype=dtype))  # type: ignore[arg-type]
    clocks = Clocks()
    same: list[bool] = []

    def ours(messages: tuple[Message, ...], tokens: int) -> list[int]:
        request = Request(messages, SamplingParams(max_tokens=tokens))
        return list(collect(engine.stream(request), "").token_ids)

    def theirs(messages: tuple[Message, ...], tokens: int) -> list[int]:
        return reference.tokens(messages, tokens, exact=True)

    def ask(image: ImageRef, question: str) -> tuple[Message, ...]:
        return (Message("user", (image, question)),)

    def note(name: str, messages: tuple[Message, ...], tokens: int) -> None:
        mine = clocks.time(f"ours_{name}", lambda: ours(messages, tokens))
        other = clocks.time(f"generate_{name}", lambda: theirs(messages, tokens))
        same.append(mine == other)

    def note_many(asked: list[tuple[Message, ...]]) -> None:
        with ThreadPoolExecutor(at_once) as pool:
            clocks.time("ours_many", lambda: list(pool.map(ours, asked, [16] * at_once)))
        clocks.time("generate_many", lambda: [theirs(messages, 16) for messages in asked])

    for number in range(rounds + 1):  # the first round warms up
        pair = (_image(2 * number), _image(2 * number + 1))
        note("new", ask(pair[0], FIRST), 1)
        note("follow_up", ask(pair[0], SECOND), 1)
        note("decode", ask(pair[0], SECOND), DECODE)
        if at_once:
            note_many([ask(pair[n % 2], f"{SECOND} {number}{n}?") for n in range(at_once)])
    model.close()
    return {
        "answers_equal": sum(same) / len(same),
        **_summary(clocks.processor, "processor", min, many=at_once > 0),
        **_summary(clocks.wall, "wall", statistics.median, many=at_once > 0),
    }


def _summary(
    seen: dict[str, list[float]], clock: str, pick: Callable[[list[float]], float], *, many: bool
) -> dict[str, float]:
    """Return what one clock showed, and the ratios that follow."""
    took = {name: pick(times[1:]) for name, times in seen.items()}
    speed = {
        who: (DECODE - 1) / (took[f"{who}_decode"] - took[f"{who}_follow_up"])
        for who in ("ours", "generate")
    }
    ratios = {
        "new_picture_ratio": took["ours_new"] / took["generate_new"],
        "follow_up_ratio": took["ours_follow_up"] / took["generate_follow_up"],
        "decode_ratio": speed["ours"] / speed["generate"],
        **({"at_once_ratio": took["ours_many"] / took["generate_many"]} if many else {}),
    }
    figures = {
        **{f"{name}_s": seconds for name, seconds in took.items()},
        **{f"{who}_tokens_per_s": tokens for who, tokens in speed.items()},
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
    figures = measure(options.rounds, options.dtype, options.at_once)
    for name, value in figures.items():
        print(f"{name:36}{value:>10}")
    print(json.dumps({"benchmark": "follow_up", **vars(options), **describe(), **figures}))


if __name__ == "__main__":
    main()
