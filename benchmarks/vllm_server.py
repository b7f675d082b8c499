"""The same requests to a real vLLM server and to the engine of this process, and error handling.

vLLM runs in a separate environment; `--python` names its interpreter. The embedded model is saved
with vLLM's names of weights and served in float32. The remote backend sends the thirty requests of
server_requests.py; every answer is checked, and greedy answers are compared with the engine's. Then
labels are scored, `Llava`, `ChatLlava` and LlamaIndex answer through `base_url`, and errors are
provoked: an unknown model, context overflow, and a server killed within an answer.

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
from benchmarks.server_requests import cases, make_image, run
from langchain_llava import ChatLlava, image_block
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava, LlavaToolsError, Message
from llava_tools.chat.formats import VICUNA_V1
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.remote import RemoteBackend
from llava_tools.remote.chat_template import write_chat_template

IMAGE_SIZE, CONTEXT = 112, 2048  # of the embedded model
#: Seconds within which a server has to load.
START_TIMEOUT = 900
LABELS = ("red", "yellow", "blue")


def write_for_vllm(source: Path, folder: Path) -> Path:
    """Copy a checkpoint in float32, with vLLM's names for the weights of the vision tower."""
    weights = {
        name.replace("vision_tower.", "vision_tower.vision_model."): tensor.float()
        for name, tensor in load_file(source / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for path in source.glob("*.json"):
        shutil.copy(path, folder)
    return folder


@contextmanager
def serve(
    python: str,
    folder: Path,
    port: int,
    log: Path,
    *,
    grammars: str = "guidance",
    dtype: str = "float32",
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run vLLM on a checkpoint within the context.

    Args:
        python: Interpreter of the environment with vLLM.
        folder: From `write_for_vllm`.
        port: Port on this machine.
        log: File for the server's output.
        grammars: The server's backend for structured outputs.
        dtype: Type of the server's weights and arithmetic.
        environment: Further environment variables.

    Raises:
        RuntimeError: The server did not start; the message has the end of the log.
    """
    template = folder / "vicuna_v1.jinja"
    template.write_text(write_chat_template(VICUNA_V1))
    structured = json.dumps({"backend": grammars, "disable_any_whitespace": True})
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", dtype, "--max-model-len", str(CONTEXT), "--enforce-eager"]
    command += ["--chat-template", str(template), "--chat-template-content-format", "openai"]
    command += ["--structured-outputs-config", structured, "--enable-prompt-tokens-details"]
    variables = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    variables |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", **(environment or {})}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": "", **variables},
            start_new_session=True,  # so that its workers end with it
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/health", log)
        yield server
    finally:
        kill(server)


def version(port: int) -> str:
    """Return the version of the vLLM on that port."""
    with urlopen(f"http://127.0.0.1:{port}/version") as answer:
        return str(json.load(answer)["version"])


def wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a server answers at `url`; `RuntimeError` with the end of its log if it ends."""
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(1)
    raise RuntimeError(f"The server did not start; {log} ends with:\n{log.read_text()[-2000:]}")


def kill(server: subprocess.Popen[bytes]) -> None:
    """Kill a server and its workers."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def compare(url: str) -> dict[str, Any]:
    """Send all cases to the server and the engine; count valid and equal answers."""
    local, remote = Llava(), RemoteBackend(url, image_size=IMAGE_SIZE)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for number, case in enumerate(cases()):
        name = f"{number} {case.kind}"
        expected, _ = run(local.backend, case)
        try:
            answer, problem = run(remote, case)
        except LlavaToolsError as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
            continue
        counts["valid"] += not problem
        failures += [f"{name}: {problem}: {answer.text!r}"] if problem else []
        counts["best effort"] += answer.best_effort
        if case.request.sampling.temperature == 0:
            equal = _comparable(answer) == _comparable(expected)
            counts["greedy"] += 1
            counts["equal"] += equal
            if not equal:
                failures.append(f"{name}: {_comparable(answer)} is not {_comparable(expected)}")
    request = Request((Message("user", (make_image("night"), "What colour is the star?")),))
    backends = (local.backend, remote)
    scores = [backend.score(request, LABELS) for backend in backends]
    difference = max(abs(first - second) for first, second in zip(*scores, strict=True))
    lengths = [backend.count_tokens(request) for backend in backends]
    ids = [backend.token_ids("A red star, déjà vu.") for backend in backends]
    remote.close()
    local.close()
    return {
        **counts,
        "wrong": failures,
        "scores_apart": round(difference, 6),
        "same_count": lengths[0] == lengths[1],
        "same_ids": ids[0] == ids[1],
    }


def _comparable(answer: Answer) -> tuple[object, ...]:
    calls = [(call.name, dict(call.arguments)) for call in answer.tool_calls]
    return answer.text, answer.token_ids, calls, answer.finish_reason


class Star(BaseModel):
    """Structured output of `ChatLlava`."""

    five_pointed: bool


def answer_through_wrappers(url: str) -> dict[str, str]:
    """Return the answers of `Llava`, `ChatLlava` and LlamaIndex with `base_url`."""
    question = "Is there a star?"
    chat = ChatLlava(base_url=url, max_tokens=16)
    message = HumanMessage([image_block(make_image("night")), {"type": "text", "text": question}])
    index = LlamaIndexLlava(base_url=url, max_tokens=16)
    answers = {
        "Llava": Llava(base_url=url).ask(question, make_image("night"), max_tokens=16).text,
        "ChatLlava": str(chat.invoke([message]).text),
        "ChatLlava stream": "".join(str(chunk.text) for chunk in chat.stream([message])),
        "structured": str(chat.with_structured_output(Star).invoke([message])),
        "LlamaIndex": str(index.chat([ChatMessage(question)]).message.content),
    }
    chat.close()
    return answers


def provoke_errors(url: str, server: subprocess.Popen[bytes]) -> dict[str, str]:
    """Return the errors of bad requests and of a killed server; the server does not survive."""
    remote = RemoteBackend(url, image_size=IMAGE_SIZE, retry_delays=(0.1,))

    def error_of(attempt: Callable[[], object]) -> str:
        try:
            return f"no error: {attempt()}"
        except LlavaToolsError as error:
            return f"{type(error).__name__}: {error}"

    def text_of(*parts: Any, **sampling: Any) -> str:
        request = Request((Message("user", parts),), SamplingParams(**sampling))
        return collect(remote.stream(request), "").text

    errors = {
        "wrong name": error_of(lambda: RemoteBackend(url, model="tini")),
        "wrong path": error_of(lambda: RemoteBackend(url.replace("/v1", "/v2"), retry_delays=())),
        "too long": error_of(lambda: text_of("word " * CONTEXT)),
        "too many tokens": error_of(lambda: text_of("Hello.", max_tokens=CONTEXT)),
        "too many images": error_of(lambda: text_of(*[make_image("sea")] * 40, "What?")),
    }
    errors["afterwards"] = text_of("Hello.", max_tokens=4)
    request = Request((Message("user", ("Say something.",)),), SamplingParams(temperature=2.0))
    stream = remote.stream(request)
    next(stream)
    kill(server)
    errors["killed midway"] = error_of(lambda: collect(stream, ""))
    errors["asked when dead"] = error_of(lambda: text_of("Hello."))
    errors["connected when dead"] = error_of(lambda: RemoteBackend(url, retry_delays=()))
    remote.close()
    return errors


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="interpreter of the environment with vLLM")
    parser.add_argument("--grammars", default="guidance", choices=["guidance", "xgrammar"])
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--log", type=Path, default=Path("vllm_server.log"))
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}/v1"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_for_vllm(Path(str(files("llava_tools") / "tiny")), folder)
        running = serve(
            options.python, folder, options.port, options.log, grammars=options.grammars
        )
        server = stack.enter_context(running)
        header = {"benchmark": "vllm_server", "vllm": version(options.port)}
        results = {
            "compared": compare(url),
            "wrapped": answer_through_wrappers(url),
            "faults": provoke_errors(url, server),
        }
    for part, entries in results.items():
        print(part)
        for name, value in entries.items():
            print(f"  {name:22}{value}")
    print(json.dumps({**header, "grammars": options.grammars, **describe(), **results}))


if __name__ == "__main__":
    main()
