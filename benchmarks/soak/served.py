"""Runs `llava-tools` with the arguments after the first, and writes its engine's counts to a file.

python -m benchmarks.soak.served COUNTS serve --port 0
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

from benchmarks.soak.engine_counts import engine_counts
from llava_tools import Llava
from llava_tools.cli.main import main

#: Seconds between two writings.
INTERVAL = 1.0


def write_counts(path: Path) -> None:
    """Write the counts of the default model's engine, again and again."""
    model = Llava()  # shares the engine of the server, whose options are the same
    other = path.with_suffix(".new")
    while True:
        other.write_text(json.dumps({"time": time.time(), **engine_counts(model)}))
        other.replace(path)
        time.sleep(INTERVAL)


if __name__ == "__main__":
    threading.Thread(target=write_counts, args=(Path(sys.argv[1]),), daemon=True).start()
    sys.exit(main(sys.argv[2:]))
