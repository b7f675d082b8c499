"""JSON schemas of other packages: how many can be enforced, and whether answers are valid.

Compiles all pydantic models of `tests/foreign_schemas.py` with the embedded model's tokenizer. Then
requests answers to `--requests` of them, drawn at random: greedy and at temperature 1, from the
embedded model and from random weights. An answer is valid, or cut off by `max_tokens`, or refused
beforehand (because of its schema or the context it needs); anything else counts as wrong.

    python -m benchmarks.schemas [--requests 60] [--max-tokens 300]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema

from benchmarks.machine import describe
from llava_tools import Llava, Message
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.grammar_masks import GrammarCache
from llava_tools.errors import OutputError, RequestError
from tests.checkpoints import write_checkpoint
from tests.foreign_schemas import foreign_schemas

CONCURRENCY = 8


def compile_all(grammars: GrammarCache) -> dict[str, Any]:
    """Return how many schemas are enforced, why others are not, and compile times in ms."""
    refused: Counter[str] = Counter()
    times = []
    schemas = foreign_schemas()
    for _, schema in schemas:
        begin = time.perf_counter()
        try:
            grammars.matcher(Constraint(schema=schema))
        except RequestError as error:
            too_large = "characters" in error.message
            refused["larger than 65,536 characters" if too_large else error.message] += 1
        times.append(1e3 * (time.perf_counter() - begin))
    times.sort()
    return {
        "schemas": len(schemas),
        "enforced": len(schemas) - refused.total(),
        "refused": dict(refused.most_common()),
        "compile_ms_p50": round(statistics.median(times), 1),
        "compile_ms_p99": round(times[len(times) * 99 // 100], 1),
    }


def count_outcomes(
    engine: LlavaEngine, count: int, max_tokens: int, temperature: float
) -> dict[str, int]:
    """Return how many answers are valid, cut off, refused and wrong."""

    def outcome(case: tuple[str, dict[str, Any]]) -> str:
        sampling = SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=1)
        messages = (Message("user", ("Well?",)),)
        try:
            stream = engine.stream(Request(messages, sampling, Constraint(schema=case[1])))
            answer = collect(stream, "")
            jsonschema.validate(json.loads(answer.text), case[1])
        except OutputError as error:
            return "cut off" if "cut off by max_tokens" in error.message else "wrong"
        except RequestError:
            return "refused"
        except (ValueError, jsonschema.ValidationError):
            return "wrong"
        return "valid"

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return dict(Counter(pool.map(outcome, foreign_schemas(count))))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--max-tokens", type=int, default=300)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder))
        for name, source in (("embedded", "tiny"), ("random weights", folder)):
            with Llava(source) as model:
                engine = model.backend
                assert isinstance(engine, LlavaEngine)
                if name == "embedded":
                    tokenizer = engine.loaded.tokenizer.tokenizer
                    figures["compiled"] = compile_all(GrammarCache(tokenizer, len(tokenizer)))
                for temperature in (0.0, 1.0):
                    figures[f"{name}, temperature {temperature:g}"] = count_outcomes(
                        engine, options.requests, options.max_tokens, temperature
                    )
    print(json.dumps({"benchmark": "schemas", **vars(options), **figures, **describe()}))


if __name__ == "__main__":
    main()
