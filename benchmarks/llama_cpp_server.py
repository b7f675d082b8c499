"""A real llama.cpp behind `base_url`: the answers of both, its refusals, and its end.

The embedded model as GGUF is needed, as docs/deployment.md describes it:

    python -m benchmarks.llama_cpp_server --server PATH --model tiny.gguf --mmproj mmproj.gguf
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.server_requests import cases, make_image
from benchmarks.vllm_server import answer_through_wrappers, kill, provoke_errors, wait_for
from llava_tools import Llava, LlavaToolsError, Message
from llava_tools.chat.formats import VICUNA_V1
from llava_tools.core.outputs import Answer, collect
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.remote import RemoteBackend
from llava_tools.remote.chat_template import write_chat_template

#: Width and height of the embedded model's images.
IMAGE_SIZE = 112


@contextmanager
def serve(options: argparse.Namespace, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run llama-server within the context, with two slots of 1,024 tokens."""
    template = folder / "vicuna_v1.jinja"
    template.write_text(write_chat_template(VICUNA_V1))
    command = [options.server, "-m", options.model, "--mmproj", options.mmproj, "--no-webui"]
    command += ["--host", "127.0.0.1", "--port", str(options.port), "-c", "2048", "-np", "2"]
    command += ["--jinja", "--chat-template-file", str(template), "--device", "none"]
    libraries = str(Path(options.server).parent)
    with options.log.open("wb") as out:
        server = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            start_new_session=True,
        )
    try:
        wait_for(server, f"http://127.0.0.1:{options.port}/health", options.log)
        yield server
    finally:
        kill(server)


def compare(url: str) -> dict[str, Any]:
    """Send all cases to the server and the engine; count valid and equal answers."""
    local, remote = Llava(dtype="float32"), RemoteBackend(url, image_size=IMAGE_SIZE)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for number, case in enumerate(cases()):
        name = f"{number} {case.kind}"
        expected = collect(local.backend.stream(case.request), "")
        try:
            answer = collect(remote.stream(case.request), "")
        except LlavaToolsError as error:
            failures.append(f"{name}: {type(error).__name__}: {error}")
            continue
        counts["valid"] += 1
        counts["best effort"] += answer.best_effort
        if case.request.sampling.temperature == 0:
            equal = _comparable(answer) == _comparable(expected)
            counts["greedy"] += 1
            counts["equal"] += equal
            if not equal:
                failures.append(f"{name}: {_comparable(answer)} is not {_comparable(expected)}")
    request = Request(
        (Message("user", (make_image("night"), "What colour is the star?")),),
        SamplingParams(logprobs=True, max_tokens=8),
    )
    backends = (local.backend, remote)
    logprobs = [
        [token.logprob for token in collect(backend.stream(request), "").logprobs]
        for backend in backends
    ]
    pairs = zip(*logprobs, strict=False)  # the server's are without the end of the answer
    difference = max(abs(first - second) for first, second in pairs)
    lengths = [backend.count_tokens(request) for backend in backends]
    ids = [backend.token_ids("A red star, déjà vu.") for backend in backends]
    remote.close()
    local.close()
    return {
        **counts,
        "wrong": failures,
        "logprobs_apart": round(difference, 6),
        "same_count": lengths[0] == lengths[1],
        "same_ids": ids[0] == ids[1],
    }


def _comparable(answer: Answer) -> tuple[object, ...]:
    calls = [(call.name, dict(call.arguments)) for call in answer.tool_calls]
    return answer.text, calls, answer.finish_reason


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="llama-server, beside its libraries")
    parser.add_argument("--model", required=True, help="the embedded language model as GGUF")
    parser.add_argument("--mmproj", required=True, help="its vision tower and projector as GGUF")
    parser.add_argument("--port", type=int, default=8124)
    parser.add_argument("--log", type=Path, default=Path("llama_cpp_server.log"))
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}/v1"
    with tempfile.TemporaryDirectory() as folder, serve(options, Path(folder)) as server:
        results = {
            "compared": compare(url),
            "wrapped": answer_through_wrappers(url),
            "faults": provoke_errors(url, server),
        }
    for part, entries in results.items():
        print(part)
        for name, value in entries.items():
            print(f"  {name:22}{value}")
    print(json.dumps({"benchmark": "llama_cpp_server", **describe(), **results}))


if __name__ == "__main__":
    main()
