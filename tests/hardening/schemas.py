"""Hostile schemas: each is enforced within bounds of time and memory, or one error of one line.

What has a grammar is answered by the embedded model, at temperatures 0 and 1. jsonschema itself has
to accept every finished answer; it reads patterns by `regex`, and numbers as they are written.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend, validator_for

from llava_tools import Llava, Message, Request, SamplingParams
from llava_tools.core import json_schema
from llava_tools.core.constraints import Constraint
from llava_tools.core.outputs import collect
from llava_tools.engine.engine import LlavaEngine
from llava_tools.errors import OutputError, RequestError, SchemaError
from tests.foreign_schemas import foreign_schemas
from tests.hardening.attack import Attack, Tally
from tests.hardening.schema_forms import FIXED, draw

#: Seconds of this process's time and MiB that the preparation of a schema may take.
LONGEST, MOST_MEMORY = 2.0, 256
#: What outcomes say of that time.
_BOUNDS = (0.5, 1.0, 1.5, LONGEST)
#: Tokens of an answer at most, and answers at once.
MAX_TOKENS, AT_ONCE = 48, 16
#: Schemas that are prepared before their answers; the cache of grammars holds as many.
BATCH = 32
_MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Case:
    """A schema, and what its preparation took."""

    schema: dict[str, Any]
    strict: bool
    name: str = ""
    seconds: float = 0.0
    memory: int = 0
    enforced: bool = False

    def __str__(self) -> str:
        return f"{self.name or 'drawn'}, strict={self.strict}: {json.dumps(self.schema):.300}"

    @property
    def constraint(self) -> Constraint:
        """The constraint of its answers; raises if it is refused at once."""
        return Constraint(schema=self.schema, strict=self.strict, describe=False)


@cache
def engine() -> LlavaEngine:
    """The embedded model; its first grammar is made, so that modules are loaded."""
    backend = Llava("tiny", dtype="float32").backend
    assert isinstance(backend, LlavaEngine)
    backend._grammars.matcher(Constraint(schema={"type": "null"}))
    return backend


def _memory(field: str) -> int:
    """Return a figure of this process's memory in MiB; 0 where that is not Linux."""
    if not _MEMORY[0].exists():
        return 0
    return int(_MEMORY[0].read_text("ascii").partition(field + ":")[2].split()[0]) >> 10


def prepare(case: Case) -> str:
    """Prepare a schema's grammar; return whether it has one, and the time."""
    backend = engine()
    if _MEMORY[1].exists():
        _MEMORY[1].write_text("5", "ascii")  # the peak of memory is counted from here
    before, start = _memory("VmRSS"), time.process_time()
    try:
        json_schema.check_constraint(case.constraint)
        backend._grammars.matcher(case.constraint)
        case.enforced = True
    except (SchemaError, RequestError) as error:
        _check_message(error)
    case.seconds = time.process_time() - start
    case.memory = max(0, _memory("VmHWM") - before)
    if case.seconds > LONGEST or case.memory > MOST_MEMORY:
        raise AssertionError(f"{case.seconds:.1f} s, {case.memory} MiB")
    end = "grammar" if case.enforced else "error"
    return f"{end} within {next(bound for bound in _BOUNDS if case.seconds <= bound)} s"


def answer(case: Case, temperature: float, seed: int) -> str:
    """Answer in the form of a schema; return how the answer ended."""
    sampling = SamplingParams(max_tokens=MAX_TOKENS, temperature=temperature, seed=seed)
    request = Request((Message("user", ("Well?",)),), sampling, case.constraint)
    at = f"at {temperature:g}"
    try:
        result = collect(engine().stream(request), "tiny")
    except OutputError as error:
        _check_message(error)
        if error.message == "The JSON answer was cut off by max_tokens.":
            return f"cut off {at}"
        if not case.strict and error.message.startswith("The answer is not of its schema at "):
            return f"refused afterwards {at}"
        if error.message == "The answer takes too long to check against its schema.":
            return f"too long to check {at}"
        raise
    except SchemaError as error:
        _check_message(error)
        if error.message.startswith("The constraint could not be followed: "):
            return f"given up {at}"
        raise
    check(json.loads(result.text), case.schema)
    # The digits of a number may be cut off and be a number all the same.
    return f"valid {at}" if result.finish_reason == "stop" else f"cut off {at}"


def check(value: Any, schema: Mapping[str, Any]) -> None:
    """Check an answer by jsonschema."""
    draft = cast(Any, validator_for)(schema, default=Draft202012Validator)
    keywords = {"pattern": _pattern, "multipleOf": _multiple_of}
    unnamed = {key: part for key, part in schema.items() if key != "$schema"}
    cast(Any, extend)(draft, keywords)(unnamed).validate(value)


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not regex.search(pattern, value, timeout=5):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _multiple_of(_: Any, divisor: float, value: Any, __: Any) -> Iterator[ValidationError]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and Fraction(repr(value)) % Fraction(repr(divisor)):
        yield ValidationError(f"{value!r} is not a multiple of {divisor}")


def _check_message(error: RequestError | OutputError) -> None:
    if len(str(error).splitlines()) != 1 or len(str(error)) > 500:
        raise AssertionError(str(error)) from error


def cases(count: int, seed: int) -> list[Case]:
    """Return fixed, foreign and drawn schemas; at most half of them are fixed."""
    rng = random.Random(seed)
    names = rng.sample(list(FIXED), min(len(FIXED), count // 2))
    schemas: list[tuple[str, dict[str, Any]]] = [(name, FIXED[name]) for name in names]
    schemas += foreign_schemas(count // 20, seed)
    schemas += [("", draw(rng)) for _ in range(count - len(schemas))]
    return [Case(schema, rng.random() < 0.5, name) for name, schema in schemas]


def attack(count: int, seed: int) -> Tally:
    """Prepare schemas, and answer in the form of those that have a grammar."""
    tally, worst, most = Tally(), Case({}, True), Case({}, True)
    schemas = cases(count, seed)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, count, BATCH):
            batch = schemas[start : start + BATCH]
            for case in batch:
                tally.add(partial(prepare, case), str(case))
            worst = max(worst, *batch, key=lambda case: case.seconds)
            most = max(most, *batch, key=lambda case: case.memory)
            _answer_all(batch, seed, tally, pool)
    tally.worst = (
        f"{worst.seconds:.2f} s of a core ({worst.name or 'drawn'}), "
        f"{most.memory} MiB ({most.name or 'drawn'})"
    )
    return tally


def _answer_all(batch: Iterable[Case], seed: int, tally: Tally, pool: ThreadPoolExecutor) -> None:
    tried = [(case, heat) for case in batch if case.enforced for heat in (0.0, 1.0)]
    ends = [pool.submit(answer, case, temperature, seed) for case, temperature in tried]
    for (case, temperature), end in zip(tried, ends, strict=True):
        tally.add(end.result, f"temperature {temperature:g}, {case}")


ATTACK = Attack(
    "schemas",
    "hostile schemas and patterns, prepared, and answered at temperatures 0 and 1",
    attack,
    2_000,
    40,
)
