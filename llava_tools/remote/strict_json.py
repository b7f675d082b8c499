"""JSON as the standard has it: without `NaN` and `Infinity`, and of a depth that can be read."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def parse_json(data: bytes | str) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has a number that JSON does not know.
    """
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
