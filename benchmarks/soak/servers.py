"""`ServerProcess`: a server in a process of its own, its address, log and counts."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving import SECONDS_TO_START, serving


@dataclass
class ServerProcess:
    """A server that runs.

    Attributes:
        name: Of its subcommand.
        url: Its address, without a path.
        process: Its process.
        log: The file of what it wrote to stderr.
        counts_file: See `served`.
    """

    name: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    counts_file: Path

    def counts(self) -> dict[str, Any]:
        """Return the counts of its engine, with the `time` of the writing."""
        counts: dict[str, Any] = json.loads(self.counts_file.read_text())
        return counts

    def log_errors(self) -> list[str]:
        """Return the lines of its log that report a fault: levels above warning, and tracebacks."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if '"level": "error"' in line or "Traceback" in line]

    def wait_until_loaded(self) -> None:
        """Return when its engine is there.

        Raises:
            TimeoutError: It is not in time.
        """
        end = time.monotonic() + SECONDS_TO_START
        while not self.counts_file.exists():
            if time.monotonic() > end or self.process.poll() is not None:
                raise TimeoutError(f"{self.name} has not started: {self.log.read_text()}")
            time.sleep(0.2)


@contextmanager
def running(name: str, flags: Sequence[str], folder: Path) -> Iterator[ServerProcess]:
    """Run a subcommand that serves on the port of `flags`, `{port}` in them; end it by SIGTERM."""
    counts, log = folder / f"{name}.counts.json", folder / f"{name}.log"
    counts.unlink(missing_ok=True)
    arguments = ["benchmarks.soak.served", str(counts), name, *flags]
    with serving(arguments, log) as (url, process):
        server = ServerProcess(name, url, process, log, counts)
        server.wait_until_loaded()
        yield server
