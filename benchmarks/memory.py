"""Resident memory while an engine answers questions about ever new images.

The embedded model answers one question about each of two thousand drawn images, in turn through
`Llava`, `ChatLlava` and LlamaIndex's `Llava`, which share the engine. Memory is measured every
hundred images; the result is its growth between the first quarter and the end.

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


def callers() -> list[Callable[[bytes, str], object]]:
    """Return three functions that pass an image and a question to the same engine."""
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
    """Return resident megabytes by the number of images so far."""
    process = psutil.Process()
    functions = callers()
    megabytes: dict[int, float] = {}

    def call(number: int) -> None:
        question = QUESTIONS[number % len(QUESTIONS)]
        functions[number % len(functions)](make_image(0, number).data, question)

    with ThreadPoolExecutor(at_once) as pool:
        for start in range(0, images, STEP):
            end = min(start + STEP, images)
            list(pool.map(call, range(start, end)))
            megabytes[end] = round(process.memory_info().rss / 1e6, 1)
            print(f"{end:6} images {megabytes[end]:10.1f} MB", flush=True)
    return megabytes


def main() -> None:
    """Measure and print progress, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    megabytes = measure(options.images, options.at_once)
    seconds = round(time.perf_counter() - begin)
    values = list(megabytes.values())
    early, late = values[max(1, options.images // 4 // STEP) - 1], values[-1]
    print(f"growth {100 * (late / early - 1):.1f}%, from {early} to {late} MB")
    figures = {"early_mb": early, "late_mb": late, "ratio": round(late / early, 4), "mb": megabytes}
    report = {"benchmark": "memory", **vars(options), **describe(), "seconds": seconds, **figures}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
