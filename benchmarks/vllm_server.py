"""The same requests to a real vLLM server and to the engine of this process, and real faults.

vLLM lives in an environment of its own, whose interpreter is named. The embedded model is written
out with weights named as vLLM wants them, served in float32, and asked the thirty requests of
server_requests.py through the remote backend; every answer is checked, and greedy ones are compared
with the engine's. Then labels are scored, wrappers are given the `base_url`, and things go wrong: a
name that is not served, more than the context holds, and a server killed while it answers.

    python -m benchmarks.vllm_server --python VENV/bin/python [--grammars guidance] [--port 8123]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from langchain_core.messages import HumanMessage
from llama_index.core.llms import ChatMessage
from pydantic import BaseModel
from safetensors.torch import load_file, save_file

from benchmarks.machine import describe
from benchmarks.server_requests import ask, cases, make_image
from langchain_llava import ChatLlava, image_block
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava, LlavaToolsError, Message
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.remote import RemoteBackend

SIDE, CONTEXT = 112, 2048  # the embedded model's
#: Seconds that a server has to load.
PATIENCE = 900
LABELS = ("red", "yellow", "blue")


def write_for_vllm(source: Path, folder: Path) -> Path:
    """Copy a checkpoint in float32, the vision tower's weights named as vLLM looks for them."""
    weights = {
        name.replace("vision_tower.", "vision_tower.vision_model."): tensor.float()
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for path in source.glob("*.json"):
        shutil.copy(path, folder)
    return folder


@contextmanager
def served(
    python: str,
    folder: Path,
    port: int,
    log: Path,
    *,
    grammars: str = "guidance",
    dtype: str = "float32",
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run vLLM on a checkpoint until the block is left.

    Args:
        python: Of the environment that has vLLM.
        folder: From `write_for_vllm`.
        port: On this machine.
        log: For what it says.
        grammars: Its backend for structured outputs.
        dtype: Of its weights and arithmetic.
        environment: Variables beside the usual ones.

    Raises:
        RuntimeError: It did not start; the log says why.
    """
    template = files("llava_tools") / "remote" / "vicuna_v1.jinja"
    structured = json.dumps({"backend": grammars, "disable_any_whitespace": True})
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", dtype, "--max-model-len", str(CONTEXT), "--enforce-eager"]
    command += ["--chat-template", str(template), "--chat-template-content-format", "openai"]
    command += ["--structured-outputs-config", structured, "--enable-prompt-tokens-details"]
    own = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    own |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", **(environment or {})}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": "", **own},
            start_new_session=True,  # so that its workers end with it
        )
    try:
        _wait(server, f"http://127.0.0.1:{port}/health", log)
        yield server
    finally:
        kill(server)


def version(port: int) -> str:
    """Return the version of the vLLM that listens there."""
    with urlopen(f"http://127.0.0.1:{port}/version") as answer:
        return str(json.load(answer)["version"])


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(1)
    raise RuntimeError(f"vLLM did not start; {log} ends with:\n{log.read_text()[-2000:]}")


def kill(server: subprocess.Popen[bytes]) -> None:
    """End a server and its workers, at once."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def compared(url: str) -> dict[str, Any]:
    """Send everything to both; return what was valid and what was equal."""
    here, there = Llava(), RemoteBackend(url, side=SIDE)
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for number, case in enumerate(cases()):
        name = f"{number} {case.kind}"
        expected, _ = ask(here.backend, case)
        try:
            answer, fault = ask(there, case)
        except LlavaToolsError as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
            continue
        tally["valid"] += not fault
        wrong += [f"{name}: {fault}: {answer.text!r}"] if fault else []
        tally["best effort"] += answer.best_effort
        if case.request.sampling.temperature == 0:
            same = _essence(answer) == _essence(expected)
            tally["greedy"] += 1
            tally["equal"] += same
            if not same:
                wrong.append(f"{name}: {_essence(answer)} is not {_essence(expected)}")
    request = Request((Message("user", (make_image("night"), "What colour is the star?")),))
    scores = [backend.score(request, LABELS) for backend in (here.backend, there)]
    apart = max(abs(one - other) for one, other in zip(*scores, strict=True))
    counted = [backend.count_tokens(request) for backend in (here.backend, there)]
    ids = [backend.token_ids("A red star, déjà vu.") for backend in (here.backend, there)]
    there.close()
    here.close()
    return {
        **tally,
        "wrong": wrong,
        "scores_apart": round(apart, 6),
        "same_count": counted[0] == counted[1],
        "same_ids": ids[0] == ids[1],
    }


def _essence(answer: Any) -> tuple[object, ...]:
    calls = [(call.name, dict(call.arguments)) for call in answer.calls]
    return answer.text, answer.token_ids, calls, answer.finish_reason


class Star(BaseModel):
    """What wrappers are asked for."""

    five_pointed: bool


def wrapped(url: str) -> dict[str, str]:
    """Ask through `base_url` as users do; return what came."""
    asked = "Is there a star?"
    chat = ChatLlava(base_url=url, max_tokens=16)
    message = HumanMessage([image_block(make_image("night")), {"type": "text", "text": asked}])
    index = LlamaIndexLlava(base_url=url, max_tokens=16)
    found = {
        "Llava": Llava(base_url=url).ask(asked, make_image("night"), max_tokens=16).text,
        "ChatLlava": str(chat.invoke([message]).text),
        "ChatLlava stream": "".join(str(chunk.text) for chunk in chat.stream([message])),
        "structured": str(chat.with_structured_output(Star).invoke([message])),
        "LlamaIndex": str(index.chat([ChatMessage(asked)]).message.content),
    }
    chat.close()
    return found


def faults(url: str, server: subprocess.Popen[bytes]) -> dict[str, str]:
    """Let things go wrong; return the errors. The server is gone afterwards."""
    there = RemoteBackend(url, side=SIDE, pauses=(0.1,))

    def told(attempt: Callable[[], object]) -> str:
        try:
            return f"no error: {attempt()}"
        except LlavaToolsError as error:
            return f"{type(error).__name__}: {error}"

    def whole(*parts: Any, **sampling: Any) -> str:
        request = Request((Message("user", parts),), SamplingParams(**sampling))
        return collect(there.stream(request), "").text

    found = {
        "wrong name": told(lambda: RemoteBackend(url, model="tini")),
        "wrong path": told(lambda: RemoteBackend(url.replace("/v1", "/v2"), pauses=())),
        "too long": told(lambda: whole("word " * CONTEXT)),
        "too many tokens": told(lambda: whole("Hello.", max_tokens=CONTEXT)),
        "too many pictures": told(lambda: whole(*[make_image("sea")] * 40, "What?")),
    }
    found["afterwards"] = whole("Hello.", max_tokens=4)
    request = Request((Message("user", ("Say something.",)),), SamplingParams(temperature=2.0))
    stream = there.stream(request)
    next(stream)
    kill(server)
    found["killed midway"] = told(lambda: collect(stream, ""))
    found["asked when dead"] = told(lambda: whole("Hello."))
    found["connected when dead"] = told(lambda: RemoteBackend(url, pauses=()))
    there.close()
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of the environment that has vLLM")
    parser.add_argument("--grammars", default="guidance", choices=["guidance", "xgrammar"])
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--log", type=Path, default=Path("vllm_server.log"))
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}/v1"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_for_vllm(Path(str(files("llava_tools") / "tiny")), folder)
        started = served(
            options.python, folder, options.port, options.log, grammars=options.grammars
        )
        server = stack.enter_context(started)
        told = {"benchmark": "vllm_server", "vllm": version(options.port)}
        found = {"compared": compared(url), "wrapped": wrapped(url), "faults": faults(url, server)}
    for part, entries in found.items():
        print(part)
        for name, value in entries.items():
            print(f"  {name:22}{value}")
    print(json.dumps({**told, "grammars": options.grammars, **describe(), **found}))


if __name__ == "__main__":
    main()
