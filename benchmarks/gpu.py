"""What a GPU is used for: decoding, many streams, known images, memory, 4 bits.

On CUDA: random weights of LLaVA-1.5-7B's real shape in 16 bit (14 GB are written for a while), run
by the engine that users run. Without CUDA, or with `--small`, the same is measured at a small
geometry with 576 tokens an image; those figures say that the measuring works, not how fast a GPU
is. Decoding is compared to the memory bandwidth seen in the same run: the bytes that a token takes
to read, its weights and the KV before it, by the bytes a second that a sum or a copy gets through.

    python -m benchmarks.gpu [--small] [--rounds 5] [--tokens 128] [--streams 16] [--threads 1]
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from benchmarks import load_7b
from benchmarks.follow_up import SHAPE
from benchmarks.machine import describe
from llava_tools.bench import Behind, Run
from llava_tools.bench.workload import make_image
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.engine import load_engine
from llava_tools.engine.cpu.linear import PackedLinear
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import ModelError
from llava_tools.images import ImageRef
from llava_tools.options import EngineOptions
from tests.checkpoints import write_checkpoint

#: What torch may take on the GPU while 4 bits are measured; the CUDA context comes on top of it.
CAP = 7_400_000_000


@dataclass(frozen=True)
class Measured:
    """What was measured, in seconds, bytes and tokens.

    Attributes:
        ceiling: Bytes a second that a sum or a copy of a large tensor gets through.
        read: Bytes that have to be read for a token at batch 1.
        rate: Tokens a second of one stream after its first.
        one: Tokens a second of one stream from the asking to its end.
        many: The same of all streams together.
        new: Seconds to the first token about an image never seen.
        follow_up: The same about an image that was asked about before.
        held: Bytes of weights and KV.
        peak: Bytes in use at most since before the load; None where nobody counts them.
        four_bit: Bytes in use at most with 4-bit weights, the CUDA context among them.
        refusal: Why `four_bit` is None.
    """

    ceiling: float
    read: float
    rate: float
    one: float
    many: float
    new: float
    follow_up: float
    held: int
    peak: int | None
    four_bit: int | None
    refusal: str = ""


@dataclass(frozen=True)
class Goal:
    """A figure beside what it should be at the 7B's geometry on a GPU.

    Attributes:
        name: For the table and the JSON line.
        figure: None where it could not be measured.
        limit: It should be at least this, or at most.
        least: Whether at least.
        why: Why there is no figure.
    """

    name: str
    figure: float | None
    limit: float
    least: bool
    why: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the figure is what it should be; None without one."""
        if self.figure is None:
            return None
        return self.figure >= self.limit if self.least else self.figure <= self.limit


def goals(seen: Measured) -> list[Goal]:
    """Return the figures that follow from what was measured."""
    memory = None if seen.peak is None else seen.peak / seen.held
    small = None if seen.four_bit is None else seen.four_bit / 1e9
    return [
        Goal("decode_to_bandwidth", seen.rate * seen.read / seen.ceiling, 0.8, least=True),
        Goal("streams_to_one", seen.many / seen.one, 10.0, least=True),
        Goal("follow_up_to_new", seen.follow_up / seen.new, 0.1, least=False),
        Goal("peak_to_weights_and_kv", memory, 1.1, least=False, why="needs CUDA or Linux"),
        Goal("four_bit_gb", small, 8.0, least=False, why=seen.refusal),
    ]


def table(found: Sequence[Goal], *, small: bool) -> str:
    """Lay figures out for a terminal; at a small geometry without saying which goals were met."""
    lines = [f"{'':26}{'figure':>10}{'goal':>12}"]
    for goal in found:
        told = "-" if goal.figure is None else f"{goal.figure:.3f}"
        line = f"{goal.name:26}{told:>10}{'>=' if goal.least else '<=':>6}{goal.limit:>6}"
        if goal.figure is None:
            line += f"  {goal.why}"
        elif not small:
            line += "  met" if goal.reached else "  missed"
        lines.append(line)
    if small:
        lines.append("Scaled down: not a 7B on a GPU, which is what the goals are about.")
    return "\n".join(lines)


def bandwidth(device: torch.device) -> float:
    """Return bytes a second: the better of summing a tensor and copying it, of seven tries each."""
    on_gpu = device.type == "cuda"
    source = torch.ones(1 << (30 if on_gpu else 27), device=device)
    target = torch.empty_like(source)
    return max(
        moved * source.nbytes / min(_seconds(work, device) for _ in range(7))
        for moved, work in ((1, source.sum), (2, lambda: target.copy_(source)))
    )


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    begin = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def held(*modules: nn.Module) -> int:
    """Return the bytes of modules' weights, those that are packed among them."""
    total = 0
    for module in modules:
        total += sum(one.nbytes for one in chain(module.parameters(), module.buffers()))
        packed = (one for one in module.modules() if isinstance(one, PackedLinear))
        total += sum(2 * one.out_features * one.in_features for one in packed)
    return total


