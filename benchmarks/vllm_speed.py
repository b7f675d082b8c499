"""Speed of a real vLLM on the CPU and of the engine of this process on questions about images.

Both have random weights of follow_up.py's geometry (576 tokens an image) and one thread. vLLM runs
in a separate environment, whose interpreter `--python` names, and answers over loopback. Measured
are new images, follow-up questions, decoding, and eight requests at once: in wall-clock seconds, or
with `--clock processor` in CPU seconds of all of the server's processes or of this one, on which a
busy machine has less effect.

With `--quantization` further engines, whose weights are rounded, take part in the same run.

    python -m benchmarks.vllm_speed --python VENV/bin/python [--rounds 3] [--dtype float32]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil
import torch

from benchmarks.follow_up import SHAPE
from benchmarks.machine import describe
from benchmarks.vllm_server import serve, version, write_for_vllm
from llava_tools import Llava, Message
from llava_tools.bench.contenders import BackendContender, Contender
from llava_tools.bench.workload import make_image
from llava_tools.core.backend import Backend
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.images import ImageRef
from llava_tools.remote import RemoteBackend
from tests.checkpoints import write_checkpoint

#: Limits OpenMP and the BLAS under vLLM to one thread.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FOLLOW_UP = "How many dogs are there, left or right of the line?"
TOKENS = 33
QUESTIONS = 6
#: Largest difference of log-probabilities that another order of summation explains.
TOLERANCE = 1e-3

#: By contender and kind of request.
Seconds = dict[str, dict[str, float]]
#: Returns seconds since an arbitrary point in time.
Clock = Callable[[], float]


class ProcessorTime:
    """CPU seconds of this process, or of another process and its children."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid

    def __call__(self) -> float:
        """Return the seconds so far."""
        if self._pid is None:
            return time.process_time()
        root = psutil.Process(self._pid)
        processes = (root, *root.children(recursive=True))
        times = [process.cpu_times() for process in processes]
        return sum(spent.user + spent.system for spent in times)


def measure(
    contenders: Mapping[str, tuple[Contender, Clock]], rounds: int, at_once: int
) -> Seconds:
    """Return the minimum over all rounds for each contender and kind of request.

    Args:
        contenders: By name, each with its clock.
        rounds: Rounds that count, after one warmup round.
        at_once: Number of concurrent requests.
    """
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in contenders}
    for number in range(rounds + 1):
        pair = (make_image(7, 2 * number), make_image(7, 2 * number + 1))
        many = [
            _request(pair[n % 2], f"How many dogs are in part {n}?", 16) for n in range(at_once)
        ]
        kinds = {
            "new": [_request(pair[0], "What is it?", 1)],
            "follow_up": [_request(pair[0], FOLLOW_UP, 1)],
            "decode": [_request(pair[0], FOLLOW_UP, TOKENS)],
            "at_once": many,
        }
        for kind, requests in kinds.items():
            for name, (contender, clock) in contenders.items():
                before = clock()
                contender.run_all(requests)
                seconds[name].setdefault(kind, []).append(clock() - before)
    return {
        name: {kind: min(times[1:]) for kind, times in by_kind.items()}
        for name, by_kind in seconds.items()
    }


def summarize(seconds: dict[str, float]) -> dict[str, float]:
    """Return a contender's results: seconds, and decoded tokens a second."""
    decoding = seconds["decode"] - seconds["follow_up"]
    return {
        "new_s": seconds["new"],
        "follow_up_s": seconds["follow_up"],
        "tokens_per_s": (TOKENS - 1) / decoding,
        "at_once_s": seconds["at_once"],
    }


def count_agreements(first: Backend, second: Backend, questions: int = QUESTIONS) -> int:
    """Return for how many questions all greedy tokens have equal log-probabilities, to 0.001.

    Texts cannot be compared: random weights generate invalid UTF-8, which servers and this engine
    decode differently.
    """
    agreements = 0
    for number in range(questions):
        question = f"What is in part {number}?"
        request = _request(make_image(8, number), question, TOKENS, logprobs=True)
        left, right = (collect(each.stream(request), "").logprobs for each in (first, second))
        pairs = zip(left, right, strict=False)
        equal = all(abs(a.logprob - b.logprob) < TOLERANCE for a, b in pairs)
        agreements += equal and len(left) == len(right)
    return agreements


def _request(image: ImageRef, question: str, tokens: int, *, logprobs: bool = False) -> Request:
    sampling = SamplingParams(max_tokens=tokens, logprobs=logprobs)
    return Request((Message("user", (image, question)),), sampling)


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of the environment with vLLM")
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "bfloat16"], help="of vLLM"
    )
    parser.add_argument("--quantization", nargs="*", default=[], choices=["4bit", "8bit"])
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--log", type=Path, default=Path("vllm_speed.log"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        source, copy = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        write_checkpoint(source, shape=SHAPE, dtype=torch.bfloat16, endless=True)
        write_for_vllm(source, copy)
        running = serve(
            options.python,
            copy,
            options.port,
            options.log,
            dtype=options.dtype,
            environment=ONE_THREAD,
        )
        server = stack.enter_context(running)
        local = stack.enter_context(Llava(str(source))).backend
        remote = RemoteBackend(f"http://127.0.0.1:{options.port}/v1", image_size=SHAPE.image)
        stack.callback(remote.close)
        header: dict[str, object] = {
            "benchmark": "vllm_speed",
            "vllm_version": version(options.port),
            "dtype": options.dtype,
            "clock": options.clock,
            "questions": QUESTIONS,
            "agreed": count_agreements(local, remote),
        }
        wall = options.clock == "wall"
        own = time.perf_counter if wall else ProcessorTime()
        contenders: dict[str, tuple[Contender, Clock]] = {
            "vllm": (BackendContender("vllm", remote), own if wall else ProcessorTime(server.pid)),
            "engine": (BackendContender("engine", local), own),
        }
        for kind in options.quantization:
            rounded = stack.enter_context(Llava(str(source), quantization=kind)).backend
            contenders[kind] = (BackendContender(kind, rounded), own)
        results = {
            name: summarize(seconds)
            for name, seconds in measure(contenders, options.rounds, options.at_once).items()
        }
    ratios = {
        contender: {name: value / results["vllm"][name] for name, value in result.items()}
        for contender, result in results.items()
        if contender != "vllm"
    }
    for name in results["vllm"]:
        columns = "".join(f"{result[name]:>10.3f}" for result in results.values())
        quotients = "".join(f"{ratio[name]:>10.2f}" for ratio in ratios.values())
        print(f"{name:16}{columns}{quotients}")
    print(f"{', '.join(results)}, then each to vLLM; {options.clock}, the minimum of all rounds")
    print(f"the same greedy tokens: {header['agreed']} of {QUESTIONS} answers")
    report = {**header, "rounds": options.rounds, **describe(), **results, "to_vllm": ratios}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
