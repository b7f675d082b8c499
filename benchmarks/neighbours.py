"""How long others wait while one user sends the worst: the median of their answers, to idle.

`llava-tools serve` runs in a process of its own with the embedded model and two keys. One user asks
short questions about small images, one after another, and is timed. The other, in a process of its
own, sends the costliest requests that the server accepts or refuses, some at once and without a
pause. Idle and busy rounds alternate.

    python -m benchmarks.neighbours [--at-once 2] [--rounds 3] [--seconds 6] [KIND ...]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import itertools
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from PIL import Image

from benchmarks.machine import describe
from benchmarks.serving import serving, wait_until_healthy

IMAGES = sorted((Path(__file__).parents[1] / "examples" / "images").glob("*.png"))
QUESTION = "What colour is the star?"
#: Stands for a number in a body: eight characters that base64 may have.
SERIAL = "Numbered"
_CHAT = "/v1/chat/completions"
_PATTERNS = ("(a|b)*c{1,500}", "^(a+)+$", r"(\w+\s?){1,40}", "(?:[a-z]{1,30}-){20}")


def image_url(image: Image.Image, codec: str, **options: Any) -> str:
    """Return an image as a data URL, which `numbered` makes another image each time."""
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    # Decoders ignore what follows an image's end.
    data = buffer.getvalue() + bytes(-buffer.tell() % 3)
    return f"data:image/{codec.lower()};base64,{base64.b64encode(data).decode()}{SERIAL}"


def question(urls: list[str], text: str, **options: Any) -> dict[str, Any]:
    """Return the body of a question about images."""
    blocks: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": x}} for x in urls]
    message = {"role": "user", "content": [*blocks, {"type": "text", "text": f"{SERIAL}. {text}"}]}
    return {"messages": [message], "max_tokens": 16, **options}


def numbered(body: bytes, numbers: Iterator[int]) -> bytes:
    """Return a body with a number of its own for each `SERIAL`, so that no cache knows it."""
    first, *rest = body.split(SERIAL.encode())
    return b"".join([first, *(b"%08d%b" % (next(numbers), part) for part in rest)])


def formed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a question whose answer has a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}
    return question([], "Describe it.", response_format=form) | {"max_tokens": 256}


def _image(side: int, codec: str, mode: str = "RGB", **options: Any) -> str:
    return image_url(Image.new(mode, (side, side)), codec, **options)


def _noise() -> list[str]:
    noise = Image.effect_noise((336, 336), 90).convert("RGB")
    return [image_url(noise.rotate(turn), "PNG") for turn in range(16)]


def _nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties]}


def _texts(count: int) -> dict[str, Any]:
    return question([], "What is drawn here and there? " * count)


_LONG_ANSWER = {"type": "array", "items": {"type": "integer"}, "minItems": 400}
_MESSAGE = {"role": "user", "content": "x"}

#: Requests of each kind: the path, and a function that returns the body.
KINDS: dict[str, tuple[str, Callable[[], Any]]] = {
    "four PNGs of 64 million pixels": (
        _CHAT,
        lambda: question([_image(8_000, "PNG") for _ in range(4)], QUESTION),
    ),
    "JPEG of 199 million pixels": (_CHAT, lambda: question([_image(14_100, "JPEG")], QUESTION)),
    "progressive JPEG of 66 million pixels": (
        _CHAT,
        lambda: question([_image(8_100, "JPEG", progressive=True, subsampling=0)], QUESTION),
    ),
    "lossless WebP of 30 million pixels": (
        _CHAT,
        lambda: question([_image(5_470, "WEBP", "RGBA", lossless=True, method=0)], QUESTION),
    ),
    "16 images of noise": (_CHAT, lambda: question(_noise(), QUESTION, max_tokens=512)),
    "text of 1,300 tokens": (_CHAT, lambda: _texts(100)),
    "text of 990,000 characters": (_CHAT, lambda: _texts(33_000)),
    "text of 30 million characters": (_CHAT, lambda: _texts(1_000_000)),
    "schema of 30,000 words": (_CHAT, lambda: formed({"enum": [f"w {n}" for n in range(30_000)]})),
    "schema of 60 levels": (_CHAT, lambda: formed(_object({"a": _nested(60)}))),
    "schema of 2,000 fields": (
        _CHAT,
        lambda: formed(_object({f"field {n}": {"type": "string"} for n in range(2_000)})),
    ),
    "schema of patterns": (
        _CHAT,
        lambda: formed(_object({p: {"type": "string", "pattern": p} for p in _PATTERNS})),
    ),
    "answer of 1,000 tokens": (
        _CHAT,
        lambda: formed(_LONG_ANSWER) | {"max_tokens": 1_000, "logprobs": True, "top_logprobs": 20},
    ),
    "256 texts to embed": (
        "/v1/embeddings",
        lambda: {"input": [f"{SERIAL} a number {n}" for n in range(256)]},
    ),
    "880,000 characters to tokenize": ("/tokenize", lambda: {"prompt": "some words " * 80_000}),
    "16 million brackets": (_CHAT, lambda: b'{"messages": ' + b"[" * 16_000_000),
    "30,000 messages": (_CHAT, lambda: {"messages": [_MESSAGE] * 30_000}),
    "90,000 wrong parts": (_CHAT, lambda: {"messages": [_MESSAGE | {"content": [0] * 90_000}]}),
    "image of 30 million letters": (
        _CHAT,
        lambda: question(["data:image/png;base64," + "A" * 30_000_000], QUESTION),
    ),
}


def server_arguments(folder: Path) -> list[str]:
    """Return the arguments of a server for the keys "neighbour" and "attacker"."""
    keys = folder / "keys"
    keys.write_text("neighbour-key-of-24-chars\nattacker-key-of-24-chars!\n")
    keys.chmod(0o600)
    arguments = ["llava_tools", "serve", "--port", "{port}", "--log-format", "none"]
    return [*arguments, "--api-key-file", str(keys)]


def attack(url: str, kind: str, at_once: int, seconds: float, statuses: Queue[Any]) -> None:
    """Send requests of a kind, some at once; put the statuses of their answers."""
    os.nice(19)  # what it computes would run on another machine
    path, make = KINDS[kind]
    made = make()
    template = made if isinstance(made, bytes) else json.dumps(made).encode()
    statuses.put("ready")
    counts: Counter[str] = Counter()
    serials = itertools.count(random.randrange(10_000_000))
    headers = {"Authorization": "Bearer attacker-key-of-24-chars!"}
    headers |= {"Content-Type": "application/json"}

    async def send(http: httpx.AsyncClient, until: float) -> None:
        while time.monotonic() < until:
            body = numbered(template, serials)
            try:
                response = await http.post(path, content=body, headers=headers)
            except httpx.HTTPError as error:
                counts[type(error).__name__] += 1
            else:
                counts[str(response.status_code)] += 1

    async def send_all() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as http:
            until = time.monotonic() + seconds
            await asyncio.gather(*(send(http, until) for _ in range(at_once)))

    asyncio.run(send_all())
    statuses.put(dict(counts))


def ask_for(url: str, seconds: float) -> list[float]:
    """Ask questions one after another; return the seconds that each answer took."""
    questions = [question([image_url(Image.open(path), "PNG")], QUESTION) for path in IMAGES]
    bodies = [json.dumps(body).encode() for body in questions]
    serials = itertools.count(random.randrange(10_000_000))
    headers = {"Authorization": "Bearer neighbour-key-of-24-chars"}
    times: list[float] = []
    with httpx.Client(base_url=url, timeout=300, headers=headers, trust_env=False) as http:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            body = numbered(bodies[len(times) % len(bodies)], serials)
            start = time.perf_counter()
            http.post(_CHAT, content=body).raise_for_status()
            times.append(time.perf_counter() - start)
    return times


def compare(url: str, kind: str, at_once: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Time the neighbour idle and busy in turns; return medians in milliseconds and their ratio."""
    context = multiprocessing.get_context("spawn")
    idle, busy = [], []
    counts: Counter[str] = Counter()
    for _ in range(rounds):
        idle += ask_for(url, seconds)
        statuses: Queue[Any] = context.Queue()
        sender = context.Process(target=attack, args=(url, kind, at_once, seconds + 2, statuses))
        sender.start()
        statuses.get()
        time.sleep(1)
        busy += ask_for(url, seconds)
        counts.update(statuses.get())
        sender.join()
    return {
        "kind": kind,
        "idle_ms": round(median(idle) * 1_000, 1),
        "busy_ms": round(median(busy) * 1_000, 1),
        "ratio": round(median(busy) / median(idle), 2),
        "worst_ms": round(max(busy) * 1_000),
        "attackers": dict(counts),
    }


def main() -> None:
    """Parse the flags, measure each kind, and print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="*", default=[*KINDS], metavar="KIND")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    results = []
    with (
        tempfile.TemporaryDirectory() as name,
        serving(server_arguments(folder := Path(name)), folder / "log") as (url, _),
    ):
        wait_until_healthy(url)
        ask_for(url, 3)
        for kind in options.kind:
            result = compare(url, kind, options.at_once, options.rounds, options.seconds)
            results.append(result)
            sys.stderr.write(f"{result}\n")
    load = os.getloadavg()[0]
    print(json.dumps(describe() | {"at_once": options.at_once, "load": load, "kinds": results}))


if __name__ == "__main__":
    main()
