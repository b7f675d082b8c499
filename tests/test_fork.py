"""Models in processes forked from one that uses them: they work, or raise, and never hang."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork"
)

REFUSED = "EngineError: This process was forked from one that had loaded a model"
INDEX_REFUSED = "IndexStoreError: This process was forked from one that had used an index"
HINT = "multiprocessing's 'spawn'"
NOT_CONNECTED = "EngineError: This process was forked from the one that made the connection"


def run(scenario: str, *arguments: str) -> dict[str, str]:
    """Run a program of `fork_scenarios`; return what happened in its children."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fork_scenarios", scenario, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_children_load_anew_although_threads_of_the_parent_held_the_locks() -> None:
    assert run("busy_cache") == {"slow": "True", "fast": "True", "loaded": "[]", "parent": "True"}


@pytest.mark.slow
def test_children_of_a_process_that_runs_a_model_get_an_error_that_names_spawn(
    checkpoint: Path,
) -> None:
    answers = run("engine", str(checkpoint))
    assert answers.pop("parent") == "True"
    assert answers.pop("closed") == answers.pop("closed stream") == "None"
    for use, answer in answers.items():
        assert answer.startswith(REFUSED), use
        assert HINT in answer, use


@pytest.mark.slow
def test_a_model_that_was_not_loaded_before_the_fork_works_in_children(checkpoint: Path) -> None:
    answers = run("preload", str(checkpoint))
    assert len(answers) == 3
    assert len(set(answers.values())) == 1
    assert not answers["parent"].startswith("EngineError")


@pytest.mark.slow
def test_children_of_a_process_that_embeds_get_an_error() -> None:
    answers = run("embeddings")
    assert answers.pop("parent") == "1"
    assert answers.pop("no texts") == "[]"
    for use in ("search", "search for text", "new index"):
        assert answers.pop(use).startswith(INDEX_REFUSED), use
    assert answers.pop("closed") == "None"
    for use, answer in answers.items():
        assert answer.startswith(REFUSED), use


@pytest.mark.slow
def test_children_connect_to_servers_anew() -> None:
    answers = run("remote")
    for use in ("ask", "aask", "new object", "ChatLlava", "grandchild", "parent"):
        assert answers.pop(use) == "one two", use
    assert answers.pop("choose") == "yes"
    assert answers.pop("rest of the stream") == "two"
    for use in ("closed stream", "closed backend", "closed"):
        assert answers.pop(use) == "None", use
    for use, answer in answers.items():
        assert answer.startswith(NOT_CONNECTED), use
