"""How well the engine uses a GPU: equality, decoding, many streams, cached images, memory, 4 bits.

On CUDA: answers in float32 are compared with `generate` at a small geometry; then random weights of
LLaVA-1.5-7B's real shape in 16 bit (14 GB of temporary files) are run by the engine that users run,
within 8 minutes on an H200. Without CUDA, or with `--small`: all of it at a small geometry with 576
tokens per image; those figures only show that the benchmark works. It has never been run on a GPU.

Decoding is compared to the memory bandwidth of the same run: the bytes read per token (weights and
the KV before it) against the bytes per second of summing or copying a large tensor.

    python -m benchmarks.gpu [--small] [--rounds 3] [--tokens 128] [--streams 16] [--threads 1]
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch

from benchmarks import load_7b
from benchmarks.follow_up import SHAPE
from benchmarks.machine import describe
from llava_tools.bench.contenders import BackendContender
from llava_tools.bench.generate import GenerateContender
from llava_tools.bench.workload import make_image
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.engine import load_engine
from llava_tools.engine.bandwidth import bytes_per_token, measure_memory, weight_bytes
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import ModelError
from llava_tools.images import ImageRef
from llava_tools.options import EngineOptions
from tests.checkpoints import write_checkpoint

FOUR_BIT_LIMIT = 7_400_000_000
"""Bytes that torch may allocate on the GPU with 4-bit weights; the CUDA context comes on top."""

#: Conversations that are compared with `generate`, and tokens of each answer.
CONVERSATIONS, ANSWER_TOKENS = 16, 24


@dataclass(frozen=True)
class Speed:
    """Medians of all rounds.

    Attributes:
        decode: Tokens per second of one stream after its first token.
        one_stream: Tokens per second of one stream, from request to end.
        many_streams: The same of all streams together.
        new_image: Seconds to the first token about a new image.
        follow_up: Seconds to the first token about a cached image.
    """

    decode: float
    one_stream: float
    many_streams: float
    new_image: float
    follow_up: float


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        read_per_token: That decoding reads for a token at batch 1.
        held: Of weights and KV.
        peak: In use at most since before the load; None where it cannot be measured.
        four_bit: In use at most with 4-bit weights, CUDA context included; None if it cannot run.
        refusal: Why `four_bit` is None.
    """

    read_per_token: float
    held: int
    peak: int | None
    four_bit: int | None
    refusal: str = ""


