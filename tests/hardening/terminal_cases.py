"""Where foreign text comes from, and what prints or logs it."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

from PIL import Image
from starlette.testclient import TestClient

from langchain_llava import LlavaPageLoader
from llama_index.readers.llava import LlavaPageReader
from llava_tools import Llava, model_cache
from llava_tools.cli.main import main
from llava_tools.server.app import create_app
from llava_tools.server.logs import LogFormat, logs_on_stderr
from llava_tools.server.options import ServerOptions
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.remote.hostile_server import STOP, HostileServer, events, http, words
from tests.retrieval.hostile_pdfs import write_escape_sequences

#: Characters that no name of a file, no header and no path can have.
_NOT_IN_NAMES = str.maketrans("", "", "\x00/")


class Case:
    """Where foreign text comes from and what prints it.

    Args:
        run: Gets the text, in a new folder; what it prints and logs is checked.
        lines: Whether it may have line feeds, as an answer may.
    """

    def __init__(self, run: Callable[[str, Path], None], *, lines: bool = False) -> None:
        self.run = run
        self.lines = lines


def _main(*arguments: str, codes: tuple[int, ...] = (0, 1, 2, 3)) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as error:
        code = error.code
    assert code in codes, (code, arguments[0])


@contextmanager
def _model(*answers: str) -> Iterator[None]:
    """Have commands use a scripted model."""
    cache: model_cache.ModelCache[Any, Any] = model_cache.ModelCache(
        lambda options: ScriptedBackend(list(answers) or ["ok"])
    )
    embedders: model_cache.ModelCache[Any, Any] = model_cache.ModelCache(
        lambda options: ScriptedEmbedder()
    )
    with (
        mock.patch.object(model_cache, "engines", cache),
        mock.patch.object(model_cache, "embeddings", embedders),
    ):
        yield


def _answer(text: str, folder: Path, *flags: str) -> None:
    with _model(text):
        _main("ask", "What?", *flags, codes=(0,))


def _answer_as_json(text: str, folder: Path) -> None:
    shown = io.StringIO()
    with redirect_stdout(shown):
        _answer(text, folder, "--json")
    assert json.loads(shown.getvalue())["answer"] == text  # JSON's escapes keep it
    sys.stdout.write(shown.getvalue())


def _chat(text: str, folder: Path) -> None:
    with _model(text), mock.patch.object(sys, "stdin", io.StringIO("What?\n")):
        _main("chat", codes=(0,))


def _missing_image(text: str, folder: Path) -> None:
    with _model():
        _main("ask", f"{folder}/{text}.png", "What?", codes=(2,))


def _broken_image(text: str, folder: Path) -> None:
    (folder / f"{text.translate(_NOT_IN_NAMES)}.png").write_bytes(b"no image")
    with _model():
        _main("ask", f"{folder}/{text.translate(_NOT_IN_NAMES)}.png", "What?", codes=(2,))


def _animation(text: str, folder: Path) -> None:
    path = folder / f"{text.translate(_NOT_IN_NAMES)}.gif"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with _model():
        _main("ask", str(path), "What?", "--verbose", codes=(0,))


def _flags(text: str, folder: Path) -> None:
    _main("ask", f"--{text}", text, codes=(2,))
    _main("ask", "What?", "--base-url", f"http://127.0.0.1:9/{text}")
    _main(text, codes=(2,))
    _main("search", f"{folder}/{text}", text, codes=(2,))
    _main("eval", "--data", f"{folder}/{text}", "--tasks", text, codes=(2,))
    _main("info", "--model", f"{folder}/{text}", codes=(2,))


def _index(text: str, folder: Path) -> None:
    """Names of files and their text layers."""
    name = text.translate(_NOT_IN_NAMES)
    documents = folder / f"in{name}"
    documents.mkdir()
    write_escape_sequences(documents / f"a{name}.pdf")
    (documents / f"b{name}.pdf").write_bytes(b"<html>")
    where = str(folder / "index")
    with _model(text, "A pump is a pump."):
        _main("index", str(documents), "--to", where, "--yes", "--verbose", codes=(3,))
        for flags in ((), ("--json",), ("--export", str(folder / f"out{name}"))):
            _main("search", where, "pump", "--mode", "text", *flags, codes=(0, 3))
        _main("documents", "list", where, codes=(0,))
        _main("documents", "stats", where, codes=(0,))
        _main("search", where, text, "--mode", "text")
        (documents / f"a{name}.pdf").unlink()
        _main("ask", "--index", where, "What is a pump?", "--long", "--verbose")
        _main("documents", "remove", where, str(documents), codes=(0,))


def _framework_readers(text: str, folder: Path) -> None:
    name = text.translate(_NOT_IN_NAMES)
    (folder / f"b{name}.pdf").write_bytes(b"<html>")
    write_escape_sequences(folder / f"a{name}.pdf")
    assert LlavaPageLoader([str(folder)]).load()
    for path in sorted(folder.iterdir(), reverse=True):
        LlavaPageReader().load_data(path)


def _records(text: str, folder: Path) -> None:
    """Records of data sets, which name files and hold labels."""
    data = folder / "data.json"
    for record in (
        {"id": text, "image": text, "conversations": [{"from": text, "value": text}]},
        {"id": text, "image": f"{text}.png", "conversations": []},
        {"image": text, "question": text, "labels": [text, "b"], "answer": text},
        {"image": text, "shows": text, "answer": text},
        {text: text},
    ):
        data.write_text(json.dumps([record] * 20), encoding="utf-8")
        with _model():
            _main("train", "tune", "--model", "tiny", "--data", str(data),
                  "--out", str(folder / "o"), codes=(1, 2))  # fmt: skip
            _main("calibrate", "--data", str(data), "--out", str(folder / "c.json"), codes=(1, 2))


def _benchmarks(text: str, folder: Path) -> None:
    """Records of benchmarks, and answers to them."""
    data = folder / "mm-vet"
    (data / "images").mkdir(parents=True)
    truth = {"imagename": "a.png", "question": text, "answer": text, "imagesource": text}
    Image.new("RGB", (8, 8)).save(data / "images" / "a.png")
    reply = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    models = json.dumps({"data": [{"id": f"judge{text}"}]})
    with HostileServer(http(json.dumps(reply)), http(models)) as server, _model(text):
        for name, capability in ((text, ["ocr"]), ("v1_0", [text]), ("v1_0", ["ocr"])):
            entry = {name: {**truth, "capability": capability}}
            (data / "mm-vet.json").write_text(json.dumps(entry), encoding="utf-8")
            out = str(folder / f"out{len(list(folder.iterdir()))}")
            words_ = ("eval", "--data", str(folder), "--tasks", "mm_vet", "--out", out)
            _main(*words_, "--judge-url", server.url)
        truth["imagename"] = text
        entry = {"v1_0": {**truth, "capability": ["ocr"]}}
        (data / "mm-vet.json").write_text(json.dumps(entry), encoding="utf-8")
        _main("eval", "--data", str(folder), "--tasks", "mm_vet", "--out", str(folder / "last"))


def _checkpoint(text: str, folder: Path) -> None:
    """Strings of a checkpoint's files."""
    model = folder / "model"
    model.mkdir()
    for config in (
        {"model_type": text},
        {"model_type": "llava", "architectures": [text], "torch_dtype": text},
        {"model_type": "llava", "text_config": {"model_type": text}, "transformers_version": text},
        {"model_type": "llava", "quantization_config": {"quant_method": text}},
        {"model_type": "llava_llama", "mm_vision_tower": text, "mm_projector_type": text},
        {text: text},
    ):
        (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (model / "README.md").write_text(f"---\nlicense: {text}\n---\n{text}", encoding="utf-8")
        _main("info", "--model", str(model))
    (model / "config.json").unlink()
    adapter = {"base_model_name_or_path": text, "peft_type": text, "target_modules": [text]}
    (model / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    _main("info", "--model", str(model))


def _served_model(text: str, folder: Path) -> None:
    """What a model server says: its model's name, errors, headers, answers."""
    models = http(json.dumps({"data": [{"id": f"a{text}", "owned_by": "vllm"}]}))
    error = json.dumps({"error": {"message": text, "code": text}})
    header = (
        text.translate(dict.fromkeys((0, 10, 13))).encode("latin-1", "ignore").decode("latin-1")
    )
    for chat in (
        http(error, "500 Error"),
        http(error, "400 Bad"),
        http("", "307 T", location=f"http://h/{header}"),
        http(text, "503 X", content_type=header),
        events({"error": {"message": text}}),
        events({"choices": [{"delta": {}, "finish_reason": text}]}),
    ):
        with HostileServer(chat, models) as server:
            _main("ask", "What?", "--base-url", server.url, "--verbose", codes=(1, 2))
    with HostileServer(events(words("ok"), STOP), models) as server:
        _main("ask", "What?", "--base-url", server.url, "--json", "--verbose", codes=(0,))
        _main("ask", "What?", "--base-url", server.url, "--model", "b", codes=(2,))
        _main("bench", "--base-url", server.url, "--no-generate", "--rounds", "1", codes=(0,))
        formats: tuple[LogFormat, ...] = ("text", "json")
        for log_format in formats:
            with Llava(base_url=server.url) as model, logs_on_stderr(log_format):
                create_app(ServerOptions(), model).state.service.load()


def _requests(text: str, folder: Path, *, log_format: LogFormat) -> None:
    """What clients send to the server."""
    name = text.encode()
    with logs_on_stderr(log_format):
        model = Llava(backend=ScriptedBackend([text]))
        app = create_app(ServerOptions(), model)
        app.state.service.load()
        with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
            client.get(f"/v1/{quote(text)}")
            client.get(f"/{quote(text)}?{quote(text)}", headers={"x": name, "user-agent": name})
            body = {"model": text, "messages": [{"role": "user", "content": text}]}
            client.post("/v1/chat/completions", json=body)
            client.post("/v1/chat/completions", json={**body, "messages": [{"role": text}]})
            client.post("/v1/chat/completions", json={**body, text: text})
            client.post("/v1/completions", content=text.encode())
            client.post("/api/chat", json=body, headers={"authorization": "Bearer x"})
            client.post("/api/show", json={"model": text})


CASES: dict[str, Case] = {
    "an answer": Case(_answer, lines=True),
    "an answer as JSON": Case(_answer_as_json),
    "an answer in a chat": Case(_chat, lines=True),
    "the name of a missing image": Case(_missing_image),
    "the name of a broken image": Case(_broken_image),
    "the name of an animation": Case(_animation),
    "words of the command line": Case(_flags),
    "documents": Case(_index),
    "documents in frameworks": Case(_framework_readers),
    "records": Case(_records),
    "benchmarks": Case(_benchmarks),
    "checkpoints": Case(_checkpoint),
    "a model server": Case(_served_model),
    "requests, log in text": Case(partial(_requests, log_format="text")),
    "requests, log in JSON": Case(partial(_requests, log_format="json")),
}
