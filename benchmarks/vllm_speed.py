"""What a real vLLM on the CPU and the engine of this process take for questions about images.

Both have the random weights of follow_up.py's geometry (576 tokens an image) and one thread. vLLM
lives in an environment of its own, whose interpreter is named, and is asked over loopback, as its
users ask it. New and known images, decoding, eight at once; in seconds of the clock, or with
`--clock processor` in those that all of the server's processes and this one spent, which a busy
machine changes less.

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
from benchmarks.vllm_server import served, version, write_for_vllm
from llava_tools import Llava, Message
from llava_tools.bench import Behind, Contender
from llava_tools.bench.workload import make_image
from llava_tools.core.backend import Backend
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.images import ImageRef
from llava_tools.remote import RemoteBackend
from tests.checkpoints import write_checkpoint

#: Where OpenMP and the BLAS underneath vLLM look for how many threads to use.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
AGAIN = "How many dogs are there, left or right of the line?"
TOKENS = 33
QUESTIONS = 6
#: By how much log-probabilities may differ that are summed in another order.
NEAR = 1e-3

#: By contender and kind of question.
Seconds = dict[str, dict[str, float]]
#: Tells seconds, from any point on.
Clock = Callable[[], float]


class Spent:
    """Processor seconds of this process, or of another one and those that it started."""

    def __init__(self, pid: int | None = None) -> None:
        self._pid = pid

    def __call__(self) -> float:
        """Return the seconds so far."""
        if self._pid is None:
            return time.process_time()
        root = psutil.Process(self._pid)
        times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def measure(who: Mapping[str, tuple[Contender, Clock]], rounds: int, at_once: int) -> Seconds:
    """Return the least seconds that everybody took for each kind of question.

    Args:
        who: Contenders by name, with the clocks that count.
        rounds: That count; one before them warms up.
        at_once: Questions that come together.
    """
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in who}
    for number in range(rounds + 1):
        pair = (make_image(7, 2 * number), make_image(7, 2 * number + 1))
        many = [_asked(pair[n % 2], f"How many dogs are in part {n}?", 16) for n in range(at_once)]
        asked = {
            "new": [_asked(pair[0], "What is it?", 1)],
            "follow_up": [_asked(pair[0], AGAIN, 1)],
            "decode": [_asked(pair[0], AGAIN, TOKENS)],
            "at_once": many,
        }
        for kind, requests in asked.items():
            for name, (one, clock) in who.items():
                before = clock()
                one.run_all(requests)
                seen[name].setdefault(kind, []).append(clock() - before)
    return {
        name: {kind: min(times[1:]) for kind, times in kinds.items()}
        for name, kinds in seen.items()
    }


def figures(seconds: dict[str, float]) -> dict[str, float]:
    """Return what is told of a contender: seconds, and tokens a second of decoding."""
    took = seconds["decode"] - seconds["follow_up"]
    told = {"new_s": seconds["new"], "follow_up_s": seconds["follow_up"]}
    return told | {"tokens_per_s": (TOKENS - 1) / took, "at_once_s": seconds["at_once"]}


def agreed(one: Backend, other: Backend, questions: int = QUESTIONS) -> int:
    """Return for how many questions every greedy token has the same log-probability, to 0.001.

    Random weights write bytes that are no text, which servers and this engine show differently.
    """
    found = 0
    for number in range(questions):
        asked = _asked(make_image(8, number), f"What is in part {number}?", TOKENS, logprobs=True)
        (first, second) = (collect(each.stream(asked), "").logprobs for each in (one, other))
        pairs = zip(first, second, strict=False)
        same = all(abs(a.logprob - b.logprob) < NEAR for a, b in pairs)
        found += same and len(first) == len(second)
    return found


def _asked(image: ImageRef, question: str, tokens: int, *, logprobs: bool = False) -> Request:
    sampling = SamplingParams(max_tokens=tokens, logprobs=logprobs)
    return Request((Message("user", (image, question)),), sampling)


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of the environment that has vLLM")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="its")
    parser.add_argument("--clock", default="wall", choices=["wall", "processor"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--log", type=Path, default=Path("vllm_speed.log"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with ExitStack() as stack:
        ours, theirs = (Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2))
        write_checkpoint(ours, shape=SHAPE, dtype=torch.bfloat16, endless=True)
        write_for_vllm(ours, theirs)
        started = served(
            options.python,
            theirs,
            options.port,
            options.log,
            dtype=options.dtype,
            environment=ONE_THREAD,
        )
        server = stack.enter_context(started)
        told: dict[str, object] = {"benchmark": "vllm_speed"}
        told |= {"vllm_version": version(options.port)}
        told |= {"dtype": options.dtype, "clock": options.clock, "questions": QUESTIONS}
        here = stack.enter_context(Llava(str(ours))).backend
        there = RemoteBackend(f"http://127.0.0.1:{options.port}/v1", side=SHAPE.image)
        stack.callback(there.close)
        told["agreed"] = agreed(here, there)
        wall = options.clock == "wall"
        who: dict[str, tuple[Contender, Clock]] = {
            "vllm": (Behind("vllm", there), time.perf_counter if wall else Spent(server.pid)),
            "engine": (Behind("engine", here), time.perf_counter if wall else Spent()),
        }
        found = {
            name: figures(seconds)
            for name, seconds in measure(who, options.rounds, options.at_once).items()
        }
    ratios = {
        f"{name}_ratio": found["engine"][name] / found["vllm"][name] for name in found["vllm"]
    }
    for name in found["vllm"]:
        both = "".join(f"{found[one][name]:>10.3f}" for one in who)
        print(f"{name:16}{both}{ratios[name + '_ratio']:>10.2f}")
    print(f"vLLM, the engine, the engine to vLLM; {options.clock}, the least of all rounds")
    print(f"the same greedy tokens: {told['agreed']} of {QUESTIONS} answers")
    print(json.dumps({**told, "rounds": options.rounds, **describe(), **found, **ratios}))


if __name__ == "__main__":
    main()