@dataclass(frozen=True)
class Goal:
    """A figure and its limit at the 7B's geometry on a GPU.

    Attributes:
        name: For the table and the JSON line.
        figure: None if it cannot be measured.
        limit: The lowest or highest value that meets the goal.
        is_minimum: Whether `limit` is the lowest.
        reason: Why there is no figure.
    """

    name: str
    figure: float | None
    limit: float
    is_minimum: bool
    reason: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure meets the goal; None without a figure."""
        if self.figure is None:
            return None
        return self.figure >= self.limit if self.is_minimum else self.figure <= self.limit


def goals(bandwidth: float, speed: Speed, memory: Memory) -> list[Goal]:
    """Return the figures that follow from the measurements; `bandwidth` in bytes per second."""
    decode = speed.decode * memory.read_per_token / bandwidth
    streams = speed.many_streams / speed.one_stream
    follow_up = speed.follow_up / speed.new_image
    peak = None if memory.peak is None else memory.peak / memory.held
    four_bit = None if memory.four_bit is None else memory.four_bit / 1e9
    return [
        Goal("decode_to_bandwidth", decode, 0.7, is_minimum=True),
        Goal("streams_to_one", streams, 8.0, is_minimum=True),
        Goal("follow_up_to_new", follow_up, 0.1, is_minimum=False),
        Goal("peak_to_weights_and_kv", peak, 1.1, is_minimum=False, reason="needs CUDA or Linux"),
        Goal("four_bit_gb", four_bit, 8.0, is_minimum=False, reason=memory.refusal),
    ]


def table(goals: Sequence[Goal], *, small: bool) -> str:
    """Format figures for a terminal; at a small geometry, leave out whether goals are met."""
    lines = [f"{'':26}{'figure':>10}{'goal':>12}"]
    for goal in goals:
        figure = "-" if goal.figure is None else f"{goal.figure:.3f}"
        sign = ">=" if goal.is_minimum else "<="
        line = f"{goal.name:26}{figure:>10}{sign:>6}{goal.limit:>6}"
        if goal.figure is None:
            line += f"  {goal.reason}"
        elif not small:
            line += "  met" if goal.met else "  missed"
        lines.append(line)
    if small:
        lines.append("Scaled down: the goals are for a 7B on a GPU.")
    return "\n".join(lines)


def equality(folder: Path) -> Goal:
    """Return the share of greedy answers in float32 that are `generate`'s, alone and at once."""
    write_checkpoint(folder, shape=SHAPE, endless=True)
    options = EngineOptions(str(folder), dtype="float32")
    conversations = [
        _request(make_image(3, number // 2), f"What is number {number} of these?", ANSWER_TOKENS)
        for number in range(CONVERSATIONS)
    ]
    reference = GenerateContender(options)
    expected = [reference.tokens(item.messages, ANSWER_TOKENS) for item in conversations]
    del reference
    with closing(load_engine(options)) as engine:

        def answer(request: Request) -> list[int]:
            return list(collect(engine.stream(request), "").token_ids)

        alone = [answer(item) for item in conversations]
        with ThreadPoolExecutor(CONVERSATIONS) as pool:
            together = list(pool.map(answer, conversations))
    pairs = zip([*alone, *together], [*expected, *expected], strict=True)
    equal = [tokens == other for tokens, other in pairs]
    return Goal("equal_answers", statistics.mean(equal), 1.0, is_minimum=True)


def measure(
    folder: Path, rounds: int, tokens: int, streams: int
) -> tuple[float, Speed, Memory, dict[str, Any]]:
    """Measure bandwidth, an engine with the checkpoint's weights, and one with 4-bit weights.

    The last of the results says by which means the engine ran, and its speed without graphs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bandwidth = measure_memory(device)
    tracked = _PeakMemory(device)
    with tracked.tracking():
        engine = load_engine(EngineOptions(str(folder)))
        _progress("loaded")
        speed = measure_speed(engine, rounds, tokens, streams)
    request = _request(make_image(0, 0), "Describe it.", tokens)
    read = bytes_per_token(engine, engine.count_tokens(request) + tokens // 2)
    vision = engine.loaded.model.model
    parts = (vision.vision_tower, vision.multi_modal_projector, engine.decoder)
    held = weight_bytes(*parts, engine.loaded.model.get_input_embeddings())
    held += sum(item.nbytes for item in (*engine.cache.keys, *engine.cache.values))
    means = _means(engine, tokens, streams)
    peak = tracked.peak()
    engine.close()
    del engine, vision, parts
    gc.collect()  # the engine and its KV refer to each other
    _progress("4 bit")
    return bandwidth, speed, Memory(read, held, peak, *_four_bit(folder, device)), means


def _means(engine: LlavaEngine, tokens: int, streams: int) -> dict[str, Any]:
    """Return what decoded, and how fast it is without graphs."""
    runner = engine.loop.runner
    graphs, runner.graphs = runner.graphs, None
    without = measure_speed(engine, 1, tokens, streams) if graphs else None
    runner.graphs = graphs
    layers: Any = getattr(engine.decoder, "layers", None)
    return {
        "graphs": graphs is not None and graphs.in_use,
        "layers": type(layers[0]).__name__ if layers else None,
        "decode_without_graphs": without and without.decode,
        "many_streams_without_graphs": without and without.many_streams,
    }


def measure_speed(engine: LlavaEngine, rounds: int, tokens: int, streams: int) -> Speed:
    """Run all requests of each round; the first round warms up."""
    server = BackendContender("engine", engine)
    results: list[tuple[float, float, float, float, float]] = []
    for number in range(rounds + 1):
        image = make_image(1, number)
        new = server.run(_request(image, "What is in the picture?", 1))
        follow_up = server.run(_request(image, "What is the colour of the ground?", 1))
        long = server.run(_request(image, "Describe it.", tokens))
        seconds = server.run_all(
            [_request(image, f"Describe part {n} of it.", tokens) for n in range(streams)]
        )
        decode = long.tokens_per_s
        assert decode is not None
        one_stream, many_streams = long.tokens / long.total, streams * tokens / seconds
        results.append((decode, one_stream, many_streams, new.first, follow_up.first))
        _progress(f"round {number} of {rounds}: {decode:.1f} tokens/s")
    return Speed(*(statistics.median(values) for values in zip(*results[1:], strict=True)))


def _request(image: ImageRef, question: str, tokens: int) -> Request:
    return Request((Message("user", (image, question)),), SamplingParams(max_tokens=tokens))


class _PeakMemory:
    """Tracks peak memory from its creation on: of the GPU, or of this process on Linux.

    The engine resets torch's peak when it tries its largest step, which is noted before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._gpu = device.type == "cuda"
        self._reset = Path("/proc/self/clear_refs")
        self._before = 0 if self._gpu else psutil.Process().memory_info().rss
        self._highest = 0

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Track until the end of the context."""
        if not self._gpu:
            if self._reset.exists():
                self._reset.write_text("5")  # sets the peak to what is resident now
            yield
            return
        torch.cuda.empty_cache()
        reset = torch.cuda.reset_peak_memory_stats
        reset(self._device)

        def noting(device: Any = None) -> None:
            self._highest = max(self._highest, torch.cuda.max_memory_allocated(device))
            reset(device)

        with patch.object(torch.cuda, "reset_peak_memory_stats", noting):
            yield

    def peak(self) -> int | None:
        """Return bytes, or None where they cannot be measured."""
        if self._gpu:
            return max(self._highest, torch.cuda.max_memory_allocated(self._device))
        return load_7b.peak_bytes() - self._before if self._reset.exists() else None


def _four_bit(folder: Path, device: torch.device) -> tuple[int | None, str]:
    """Return the peak bytes with 4-bit weights on a GPU limited to 8 GB, or why there are none."""
    if device.type != "cuda":
        return None, "needs CUDA"
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info(device)[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, FOUR_BIT_LIMIT / total), device)
    tracked = _PeakMemory(device)
    try:
        with tracked.tracking(), closing(_load_4bit(folder)) as engine:
            BackendContender("4 bit", engine).run(_request(make_image(2, 0), "What is it?", 8))
            free, total = torch.cuda.mem_get_info(device)
            context = total - free - torch.cuda.memory_reserved(device)
    except ModelError as error:  # no bitsandbytes, or no room
        return None, str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    peak = tracked.peak()
    assert peak is not None
    return peak + context, ""


def _load_4bit(folder: Path) -> LlavaEngine:
    return load_engine(EngineOptions(str(folder), quantization="4bit"))


_START = time.perf_counter()


def _progress(stage: str) -> None:
    sys.stderr.write(f"{time.perf_counter() - _START:6.0f} s  {stage}\n")


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small geometry, also on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a long answer, > 1")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--folder", type=Path, help="folder for 14 GB of temporary files")
    options = parser.parse_args()
    if options.rounds < 1 or options.tokens < 2 or options.streams < 1:
        parser.error("at least one round, two tokens and one stream are needed")
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(options.threads)
    small = options.small or not torch.cuda.is_available()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        equal = equality(folder / "equality")
        _progress(f"{equal.figure:.0%} of the answers are those of generate")
        if small:
            write_checkpoint(folder / "model", shape=SHAPE, dtype=torch.bfloat16, endless=True)
        else:
            load_7b.write(folder / "model", layers=32)
        _progress("written")
        bandwidth, speed, memory, means = measure(
            folder / "model", options.rounds, options.tokens, options.streams
        )
    finally:
        shutil.rmtree(folder)
    results = [equal, *goals(bandwidth, speed, memory)]
    print(table(results, small=small))
    report: dict[str, Any] = {"benchmark": "gpu", "geometry": "small" if small else "7b"}
    report |= describe()
    report |= {"rounds": options.rounds, "tokens": options.tokens, "streams": options.streams}
    report |= {goal.name: goal.figure and round(goal.figure, 4) for goal in results}
    measured = {"bandwidth": bandwidth, **asdict(speed), **asdict(memory), **means}
    print(json.dumps(report | {"measured": measured}))


if __name__ == "__main__":
    main()
