"""Forced tokens: forms and tool calls with the tokens that the grammar forces appended, or decoded.

Forms of five fields about a sentence, and single calls of one of three tools. The same prompts are
answered with and without forcing, in turn, in one process; time is that of the whole answer, the
least of the rounds, by the clock and of the processor. Once the prompt is in the KV from an earlier
request, as the tools and forms of agents are, and once it is computed as well.

Then more prompts are answered once each: how many answers are the same text, and the same tokens,
with and without forcing. The control is how many are the same without forcing, alone and eight at
once: in 16 bit, answers depend on how many rows are computed together.

    python -m benchmarks.forced_tokens [--cache DIR] [--rounds 3] [--prompts 6] [--compared 60]

With `--cache`, SmolLM2-135M-Instruct is measured beside the embedded model; see
`benchmarks/real_language_model`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.machine import describe
from benchmarks.real_language_model.checkpoint import prepare
from llava_tools import Llava, Message
from llava_tools.core.constraints import Constraint, ToolSpec
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.grammar_masks import Matcher
from llava_tools.errors import OutputError

TOKENS = 150
NAMES = ("Marie Curie", "Frida Kahlo", "Nelson Mandela", "Ada Lovelace", "Zoë Müller", "Ivo Lund")
PLACES = ("Warsaw, Poland", "Ulm, Germany", "Paris, France", "Lund, Sweden", "Dunedin, New Zealand")
JOBS = ("physicist", "painter", "lawyer", "mathematician", "singer", "C++ programmer")


def _object(**types: str) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in types.items()}
    return {"type": "object", "properties": properties, "required": list(properties)}


FORM = Constraint(
    schema=_object(
        name="string", city="string", country="string", year="integer", profession="string"
    )
)
TOOLS = Constraint(
    (
        ToolSpec("add", "Add two integers.", _object(a="integer", b="integer")),
        ToolSpec("get_weather", "Weather of a day.", _object(place="string", day="integer")),
        ToolSpec("book_train", "Book seats.", _object(destination="string", seats="integer")),
    ),
    "any",
    parallel_tool_calls=False,
)


def prompts(kind: str) -> Iterator[Request]:
    """Yield ever new prompts: `form` or `call`."""
    chance = random.Random(kind)

    def sentence() -> str:
        name, place, job = chance.choice(NAMES), chance.choice(PLACES), chance.choice(JOBS)
        year = chance.randrange(1800, 2000)
        return f"{name} was born in {place}, in {year} and was a {job}."

    def task() -> str:
        place, number = chance.choice(PLACES).split(",")[0], chance.randrange(2, 10)
        return chance.choice(
            (
                f"Add {chance.randrange(100)} and {chance.randrange(100)}.",
                f"What is the weather in {place} on day {number}?",
                f"Book {number} seats on the train to {place}.",
            )
        )

    write, constraint = (sentence, FORM) if kind == "form" else (task, TOOLS)
    while True:
        yield Request((Message("user", (write(),)),), SamplingParams(max_tokens=TOKENS), constraint)


@dataclass(frozen=True)
class Run:
    """One answer: what was compared, and what it took. Cut-off answers have no tokens."""

    text: str
    tokens: tuple[int, ...]
    wall: float
    cpu: float
    steps: int


@contextmanager
def without_forcing() -> Iterator[None]:
    """Have every token decoded."""

    def none(matcher: Matcher, limit: int) -> list[int]:
        return []

    with mock.patch.object(Matcher, "forced_tokens", none):
        yield


def run(engine: LlavaEngine, request: Request) -> Run:
    """Answer a request, and count its steps; only for one request at a time."""
    runner = engine.loop.runner
    steps = mock.Mock(side_effect=runner.run)
    with mock.patch.object(runner, "run", steps):
        wall, cpu = time.perf_counter(), time.process_time()
        text, tokens = read(engine, request)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(text, tokens, wall, cpu, steps.call_count)


def read(engine: LlavaEngine, request: Request) -> tuple[str, tuple[int, ...]]:
    """Return the JSON of an answer and its tokens."""
    try:
        answer = collect(engine.stream(request), "")
    except OutputError as error:
        return str(error), ()
    calls = [[call.name, dict(call.arguments)] for call in answer.tool_calls]
    return answer.text or json.dumps(calls), answer.token_ids


def measure(engine: LlavaEngine, requests: Sequence[Request], rounds: int) -> dict[str, Any]:
    """Return ratios of time, forced to not, over all requests, and the means of both."""
    forced: list[list[Run]] = [[] for _ in requests]
    plain: list[list[Run]] = [[] for _ in requests]
    for number in range(rounds + 1):  # the first round warms up
        for request, with_forcing, without in zip(requests, forced, plain, strict=True):
            for runs in (with_forcing, without) if number % 2 else (without, with_forcing):
                with nullcontext() if runs is with_forcing else without_forcing():
                    runs.append(run(engine, request))

    def least(kind: list[list[Run]], field: str) -> float:
        return float(sum(min(getattr(item, field) for item in runs[1:]) for runs in kind))

    count = len(requests)
    return {
        "wall_ratio": round(least(forced, "wall") / least(plain, "wall"), 3),
        "cpu_ratio": round(least(forced, "cpu") / least(plain, "cpu"), 3),
        "tokens": round(sum(len(runs[0].tokens) for runs in plain) / count, 1),
        "steps": round(least(forced, "steps") / count, 1),
        "steps_without": round(least(plain, "steps") / count, 1),
        "ms": round(1e3 * least(forced, "wall") / count, 1),
        "ms_without": round(1e3 * least(plain, "wall") / count, 1),
        "same": sum(a[0].text == b[0].text for a, b in zip(forced, plain, strict=True)),
        "of": count,
    }


def compare(engine: LlavaEngine, requests: Sequence[Request]) -> dict[str, int]:
    """Return how many answers are the same with and without forcing, and alone and at once."""
    forced = [read(engine, request) for request in requests]
    with without_forcing():
        plain = [read(engine, request) for request in requests]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda request: read(engine, request), requests))
    pairs = list(zip(forced, plain, together, strict=True))
    return {
        "same_text": sum(a[0] == b[0] for a, b, _ in pairs),
        "same_tokens": sum(a[1] == b[1] for a, b, _ in pairs),
        "control": sum(b[0] == c[0] for _, b, c in pairs),
        "of": len(pairs),
    }


def report(name: str, source: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row of figures for each kind of prompt."""
    for kind in ("form", "call"):
        row: dict[str, Any] = {"model": name, "kind": kind}
        requests = list(itertools.islice(prompts(kind), options.prompts))
        for caching in (True, False):
            with Llava(source, dtype=options.dtype, prefix_caching=caching) as llava:
                engine = llava.backend
                assert isinstance(engine, LlavaEngine)
                row["dtype"] = engine.device
                place = "prompt_in_kv" if caching else "prompt_computed"
                row[place] = measure(engine, requests, options.rounds)
                if not caching and options.compared:
                    some = itertools.islice(prompts(kind), 1000, 1000 + options.compared)
                    row["compared"] = compare(engine, list(some))
        yield row


def main() -> None:
    """Measure and print a line for each kind, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, help="folder of the real language model")
    parser.add_argument("--model", choices=["tiny", "real"], help="only one of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=6, help="prompts that are timed")
    parser.add_argument("--compared", type=int, default=60, help="prompts that are compared")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sources = {"tiny": "tiny"} if options.model != "real" else {}
    if options.cache is not None and options.model != "tiny":
        sources["real"] = str(prepare(options.cache))
    rows = []
    for name, source in sources.items():
        for row in report(name, source, options):
            rows.append(row)
            print(json.dumps(row), flush=True)
    print(json.dumps({"benchmark": "forced_tokens", **describe(), "rows": rows}))


if __name__ == "__main__":
    main()
