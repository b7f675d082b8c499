"""Resident memory while one engine is asked about ever new images.

The embedded model and two thousand drawn images, each asked about once, in turns by `Llava`,
`ChatLlava` and LlamaIndex's `Llava`, which share the engine. Memory is noted every hundred; what
counts is how much it grew between the first quarter and the end.

    python -m benchmarks.memory [--images 2000] [--at-once 4] [--threads 1]
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import torch
from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from benchmarks.machine import describe
from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava
from llava_tools.bench.workload import make_image

QUESTIONS = ("What shape is in the picture?", "What is the colour of the background?")
TOKENS = 4
STEP = 100


def ways() -> list[Callable[[bytes, str], object]]:
    """Return three who ask the same engine about an image's bytes."""
    plain, chat = Llava(), ChatLlava(max_tokens=TOKENS)
    index = LlamaIndexLlava(max_tokens=TOKENS)

    def ask(data: bytes, question: str) -> object:
        return plain.ask(question, data, max_tokens=TOKENS)

    def invoke(data: bytes, question: str) -> object:
        image = {
            "type": "image",
            "base64": base64.b64encode(data).decode(),
            "mime_type": "image/png",
        }
        return chat.invoke([HumanMessage([image, {"type": "text", "text": question}])])

    def index_chat(data: bytes, question: str) -> object:
        block = ImageBlock(image=data, image_mimetype="image/png")
        return index.chat([ChatMessage([block, TextBlock(text=question)])])

    return [ask, invoke, index_chat]


def measure(images: int, at_once: int) -> dict[int, float]:
    """Return resident megabytes by the number of images seen."""
    process = psutil.Process()
    asking = ways()
    seen: dict[int, float] = {}

    def one(number: int) -> None:
        asking[number % len(asking)](make_image(0, number).data, QUESTIONS[number % len(QUESTIONS)])

    with ThreadPoolExecutor(at_once) as pool:
        for start in range(0, images, STEP):
            list(pool.map(one, range(start, min(start + STEP, images))))
            seen[start + STEP] = round(process.memory_info().rss / 1e6, 1)
            print(f"{start + STEP:6} pictures {seen[start + STEP]:10.1f} MB", flush=True)
    return seen


def main() -> None:
    """Measure, print how it went, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    seen = measure(options.images, options.at_once)
    early, late = seen[max(STEP, options.images // 4 // STEP * STEP)], list(seen.values())[-1]
    print(f"grown by {100 * (late / early - 1):.1f}% between {early} and {late} MB")
    told = {"early_mb": early, "late_mb": late, "ratio": round(late / early, 4), "mb": seen}
    seconds = round(time.perf_counter() - begin)
    print(
        json.dumps(
            {"benchmark": "memory", **vars(options), **describe(), "seconds": seconds, **told}
        )
    )


if __name__ == "__main__":
    main()
