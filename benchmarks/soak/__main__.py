"""Runs the work, or draws the plot of a run again."""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import signal
import tempfile
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.server_load import Expected
from benchmarks.soak import (
    client_work,
    document_work,
    langchain_work,
    llama_index_work,
    model_work,
)
from benchmarks.soak.engine_counts import engine_counts
from benchmarks.soak.outcomes import Outcomes
from benchmarks.soak.plot import plot
from benchmarks.soak.samples import REST, SampleFile, Sampler, read_samples
from benchmarks.soak.scene import Scene, Work
from benchmarks.soak.servers import running
from benchmarks.soak.verdict import verdict
from llava_tools import Embedder, ImageStore, Llava
from llava_tools.retrieval import PageIndex

MODULES = (langchain_work, llama_index_work, model_work, document_work, client_work)
WORK: tuple[Work, ...] = tuple(work for module in MODULES for work in module.WORK)
#: Pieces of work that run at a time.
WORKERS = 3
#: Seconds after which a round hangs, and after which what it started must have ended.
ROUND_SECONDS = 900
IDLE_SECONDS = 60
#: Rounds after which the work rests.
REST_AFTER = 15
#: Bytes of the small image store.
STORE_BYTES = 1 << 20


def name_of(work: Work) -> str:
    """Return the name under which a piece of work is counted."""
    return f"{work.__module__.rpartition('.')[2].removesuffix('_work')} {work.__name__}"


def run_round(scene: Scene, rng: random.Random) -> None:
    """Do all work once, in a random order; what it raises is a finding.

    Raises:
        TimeoutError: It hangs.
    """
    works = rng.sample(WORK, len(WORK))
    with ThreadPoolExecutor(WORKERS) as pool:
        futures: dict[Future[None], Work] = {
            pool.submit(work, scene, random.Random(rng.random())): work for work in works
        }
        _, running_still = wait(futures, ROUND_SECONDS)
        if running_still:
            names = ", ".join(name_of(futures[future]) for future in running_still)
            scene.outcomes.finding(f"a round hangs: {names}")
            raise TimeoutError(names)
    for future, work in futures.items():
        error = future.exception()
        if error is None:
            scene.outcomes.done(name_of(work))
        else:
            trace = "".join(traceback.format_exception(error)[-6:])
            scene.outcomes.finding(f"{name_of(work)}: {error!r}\n{trace}"[:2000])


def wait_until_idle(scene: Scene) -> None:
    """Wait until no engine works; after `IDLE_SECONDS` the sample shows what is left."""
    start, end = time.time(), time.monotonic() + IDLE_SECONDS
    while time.monotonic() < end:
        others = [scene.serve.counts(), scene.mcp.counts()]
        if all(item["time"] > start for item in others):
            every = [engine_counts(scene.model), *others]
            if all(item["is_idle"] and not item["kv_blocks_used"] for item in every):
                return
        time.sleep(0.5)


def soak(minutes: float, out: Path, seed: int) -> Path:
    """Run rounds for some minutes; return the file of samples."""
    file = SampleFile(out / "samples.jsonl")
    file.write("start", minutes=minutes, seed=seed, **describe())

    def report(line: str) -> None:
        file.write("finding", text=line)

    rng, outcomes = random.Random(seed), Outcomes(report)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        serve_flags = ["--port", "{port}", "--log-format", "json", "--store-bytes", "1000000"]
        serve = stack.enter_context(running("serve", serve_flags, out))
        mcp = stack.enter_context(running("mcp", ["--http", "127.0.0.1:{port}"], out))
        document_work.write_documents(folder / "documents")
        model, embedder = Llava(), Embedder()
        store = ImageStore(STORE_BYTES)
        index = PageIndex(folder / "index")
        index.update([folder / "documents"])
        engine_counts(model)  # loads it
        scene = Scene(folder, outcomes, model, embedder, Expected(), store, index, serve, mcp)

        def counts() -> dict[str, Any]:
            more = {"store_images": len(store), "index_bytes": index.stats().bytes}
            return engine_counts(model) | outcomes.counts() | more

        sampler = stack.enter_context(Sampler(file, (serve, mcp), counts, outcomes.finding))
        end = time.monotonic() + 60 * minutes
        for number in itertools.count(1):
            run_round(scene, rng)
            wait_until_idle(scene)
            gc.collect()
            sampler.sample(idle=True)
            is_last = time.monotonic() > end
            if number % REST_AFTER == 0 or is_last:
                time.sleep(REST)
                sampler.sample(idle=True, rested=True)
            if is_last:
                break
        for server in (serve, mcp):
            for line in server.log_errors()[:5]:
                outcomes.finding(f"log of {server.name}: {line}")
    for server in (serve, mcp):
        if server.process.returncode not in (0, -signal.SIGTERM):  # after a clean shutdown
            outcomes.finding(f"{server.name} ended with {server.process.returncode}")
    file.write("end", **outcomes.counts())
    return file.path


def main() -> None:
    """Parse the flags, run, and print one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder of samples, plot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="SAMPLES", help="only draw these again")
    options = parser.parse_args()
    path: Path | None = options.plot
    if path is None:
        options.out.mkdir(parents=True, exist_ok=True)
        path = soak(options.minutes, options.out, options.seed)
    samples = read_samples(path)
    plot(samples, path.with_suffix(".png"))
    counts = samples[-1] if samples[-1]["kind"] == "end" else {}
    print(json.dumps({"benchmark": "soak", **describe(), **counts, **verdict(samples)}))


if __name__ == "__main__":
    main()