def measure(folder: Path, rounds: int, tokens: int, streams: int) -> Measured:
    """Measure an engine with a checkpoint's weights, then one with 4 bits of them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ceiling = bandwidth(device)
    memory = _Memory(device)
    engine = load_engine(EngineOptions(str(folder)))
    timed = _ask(engine, rounds, tokens, streams)
    room, per_token = engine.kv
    model: Any = engine.loaded.model
    words = model.model.language_model
    read = held(words, model.lm_head) - held(words.embed_tokens)
    weights = held(model)
    request = _request(make_image(0, 0), "Describe it.", tokens)
    read += per_token * (engine.count_tokens(request) + tokens // 2)
    peak = memory.peak()
    engine.close()
    del engine, model, words
    gc.collect()  # the engine and its KV refer to each other
    four_bit, refusal = _four_bit(folder, device)
    return Measured(ceiling, read, *timed, weights + room * per_token, peak, four_bit, refusal)


def _ask(
    engine: LlavaEngine, rounds: int, tokens: int, streams: int
) -> tuple[float, float, float, float, float]:
    """Return `rate`, `one`, `many`, `new` and `follow_up`, medians of all rounds but the first."""
    asked = Behind("engine", engine)
    seen: list[tuple[float, float, float, float, float]] = []
    for number in range(rounds + 1):
        image = make_image(1, number)
        new = asked.run(_request(image, "What is in the picture?", 1))
        again = asked.run(_request(image, "What is the colour of the ground?", 1))
        long = asked.run(_request(image, "Describe it.", tokens))
        many = asked.run_all(
            [_request(image, f"Describe part {n} of it.", tokens) for n in range(streams)]
        )
        rate = _rate(long)
        one = long.tokens / long.total
        seen.append((rate, one, streams * tokens / many, new.first, again.first))
    rate, one, together, first, follow_up = (
        statistics.median(values) for values in zip(*seen[1:], strict=True)
    )
    return rate, one, together, first, follow_up


def _rate(run: Run) -> float:
    rate = run.tokens_per_s
    assert rate is not None
    return rate


def _request(image: ImageRef, question: str, tokens: int) -> Request:
    return Request((Message("user", (image, question)),), SamplingParams(max_tokens=tokens))


class _Memory:
    """Counts what is in use at most from here on: on the GPU, or of this process on Linux."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._reset = Path("/proc/self/clear_refs")
        self._before = 0 if self._gpu else psutil.Process().memory_info().rss
        if self._gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        elif self._reset.exists():
            self._reset.write_text("5")  # sets the peak to what is resident now

    def peak(self) -> int | None:
        """Return bytes, or None where nobody counts them."""
        if self._gpu:
            return torch.cuda.max_memory_allocated()
        return load_7b.peak_bytes() - self._before if self._reset.exists() else None


def _four_bit(folder: Path, device: torch.device) -> tuple[int | None, str]:
    """Return the bytes that 4-bit weights took on a GPU of 8 GB, or why they are not known."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction(min(1.0, CAP / total))
        torch.cuda.reset_peak_memory_stats()
    try:
        engine = load_engine(EngineOptions(str(folder), quantization="4bit"))
    except ModelError as error:  # no CUDA, no bitsandbytes, or no room
        return None, str(error)
    Behind("4 bit", engine).run(_request(make_image(2, 0), "What is it?", 8))
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved()
    engine.close()
    return torch.cuda.max_memory_reserved() + context, ""


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the small geometry on a GPU too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128, help="of a long answer, > 1")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of a CPU")
    parser.add_argument("--folder", type=Path, help="where 14 GB may lie for a while")
    options = parser.parse_args()
    if options.rounds < 1 or options.tokens < 2 or options.streams < 1:
        parser.error("at least one round, two tokens and one stream are needed")
    torch.set_num_threads(options.threads)
    small = options.small or not torch.cuda.is_available()
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        if small:
            write_checkpoint(folder, shape=SHAPE, dtype=torch.bfloat16, endless=True)
        else:
            load_7b.write(folder, layers=32)
        seen = measure(folder, options.rounds, options.tokens, options.streams)
    finally:
        shutil.rmtree(folder)
    found = goals(seen)
    print(table(found, small=small))
    told: dict[str, Any] = {
        "benchmark": "gpu",
        "geometry": "small" if small else "7b",
        **describe(),
    }
    told |= {"rounds": options.rounds, "tokens": options.tokens, "streams": options.streams}
    told |= {one.name: None if one.figure is None else round(one.figure, 4) for one in found}
    print(json.dumps(told | {"measured": asdict(seen)}))


if __name__ == "__main__":
    main()
