"""Work of the servers' clients: OpenAI's, Ollama's and MCP's."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from typing import Any

import httpx2
import ollama
import openai
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from benchmarks.server_load import FORM, IMAGES, QUESTIONS, Client, Counts
from benchmarks.soak.scene import DAMAGED, MAX_TOKENS, Scene, new_image

#: Seconds of the mixed clients in a round.
MIXED_SECONDS = 2.0


def _messages(image: bytes, question: str) -> list[Any]:
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    blocks = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return [{"role": "user", "content": blocks}]


def openai_client(scene: Scene, rng: random.Random) -> None:
    """Send what OpenAI's client sends: chats, streams, structures, embeddings, bad images."""
    image, question, answer = scene.known(rng)
    messages = _messages(image.read_bytes(), question)
    fresh = _messages(new_image(rng), QUESTIONS[1])
    bad = _messages(DAMAGED, question)
    url = f"{scene.serve.url}/v1"
    with openai.OpenAI(base_url=url, api_key="-", timeout=300, max_retries=0) as client:
        chat = client.chat.completions
        found = chat.create(model="tiny", messages=messages, max_tokens=MAX_TOKENS)
        scene.outcomes.equal("openai", found.choices[0].message.content, answer)
        stream = chat.create(model="tiny", messages=messages, max_tokens=MAX_TOKENS, stream=True)
        text = "".join(item.choices[0].delta.content or "" for item in stream if item.choices)
        scene.outcomes.equal("openai stream", text, answer)
        with chat.create(model="tiny", messages=fresh, max_tokens=200, stream=True) as left:
            next(iter(left))
        form: Any = {"type": "json_schema", "json_schema": {"name": "star", "schema": FORM}}
        shaped = chat.create(model="tiny", messages=messages, response_format=form)
        scene.outcomes.same(
            f"openai form {image.name} {question}", shaped.choices[0].message.content
        )
        with scene.outcomes.error(openai.BadRequestError, "openai: damaged image"):
            chat.create(model="tiny", messages=bad)
        with scene.outcomes.error(openai.APITimeoutError, "openai: timeout"):
            chat.create(model="tiny", messages=fresh, max_tokens=200, timeout=0.001)


def ollama_client(scene: Scene, rng: random.Random) -> None:
    """Send what Ollama's client sends."""
    image, question, answer = scene.known(rng)
    options = {"num_predict": MAX_TOKENS}
    message = {"role": "user", "content": question, "images": [image.read_bytes()]}
    with ollama.Client(scene.serve.url, timeout=300) as client:
        found = client.chat("llava", [message], options=options)
        scene.outcomes.equal("ollama chat", found.message.content, answer)
        parts = client.generate(
            "llava", question, images=[image.read_bytes()], options=options, stream=True
        )
        text = "".join(part.response for part in parts)
        scene.outcomes.equal("ollama generate", text, answer)
        with scene.outcomes.error(ollama.ResponseError, "ollama: damaged image"):
            client.generate("llava", question, images=[DAMAGED], options=options)


def mixed_clients(scene: Scene, rng: random.Random) -> None:
    """Run clients of `server_load` for a while."""
    counts = Counts()

    async def run() -> None:
        until = time.monotonic() + MIXED_SECONDS
        seeds = [rng.randrange(10**9) for _ in range(3)]
        clients = [Client(scene.serve.url, scene.expected, counts, seed) for seed in seeds]
        await asyncio.gather(*(client.run(until) for client in clients))

    asyncio.run(run())
    scene.outcomes.equal("mixed clients", counts.wrong, [])


def mcp_client(scene: Scene, rng: random.Random) -> None:
    """Open a session, add an image, call tools, and name an image that is not there."""
    image = rng.choice(IMAGES)

    async def run() -> list[Any]:
        url = f"{scene.mcp.url}/mcp"
        async with (
            httpx2.AsyncClient(timeout=300) as http,
            McpClient(streamable_http_client(url, http_client=http), mode="legacy") as client,
        ):
            data = base64.b64encode(image.read_bytes()).decode()
            added: Any = await client.call_tool("add_image", {"data": data})
            handle = added.structured_content["image"]
            calls: list[tuple[str, dict[str, Any]]] = [
                ("look", {"image": handle, "question": QUESTIONS[0]}),
                ("locate", {"image": handle, "thing": "the star"}),
                ("count", {"image": handle, "things": "stars"}),
                ("look", {"image": "img_0", "question": QUESTIONS[0]}),
            ]
            results = []
            for name, arguments in calls:
                result: Any = await client.call_tool(name, arguments)
                results.append(result.structured_content or result.is_error)
            return results

    scene.outcomes.same(f"mcp {image.name}", asyncio.run(run()))


WORK = (openai_client, ollama_client, mixed_clients, mcp_client)
