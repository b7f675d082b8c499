"""`serving`: a server in a process of its own, for benchmarks."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

#: Seconds that a server gets to load its model, and to end.
SECONDS_TO_START = 180
SECONDS_TO_END = 60


@contextmanager
def serving(arguments: Sequence[str], log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server; yield its URL, without a path, and its process; end it by SIGTERM.

    Args:
        arguments: Those of `python -m`; `{port}` in them becomes a free port.
        log: The file of what it writes to stderr.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", *(item.format(port=port) for item in arguments)]
    with log.open("wb") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(SECONDS_TO_END)


def wait_until_healthy(url: str) -> None:
    """Return when `llava-tools serve` at a URL has loaded its model.

    Raises:
        TimeoutError: It has not in time.
    """
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        with suppress(httpx.ConnectError):
            if httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(f"{url} has not loaded its model in {SECONDS_TO_START} seconds.")
