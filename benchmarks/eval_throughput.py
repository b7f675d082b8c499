"""Evaluation against `generate` at batch 1: samples a second of the runner of `llava-tools eval`.

Random weights of a small geometry with LLaVA 1.5's 576 tokens per image (vision 256x6, language
768x12), stored in bfloat16. Both sides answer the same questions about the same image files, with
the same prompts, number format and greedy sampling; an answer is as long as a word or phrase is
(`--tokens`). `generate` takes a sample at a time, opens its image and computes all of its prompt,
as LLaVA's own scripts do. The two take turns in one process, each round with new images.

What is won depends on the number of questions about an image. The benchmarks have 1 (VizWiz,
ScienceQA-IMG, MM-Vet), 1.6 (TextVQA), 2 (MME), about 4 (MMBench with its circular rows), 5.3
(VQAv2), 18 (POPE), 32 (GQA); all twelve together have 3 or more. Ratios are of seconds of the
clock and of the processor, which differ on a busy machine.

    python -m benchmarks.eval_throughput [--per-image 1,2,3,5,18] [--samples 24] [--rounds 2]
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from transformers import AutoTokenizer

from benchmarks.machine import describe
from llava_tools import Llava, Message, open_image
from llava_tools.bench.generate import GenerateContender
from llava_tools.engine.tokenizer import IncrementalDecoder
from llava_tools.evaluation.answer_log import AnswerLog
from llava_tools.evaluation.runner import AT_ONCE, answer_samples
from llava_tools.evaluation.task import Sample
from recipes.drawn_benchmarks.files import SHORT
from recipes.drawn_benchmarks.scenes import draw_item, existence_question
from recipes.tiny_llava.things import COLOURS, SHAPES
from tests.checkpoints import Geometry, write_checkpoint

SHAPE = Geometry(vision=(256, 6), language=(768, 12), image=336, context_length=2048)
SIZE = (640, 480)  # pixels of COCO's images
_IMAGES = 6  # of a round, at least

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Clocks:
    """Seconds of the clock, and of the processor in all threads."""

    wall: float = 0.0
    processor: float = 0.0

    def time(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function and add what it took."""
        wall, processor = time.perf_counter(), time.process_time()
        result = work(*args, **kwargs)
        self.processor += time.process_time() - processor
        self.wall += time.perf_counter() - wall
        return result


def draw_samples(
    folder: Path, seeds: Iterator[int], count: int, per_image: int, tokens: int
) -> list[Sample]:
    """Write images and return questions about them: POPE's, with LLaVA's request to be short."""
    samples: list[Sample] = []
    while len(samples) < count:
        seed = next(seeds)
        path = folder / f"{seed}.jpg"
        draw_item("count", seed).image.resize(SIZE).save(path, quality=90)
        things = [(colour, shape) for colour in COLOURS for shape in SHAPES]
        np.random.default_rng(seed).shuffle(things)
        for number, thing in enumerate(things[: min(per_image, count - len(samples))]):
            text = f"{existence_question(*thing, there=True).text}\n{SHORT}"
            samples.append(Sample(f"{seed} {number}", text, path, max_tokens=tokens))
    return samples


def measure(
    model: Llava, reference: GenerateContender, per_image: int, options: argparse.Namespace
) -> dict[str, float]:
    """Return samples a second of both sides, and their ratios."""
    tokenizer = AutoTokenizer.from_pretrained(model.options.model)
    seeds = itertools.count(10_000 * per_image)
    least = max(options.samples, _IMAGES * per_image)
    ours, theirs = Clocks(), Clocks()
    equal: list[bool] = []
    for turn in range(options.rounds + 1):  # the first one warms up
        if turn == 1:
            ours, theirs = Clocks(), Clocks()
        count = least if turn else per_image
        with tempfile.TemporaryDirectory() as name:
            samples = draw_samples(Path(name), seeds, count, per_image, options.tokens)
            actual = ours.time(_run, model, samples, Path(name) / "log.jsonl", options.at_once)
            tokens = theirs.time(lambda s: [_generate(reference, x) for x in s], samples)
        expected = [_decode(tokenizer, ids) for ids in tokens]
        equal += [a == b for a, b in zip(actual, expected, strict=True)]
    total = least * options.rounds
    return {
        "per_image": per_image,
        "runner_samples_per_s": round(total / ours.wall, 3),
        "generate_samples_per_s": round(total / theirs.wall, 3),
        "ratio": round(theirs.wall / ours.wall, 2),
        "ratio_of_processor_seconds": round(theirs.processor / ours.processor, 2),
        "answers_equal": round(sum(equal) / len(equal), 3),
    }


def _run(model: Llava, samples: Sequence[Sample], path: Path, at_once: int) -> list[str]:
    with AnswerLog(path, [sample.id for sample in samples]) as log:
        answers = answer_samples(model.backend, samples, log, at_once=at_once)
    return [answers[sample.id] for sample in samples]


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return the text as the engine does; random weights answer with halves of characters, too."""
    decoder = IncrementalDecoder(partial(tokenizer.decode, skip_special_tokens=True))
    return ("".join(map(decoder.step, ids)) + decoder.rest()).strip()


def _generate(reference: GenerateContender, sample: Sample) -> list[int]:
    assert isinstance(sample.image, Path)
    messages = (Message("user", (open_image(sample.image), sample.question)),)
    return reference.tokens(messages, sample.max_tokens)


def main() -> None:
    """Measure and print a line for each number of questions, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--per-image", default="1,2,3,5,18", help="questions about an image, a list"
    )
    parser.add_argument("--samples", type=int, default=24, help="of a round, at least")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=3, help="of an answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), shape=SHAPE, dtype=torch.bfloat16, endless=True)
        with Llava(folder, dtype=options.dtype) as model:
            reference = GenerateContender(model.options)
            for per_image in map(int, options.per_image.split(",")):
                figures.append(measure(model, reference, per_image, options))
                print(figures[-1], flush=True)
    print(
        json.dumps(
            {"benchmark": "eval_throughput", **vars(options), **describe(), "figures": figures}
        )
    )


if __name__ == "__main__":
    main()
