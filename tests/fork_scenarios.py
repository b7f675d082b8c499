"""Programs that fork, each run by `test_fork` in a process of its own.

    python -m tests.fork_scenarios NAME [ARGUMENT]

A scenario returns what happened in forked children, by what they did.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from llava_tools import Embedder, Llava, Message
from llava_tools.core.requests import Request
from llava_tools.errors import LlavaToolsError
from llava_tools.model_cache import ModelCache

HANGS = "hangs"
REQUEST = Request((Message("user", ("Hello?",)),))
IMAGE = Image.new("RGB", (32, 32), "red")


def in_child(work: Callable[[], object]) -> str:
    """Return what `work` returns in a forked process, or the error that it raises there."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        try:
            sender.send(str(work()))
        except LlavaToolsError as error:
            sender.send(f"{type(error).__name__}: {error}")

    process = context.Process(target=run)
    process.start()
    sender.close()
    answer = receiver.recv() if receiver.poll(120) else HANGS
    process.join(60)
    if process.exitcode is None:
        process.kill()
        return HANGS
    return str(answer)


def busy_cache() -> dict[str, str]:
    """Fork while other threads hold all locks of a cache."""
    loading, resume = threading.Event(), threading.Event()

    class Model:
        def __init__(self) -> None:
            self.process = os.getpid()

        def close(self) -> None:
            pass

    def load(options: str) -> Model:
        if options == "slow" and threading.current_thread() is not threading.main_thread():
            loading.set()
            resume.wait(60)
        return Model()

    cache: ModelCache[str, Model] = ModelCache(load)
    thread = threading.Thread(target=cache.acquire, args=("slow", cache))
    thread.start()
    loading.wait(60)
    mine = cache.acquire("fast", cache)
    with cache._lock:
        answers = {
            name: in_child(lambda name=name: cache.acquire(name, cache).process != os.getppid())
            for name in ("slow", "fast")
        }
        answers["loaded"] = in_child(lambda: list(cache.loaded()))
    resume.set()
    thread.join()
    answers["parent"] = str(cache.acquire("fast", cache) is mine)
    return answers


def engine(checkpoint: str) -> dict[str, str]:
    """Use a model in children of the process that runs it."""
    model = Llava(checkpoint, dtype="float32")
    first = model.ask("Hello?", IMAGE, max_tokens=4).text
    backend, stream = model.backend, model.stream("Hello?", max_tokens=400)
    next(stream)
    answers = {
        "ask": in_child(lambda: model.ask("Hello?", max_tokens=4)),
        "ask with an image": in_child(lambda: model.ask("Hello?", IMAGE, max_tokens=4)),
        "aask": in_child(lambda: asyncio.run(model.aask("Hello?"))),
        "choose": in_child(lambda: model.choose("Hello?", (), ["yes", "no"])),
        "new object": in_child(lambda: Llava(checkpoint, dtype="float32").ask("Hello?")),
        "other options": in_child(lambda: Llava(checkpoint, dtype="bfloat16").ask("Hello?")),
        "embedder": in_child(lambda: Embedder().embed_texts(["a"])),
        "backend's stream": in_child(lambda: next(backend.stream(REQUEST))),
        "backend's score": in_child(lambda: backend.score(REQUEST, ["yes"])),
        "stream of the parent": in_child(lambda: next(stream)),
        "closed stream": in_child(stream.close),
        "closed": in_child(model.close),
    }
    stream.close()
    answers["parent"] = str(model.ask("Hello?", IMAGE, max_tokens=4).text == first)
    return answers


def preload(checkpoint: str) -> dict[str, str]:
    """Make a model, and load it only in children, as a server does that forks its workers."""
    model = Llava(checkpoint, dtype="float32")
    answers = {
        name: in_child(lambda: model.ask("Hello?", IMAGE, max_tokens=4).text) for name in "ab"
    }
    answers["parent"] = model.ask("Hello?", IMAGE, max_tokens=4).text
    return answers


def embeddings() -> dict[str, str]:
    """Use an embedder and an index in children of the process that uses them."""
    from llava_tools.retrieval import PageIndex

    with TemporaryDirectory() as name:
        path = Path(name) / "a.png"
        IMAGE.save(path)
        embedder = Embedder()
        index = PageIndex(Path(name) / "index", embedder)
        index.update([path])
        model = embedder._model()
        answers = {
            "texts": in_child(lambda: embedder.embed_texts(["a"])),
            "images": in_child(lambda: embedder.embed_images([IMAGE])),
            "no texts": in_child(lambda: embedder.embed_texts([])),
            "new object": in_child(lambda: Embedder().embed_texts(["a"])),
            "model's texts": in_child(lambda: model.embed_texts(["a"])),
            "model's images": in_child(lambda: model.embed_images([])),
            "search": in_child(lambda: index.search("a red page")),
            "search for text": in_child(lambda: index.search("red", mode="text")),
            "new index": in_child(lambda: PageIndex(Path(name) / "index", embedder).documents()),
            "closed": in_child(embedder.close),
        }
        answers["parent"] = str(len(index.search("a red page")))
    return answers


def remote() -> dict[str, str]:
    """Use a model behind a server in children of the process that uses it."""
    from langchain_llava import ChatLlava
    from tests.fake_server import FakeServer

    with FakeServer(["one two"]) as server:
        model, chat = Llava(base_url=server.url), ChatLlava(base_url=server.url)
        assert model.ask("Hello?").text == chat.invoke("Hello?").text == "one two"
        backend, stream = model.backend, model.stream("Hello?")
        next(stream)
        answers = {
            "ask": in_child(lambda: model.ask("Hello?", IMAGE).text),
            "aask": in_child(lambda: asyncio.run(model.aask("Hello?")).text),
            "choose": in_child(lambda: model.choose("Hello?", (), ["yes", "dark red"])),
            "new object": in_child(lambda: Llava(base_url=server.url).ask("Hello?").text),
            "ChatLlava": in_child(lambda: chat.invoke("Hello?").text),
            "grandchild": in_child(lambda: in_child(lambda: model.ask("Hello?").text)),
            "backend's stream": in_child(lambda: next(backend.stream(REQUEST))),
            "backend's score": in_child(lambda: backend.score(REQUEST, ["yes"])),
            "backend's token_ids": in_child(lambda: backend.token_ids("a")),
            "stream of the parent": in_child(lambda: next(stream)),
            "closed stream": in_child(stream.close),
            "closed backend": in_child(backend.close),
            "closed": in_child(model.close),
        }
        answers["rest of the stream"] = "".join(chunk.text for chunk in stream).strip()
        answers["parent"] = model.ask("Hello?").text
    return answers


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
