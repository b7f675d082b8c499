"""Samples: what the processes hold at a moment, as JSON lines in a file."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.soak.servers import ServerProcess

#: Seconds between two samples.
INTERVAL = 10.0
#: Seconds without work after which the idle threads of LanceDB's pool (tokio's) have ended.
REST = 15.0


class SampleFile:
    """A file of JSON lines, each written through at once. Safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._start = time.monotonic()

    def write(self, kind: str, **values: Any) -> None:
        """Write a line: its kind, the seconds since the start, and values."""
        seconds = round(time.monotonic() - self._start, 1)
        line = json.dumps({"kind": kind, "seconds": seconds, **values})
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file; a last one that was cut off is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def process_sample(process: psutil.Process, ignored: Sequence[int] = ()) -> dict[str, Any]:
    """Return memory in MB, threads, descriptors and child processes of a process.

    Args:
        process: The process.
        ignored: Ids of children that do not count.
    """
    memory = process.memory_full_info()
    children = [child for child in process.children() if child.pid not in ignored]
    return {
        "rss_mb": round(memory.rss / 1e6, 2),
        "uss_mb": round(memory.uss / 1e6, 2),
        "pss_mb": round(getattr(memory, "pss", 0) / 1e6, 2),
        "threads": process.num_threads(),
        "descriptors": process.num_fds(),
        "children": len(children),
    }


class Sampler:
    """Samples this process and the servers, each `INTERVAL` seconds while it runs.

    Args:
        file: Where samples go.
        servers: The servers.
        counts: Returns what else is counted in this process.
        on_error: Called with an error that ends the sampling.
    """

    def __init__(
        self,
        file: SampleFile,
        servers: Sequence[ServerProcess],
        counts: Callable[[], dict[str, Any]],
        on_error: Callable[[str], None],
    ) -> None:
        self._file = file
        self._servers = servers
        self._counts = counts
        self._on_error = on_error
        self._processes = {server.name: psutil.Process(server.process.pid) for server in servers}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def sample(self, *, idle: bool, rested: bool = False) -> None:
        """Write a sample.

        Args:
            idle: Whether no work runs.
            rested: Whether none ran for `REST` seconds.
        """
        server_ids = [process.pid for process in self._processes.values()]
        main = process_sample(psutil.Process(os.getpid()), server_ids) | self._counts()
        others = {
            server.name: process_sample(self._processes[server.name]) | server.counts()
            for server in self._servers
        }
        self._file.write("sample", idle=idle, rested=rested, processes={"main": main, **others})

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(INTERVAL):
                self.sample(idle=False)
        except Exception as error:
            self._on_error(f"sampling: {error!r}")
            raise
