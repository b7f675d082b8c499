"""`llava-tools` with a scripted model that writes to standard output, as a program."""

from __future__ import annotations

import os
import sys
from typing import Any

from llava_tools import Llava
from llava_tools.cli import main, mcp
from llava_tools.core.requests import Request
from tests.server.mcp.scene import make_backend, respond


def _noisy(request: Request) -> str:
    print("noise")  # noqa: T201
    os.write(1, b"noise of a library\n")
    return respond(request)


def _make_model(**_: Any) -> Llava:
    return Llava(backend=make_backend(_noisy))


if __name__ == "__main__":
    setattr(mcp, "Llava", _make_model)  # noqa: B010
    sys.exit(main.main())
