"""Many clients of one server for minutes: no wrong or lost answer, nothing leaks, a clean exit.

`llava-tools serve` runs in a process of its own with the embedded model. Clients send OpenAI's and
Ollama's requests, streamed and whole, with images, schemas and texts to embed; a third of the
streams are left after their first chunk. Every whole answer is compared with that of this process.

    python -m benchmarks.server_load [--clients 64] [--seconds 180]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
import psutil

from benchmarks.machine import describe
from benchmarks.serving import serving, wait_until_healthy
from llava_tools import Embedder, Llava

IMAGES = sorted((Path(__file__).parents[1] / "examples" / "images").glob("*.png"))
QUESTIONS = ("What colour is the star?", "What is drawn?", "How many shapes are there?")
TEXTS = ("a red star", "a blue circle")
FORM = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "yellow", "blue"]}},
    "required": ["colour"],
}
#: Streams of which one is left after its first chunk.
LEAVE_ONE_OF = 3
#: Seconds after which memory counts: before, caches fill.
SETTLED = 0.3


@dataclass
class Counts:
    """What the clients saw."""

    answers: Counter[str] = field(default_factory=Counter)
    left: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Expected:
    """Answers of this process to what the clients send."""

    def __init__(self) -> None:
        with Llava() as model, Embedder() as embedder:
            self.answers = {
                (image, question): model.ask(question, image, max_tokens=24).text
                for image in IMAGES
                for question in QUESTIONS
            }
            self.vectors = dict(zip(TEXTS, embedder.embed_texts(TEXTS), strict=True))
        self.base64 = {image: base64.b64encode(image.read_bytes()).decode() for image in IMAGES}


class Client:
    """One client: sends requests of all kinds in a random order until the time is up."""

    def __init__(self, url: str, expected: Expected, counts: Counts, seed: int) -> None:
        self._expected = expected
        self._counts = counts
        self._random = random.Random(seed)
        self._http = httpx.AsyncClient(base_url=url, timeout=300)

    async def run(self, until: float) -> None:
        """Send requests until a time of the clock."""
        kinds = (self._openai, self._ollama, self._generate, self._form, self._embed)
        async with self._http:
            while time.monotonic() < until:
                kind = self._random.choice(kinds)
                start = time.monotonic()
                await kind()
                self._counts.seconds.append(time.monotonic() - start)

    async def _openai(self) -> None:
        image, question = self._question()
        url = f"data:image/png;base64,{self._expected.base64[image]}"
        blocks: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": question},
        ]
        body = {"messages": [{"role": "user", "content": blocks}], "max_tokens": 24}
        text = await self._answer("/v1/chat/completions", body, _openai_text)
        self._check("openai", text, self._expected.answers[image, question])

    async def _ollama(self) -> None:
        image, question = self._question()
        message: dict[str, Any] = {"role": "user", "content": question}
        message |= {"images": [self._expected.base64[image]]}
        body = {"model": "llava", "messages": [message], "options": {"num_predict": 24}}
        text = await self._answer("/api/chat", body, lambda item: item["message"]["content"])
        self._check("ollama", text, self._expected.answers[image, question])

    async def _generate(self) -> None:
        image, question = self._question()
        images = [self._expected.base64[image]]
        body: dict[str, Any] = {"model": "llava", "prompt": question, "images": images}
        body |= {"options": {"num_predict": 24}}
        text = await self._answer("/api/generate", body, lambda item: item["response"])
        self._check("generate", text, self._expected.answers[image, question])

    async def _form(self) -> None:
        image = self._expected.base64[self._random.choice(IMAGES)]
        body = {"model": "llava", "prompt": QUESTIONS[0], "images": [image], "format": FORM}
        text = await self._answer("/api/generate", body, lambda item: item["response"])
        if text is not None:
            self._check(
                "form", str(json.loads(text)["colour"] in ("red", "yellow", "blue")), "True"
            )

    async def _embed(self) -> None:
        text = self._random.choice(TEXTS)
        response = await self._http.post("/api/embed", json={"model": "llava", "input": text})
        (vector,) = response.json()["embeddings"]
        nearness = sum(a * b for a, b in zip(vector, self._expected.vectors[text], strict=True))
        self._check("embed", str(nearness > 0.9999), "True")

    def _question(self) -> tuple[Path, str]:
        return self._random.choice(IMAGES), self._random.choice(QUESTIONS)

    async def _answer(self, path: str, body: dict[str, Any], text_of: Any) -> str | None:
        """Return an answer, streamed or whole; None if its stream was left."""
        if self._random.random() < 0.5:
            response = await self._http.post(path, json=body | {"stream": False})
            response.raise_for_status()
            return str(text_of(response.json()))
        leaves = self._random.randrange(LEAVE_ONE_OF) == 0
        texts = []
        async with self._http.stream("POST", path, json=body | {"stream": True}) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if leaves:
                    self._counts.left += 1
                    return None
                if line and line != "data: [DONE]":
                    texts.append(text_of(json.loads(line.removeprefix("data: "))))
        return "".join(texts)

    def _check(self, kind: str, found: str | None, expected: str) -> None:
        if found is None:
            return
        self._counts.answers[kind] += 1
        if found != expected:
            self._counts.wrong.append(f"{kind}: {found!r} instead of {expected!r}")


def _openai_text(item: dict[str, Any]) -> str:
    choice = item["choices"][0]
    message = choice.get("message") or choice.get("delta") or {}
    return message.get("content") or ""


async def load(url: str, process: psutil.Process, clients: int, seconds: float) -> dict[str, Any]:
    """Run the clients; return what they saw, and the server's memory meanwhile."""
    expected, counts = await asyncio.to_thread(Expected), Counts()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        await asyncio.to_thread(wait_until_healthy, url)
        until = time.monotonic() + seconds
        running = [Client(url, expected, counts, seed).run(until) for seed in range(clients)]
        memory: list[tuple[float, int]] = []

        async def watch() -> None:
            while time.monotonic() < until:
                memory.append((until - time.monotonic(), process.memory_info().rss >> 20))
                await asyncio.sleep(2)

        await asyncio.gather(watch(), *running)
        metrics = (await http.get("/metrics")).text
        pending = float(next(x for x in metrics.splitlines() if x.startswith("llava_pending"))[-3:])
    settled = [rss for left, rss in memory if left < seconds * (1 - SETTLED)]
    cuts = quantiles(counts.seconds, n=100)
    return {
        "answers": dict(counts.answers),
        "left": counts.left,
        "wrong": len(counts.wrong),
        "first_wrong": counts.wrong[:3],
        "requests_per_second": round(len(counts.seconds) / seconds, 1),
        "seconds_p50_p99": [round(cuts[49], 2), round(cuts[98], 2)],
        "rss_mb_settled_end": [settled[0], settled[-1]],
        "rss_mb_most": max(rss for _, rss in memory),
        "pending_at_end": pending,
        "threads_at_end": process.num_threads(),
        "open_files_at_end": process.num_fds(),
    }


def main() -> None:
    """Parse the flags, run, and print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180)
    options = parser.parse_args()
    arguments = ["llava_tools", "serve", "--port", "{port}", "--log-format", "json"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(arguments, log) as (url, process):
            server = psutil.Process(process.pid)
            result = asyncio.run(load(url, server, options.clients, options.seconds))
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["message"] == "request"]
    result |= {
        "clients": options.clients,
        "seconds": options.seconds,
        "exit_code": process.returncode,
        "statuses": dict(Counter(str(line["status"]) for line in requests)),
        "errors_in_log": [line["message"] for line in lines if line["level"] == "error"][:3],
        "cancelled": sum(line.get("error") == "Cancelled" for line in requests),
    }
    print(json.dumps(describe() | result))


if __name__ == "__main__":
    main()
