"""Schemas that nobody here wrote: how many can be enforced, and what comes out of those that can.

All pydantic models of `tests/foreign_schemas.py` are compiled with the embedded model's tokenizer.
`--asked` of them, drawn by chance, are then asked for: greedy and at temperature 1, from the
embedded model and from random weights. An answer is valid, or an error since it was cut off by
`max_tokens`, or refused beforehand (the schema, or the context it needs); anything else is wrong.

    python -m benchmarks.schemas [--asked 60] [--max-tokens 300]
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
from llava_tools.engine.grammar_masks import Grammars
from llava_tools.errors import OutputError, RequestError
from tests.checkpoints import write_checkpoint
from tests.foreign_schemas import foreign_schemas

AT_ONCE = 8


def compile_all(grammars: Grammars) -> dict[str, Any]:
    """Return how many schemas are enforced, why others are not, and milliseconds of compiling."""
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


def ask_for(engine: LlavaEngine, count: int, max_tokens: int, temperature: float) -> dict[str, int]:
    """Return how many answers were valid, cut off, refused and wrong."""

    def outcome(case: tuple[str, dict[str, Any]]) -> str:
        sampling = SamplingParams(max_tokens=max_tokens, temperature=temperature, seed=1)
        asked = (Message("user", ("Well?",)),)
        try:
            stream = engine.stream(Request(asked, sampling, Constraint(schema=case[1])))
            answer = collect(stream, "")
            jsonschema.validate(json.loads(answer.text), case[1])
        except OutputError as error:
            return "cut off" if "cut off by max_tokens" in error.message else "wrong"
        except RequestError:
            return "refused"
        except (ValueError, jsonschema.ValidationError):
            return "wrong"
        return "valid"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(Counter(pool.map(outcome, foreign_schemas(count))))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--asked", type=int, default=60)
    parser.add_argument("--max-tokens", type=int, default=300)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    folder = write_checkpoint(Path(tempfile.mkdtemp()))
    for name, source in (("embedded", "tiny"), ("random weights", str(folder))):
        with Llava(source) as model:
            engine = model.backend
            assert isinstance(engine, LlavaEngine)
            if name == "embedded":
                tokenizer = engine.loaded.text.tokenizer
                figures["compiled"] = compile_all(Grammars(tokenizer, len(tokenizer)))
            for temperature in (0.0, 1.0):
                figures[f"{name}, temperature {temperature:g}"] = ask_for(
                    engine, options.asked, options.max_tokens, temperature
                )
    print(json.dumps({"benchmark": "schemas", **vars(options), **figures, **describe()}))


if __name__ == "__main__":
    main()
