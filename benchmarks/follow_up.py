"""Time to the first token of a new and of a known picture, decoding, and eight at once.

Random weights of a small geometry with LLaVA 1.5's 576 tokens a picture (vision 256x6, language
768x12), next to `LlavaForConditionalGeneration.generate` in the same run, interleaved, medians.

    python -m benchmarks.follow_up [--rounds 7] [--threads 1] [--dtype float32]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

from benchmarks.machine import describe
from llava_tools import Llava, Message, open_image
from llava_tools.bench.generate import Generate
from llava_tools.engine.engine import LlavaEngine
from llava_tools.images import ImageRef
from llava_tools.types import Request, Sampling, fold
from tests.checkpoints import Geometry, write_checkpoint

SHAPE = Geometry(vision=(256, 6), language=(768, 12), image=336, context=2048)
FIRST, SECOND = "What is in the picture?", "How many dogs are there, left or right of the line?"
DECODE = 33
AT_ONCE = 8


def _picture(shade: int) -> ImageRef:
    return open_image(Image.effect_noise((400, 300), 40 + shade).convert("RGB"))


def measure(rounds: int, dtype: str) -> dict[str, float]:
    """Return medians of seconds and the ratios of ours to `generate`."""
    folder = write_checkpoint(Path(tempfile.mkdtemp()), shape=SHAPE)
    model = Llava(str(folder), dtype=dtype)  # type: ignore[arg-type]
    engine = model.backend
    assert isinstance(engine, LlavaEngine)
    reference = Generate(model.options)

    def ours(messages: tuple[Message, ...], tokens: int) -> object:
        return fold(engine.stream(Request(messages, Sampling(max_tokens=tokens))), "")

    def theirs(messages: tuple[Message, ...], tokens: int) -> object:
        return reference.tokens(messages, tokens, exact=True)

    def ask(image: ImageRef, question: str) -> tuple[Message, ...]:
        return (Message("user", (image, question)),)

    seen: dict[str, list[float]] = {}

    def note(name: str, messages: tuple[Message, ...], tokens: int) -> None:
        for who, answer in (("ours", ours), ("generate", theirs)):
            begin = time.perf_counter()
            answer(messages, tokens)
            seen.setdefault(f"{who}_{name}", []).append(time.perf_counter() - begin)

    def note_many(asked: list[tuple[Message, ...]]) -> None:
        begin = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(ours, asked, [16] * AT_ONCE))
        middle = time.perf_counter()
        for messages in asked:
            theirs(messages, 16)
        seen.setdefault("ours_at_once", []).append(middle - begin)
        seen.setdefault("generate_in_a_row", []).append(time.perf_counter() - middle)

    for number in range(rounds + 1):  # the first round warms up
        pair = (_picture(2 * number), _picture(2 * number + 1))
        note("new", ask(pair[0], FIRST), 1)
        note("follow_up", ask(pair[0], SECOND), 1)
        note("decode", ask(pair[0], SECOND), DECODE)
        note_many([ask(pair[n % 2], f"{SECOND} {number}{n}?") for n in range(AT_ONCE)])
    model.close()
    mid = {name: statistics.median(times[1:]) for name, times in seen.items()}
    decode_ours = (DECODE - 1) / (mid["ours_decode"] - mid["ours_follow_up"])
    decode_generate = (DECODE - 1) / (mid["generate_decode"] - mid["generate_follow_up"])
    return {
        **{f"{name}_s": round(seconds, 4) for name, seconds in mid.items()},
        "ours_tokens_per_s": round(decode_ours, 1),
        "generate_tokens_per_s": round(decode_generate, 1),
        "new_picture_ratio": round(mid["ours_new"] / mid["generate_new"], 3),
        "follow_up_ratio": round(mid["ours_follow_up"] / mid["generate_follow_up"], 3),
        "decode_ratio": round(decode_ours / decode_generate, 3),
        "at_once_ratio": round(mid["ours_at_once"] / mid["generate_in_a_row"], 3),
    }


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = measure(options.rounds, options.dtype)
    for name, value in figures.items():
        print(f"{name:24}{value:>10}")
    print(json.dumps({"benchmark": "follow_up", **vars(options), **describe(), **figures}))


if __name__ == "__main__":
    main()
