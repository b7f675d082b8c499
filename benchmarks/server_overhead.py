"""What HTTP adds to an answer: to a whole one, and to each chunk of a stream.

A server in a process of its own answers from a script, word by word, so that the model takes no
time. A plain HTTP client sends requests over loopback, one at a time; the time that the same answer
takes in this process is subtracted. Durations are the least of all rounds; the processor seconds of
the server are a mean.

    python -m benchmarks.server_overhead [--rounds 200] [--words 1000]
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import describe
from llava_tools import Llava
from llava_tools.cli.serve import listen
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import answer
from llava_tools.images import open_image
from llava_tools.testing import ScriptedBackend

IMAGE = Path(__file__).parents[1] / "examples" / "images" / "night.png"


def script(request: Request) -> str:
    """Return as many words as the question says."""
    last = request.messages[-1].text
    return " ".join(["word"] * int(last)) if last.isdecimal() else "ok"


def _serve(listener: socket.socket) -> None:
    import uvicorn

    from llava_tools.server.app import create_app
    from llava_tools.server.options import ServerOptions

    app = create_app(ServerOptions(), Llava(backend=_backend()))
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def _backend() -> ScriptedBackend:
    return ScriptedBackend(script, context_length=1 << 20)


@contextmanager
def serving() -> Iterator[tuple[int, psutil.Process]]:
    """Run the server; yield its port and its process."""
    context = multiprocessing.get_context("spawn")
    with listen("127.0.0.1", 0) as listener:
        process = context.Process(target=_serve, args=(listener,))
        process.start()
        try:
            yield listener.getsockname()[1], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.join()


def seconds(action: Callable[[], object], rounds: int) -> float:
    """Return the least duration of an action, since other programs only add to it."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


class Route:
    """A route of the server and the bodies that ask it for some words."""

    def __init__(self, connection: http.client.HTTPConnection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._image = base64.b64encode(IMAGE.read_bytes()).decode()

    def body(self, words: int, *, image: bool, stream: bool) -> bytes:
        """Return a body."""
        text, limit = str(words), words + 1
        message: dict[str, Any] = {"role": "user", "content": text}
        if self._path == "/api/chat":
            message |= {"images": [self._image]} if image else {}
            options: dict[str, Any] = {"model": "llava", "options": {"num_predict": limit}}
        else:
            url = {"url": f"data:image/png;base64,{self._image}"}
            blocks = [{"type": "image_url", "image_url": url}, {"type": "text", "text": text}]
            message |= {"content": blocks} if image else {}
            options = {"max_tokens": limit}
        return json.dumps({"messages": [message], "stream": stream, **options}).encode()

    def send(self, body: bytes) -> bytes:
        """Send a body and read the whole response."""
        self._connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise SystemExit(data.decode())
        return data


def in_process(words: int, *, image: bool) -> Callable[[], object]:
    """Return the action that gives the same answer without a server."""
    backend, source = _backend(), IMAGE.read_bytes()

    def act() -> object:
        images = (open_image(source),) if image else ()
        message = Message("user", (*images, str(words)))
        return answer(backend, Request((message,), SamplingParams(max_tokens=words + 1)))

    return act


def measure(route: Route, server: psutil.Process, rounds: int, words: int) -> dict[str, float]:
    """Return what the server adds to answers of a route, in milliseconds."""
    result = {}
    for name, image in (("text", False), ("image", True)):
        body = route.body(1, image=image, stream=False)
        used = _processor_seconds(server)
        added = seconds(lambda body=body: route.send(body), rounds)  # type: ignore[misc]
        used = (_processor_seconds(server) - used) / rounds
        added -= seconds(in_process(1, image=image), rounds)
        result[f"request_{name}_ms"] = round(added * 1e3, 2)
        result[f"request_{name}_server_cpu_ms"] = round(used * 1e3, 2)
    few = max(rounds // 10, 5)
    used = _processor_seconds(server)
    long = seconds(lambda: route.send(route.body(words, image=False, stream=True)), few)
    used = (_processor_seconds(server) - used) / few / words
    short = seconds(lambda: route.send(route.body(1, image=False, stream=True)), few)
    own = seconds(in_process(words, image=False), few) - seconds(in_process(1, image=False), few)
    result["chunk_ms"] = round((long - short - own) / (words - 1) * 1e3, 4)
    result["chunk_server_cpu_ms"] = round(used * 1e3, 4)
    return result


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Parse the flags, run, and print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--words", type=int, default=1000)
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with (
        serving() as (port, server),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection,
    ):
        _wait_until_ready(connection)
        for path in ("/v1/chat/completions", "/api/chat"):
            result[path] = measure(Route(connection, path), server, options.rounds, options.words)
    print(json.dumps(describe() | result))


def _wait_until_ready(connection: http.client.HTTPConnection) -> None:
    while True:
        connection.request("GET", "/health")
        response = connection.getresponse()
        response.read()
        if response.status == 200:
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
