"""A conversation in a database, continued by another process that has the image store's folder."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from llava_tools.images import open_image
from tests.strategies import encoded

ROOT = Path(__file__).parent.parent.parent

AGENT = """
import json, sys
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langchain_llava import ChatLlava, image_block, with_handles
from langchain_llava.middleware import ImageHandleMiddleware
from llava_tools.testing import ScriptedBackend

turn, folder, kind, store = sys.argv[1:5]
store = store or None
backend = ScriptedBackend(lambda request: "Green.")
model = ChatLlava(backend=backend, image_store=store)
middleware = [ImageHandleMiddleware(store)] if kind == "middleware" else []
config = {"configurable": {"thread_id": "1"}}
if turn == "1":
    block = image_block(f"{folder}/green.png", store)
    message = HumanMessage([block, "What is it?"])
else:
    message = HumanMessage("Sure?")
with SqliteSaver.from_conn_string(f"{folder}/checkpoints.db") as saver:
    agent = create_agent(model, middleware=middleware, checkpointer=saver)
    agent.invoke({"messages": [message]}, config)
request = backend.requests[0]
print(len(request.messages), *(image.handle for image in request.messages[0].images))
"""


def run_turn(turn: int, folder: Path, kind: str, store: str) -> list[str]:
    process = subprocess.run(
        [sys.executable, "-c", AGENT, str(turn), str(folder), kind, store],
        cwd=ROOT, timeout=120, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["middleware", "blocks"])
@pytest.mark.parametrize("way", ["option", "variable"])
def test_d3_checkpoint_of_another_process_goes_on(
    kind: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAVA_IMAGE_STORE", raising=False)
    store = str(tmp_path / "images")
    if way == "variable":
        monkeypatch.setenv("LLAVA_IMAGE_STORE", store)
    image = encoded(Image.effect_noise((300, 300), 90), "PNG")
    (tmp_path / "green.png").write_bytes(image)
    handle = open_image(image).handle
    option = store if way == "option" else ""
    assert run_turn(1, tmp_path, kind, option) == ["1", handle]
    (tmp_path / "green.png").unlink()
    assert run_turn(2, tmp_path, kind, option) == ["3", handle]
    assert run_turn(3, tmp_path, kind, option) == ["5", handle]
    assert (tmp_path / "images" / handle).read_bytes() == image
    with sqlite3.connect(tmp_path / "checkpoints.db") as database:
        rows = database.execute("SELECT checkpoint FROM checkpoints").fetchall()
    assert max(len(row[0]) for row in rows) < 10_000 < len(image)


@pytest.mark.slow
def test_without_a_folder_another_process_does_not_know_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAVA_IMAGE_STORE", raising=False)
    (tmp_path / "green.png").write_bytes(encoded(Image.new("RGB", (3, 3), "green"), "PNG"))
    run_turn(1, tmp_path, "blocks", "")
    with pytest.raises(AssertionError, match="There is no picture 'img_"):
        run_turn(2, tmp_path, "blocks", "")
