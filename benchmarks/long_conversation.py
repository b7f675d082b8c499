"""Twenty turns about three images in a LangGraph with a checkpointer: sizes, tokens, first tokens.

The model has random weights and LLaVA 1.5's 576 tokens per image. Its geometry is `small`, that of
follow_up.py, or `wide`, whose layers are as wide as the 7B's, 2 of them instead of 32. Attention,
which grows with the conversation, is most of a late turn in the small one; in the wide one its
share is about that in the 7B.

Images come in turns 1, 7 and 13; turns 2 and 20 ask about images that are known. Each round is a
new conversation of new images. Seconds are the CPU's of this process until the first chunk of an
answer, the fewest of all rounds. Tokens recomputed are a turn's prompt without its new message and
without what the prefix cache held.

    python -m benchmarks.long_conversation [--rounds 5] [--threads 1] [--shape wide]
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from benchmarks.follow_up import SHAPE
from benchmarks.machine import describe
from langchain_llava import ChatLlava, image_block
from tests.checkpoints import Geometry, write_checkpoint

TURNS = 20
#: Turns, from 1, whose questions bring a new image.
IMAGE_TURNS = (1, 7, 13)
MAX_TOKENS = 16
#: Width and depth of the language models.
LANGUAGE = {"small": SHAPE.language, "wide": (4096, 2)}


@dataclass
class Conversation:
    """What one conversation took."""

    first_token_s: list[float] = field(default_factory=list)
    recomputed: list[int] = field(default_factory=list)
    new: list[int] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    state_bytes: int = 0
    written_bytes: int = 0


def make_image(seed: int) -> bytes:
    """Return a PNG of noise, some 100 kB."""
    file = io.BytesIO()
    Image.effect_noise((400, 300), 40 + seed).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _block(image: bytes, *, handles: bool) -> dict[str, Any]:
    if handles:
        return image_block(image)
    data = base64.b64encode(image).decode()
    return {"type": "image", "base64": data, "mime_type": "image/png"}


def converse(model: ChatLlava, images: list[bytes], *, handles: bool) -> Conversation:
    """Have a conversation, and measure its turns and its checkpoints."""
    saver = InMemorySaver()
    agent = create_agent(model, [], checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "1"}}
    result, known = Conversation(), 0
    for turn in range(1, TURNS + 1):
        blocks: list[Any] = [f"What else is in the picture, on its side number {turn}?"]
        if turn in IMAGE_TURNS:
            blocks = [_block(images[IMAGE_TURNS.index(turn)], handles=handles), *blocks]
        begin = time.process_time()
        usage: Any = None
        first = True
        inputs: Any = {"messages": [HumanMessage(blocks)]}
        for chunk, _ in agent.stream(inputs, config, stream_mode="messages"):
            if first:
                result.first_token_s.append(time.process_time() - begin)
                first = False
            if isinstance(chunk, AIMessageChunk) and chunk.usage_metadata:
                usage = chunk.usage_metadata
        prompt, cached = usage["input_tokens"], usage["input_token_details"].get("cache_read", 0)
        result.prompt.append(prompt)
        result.new.append(prompt - known)
        result.recomputed.append(max(known - cached, 0))
        known = prompt + usage["output_tokens"]
    checkpoint = saver.get(config)
    result.state_bytes = len(saver.serde.dumps_typed(checkpoint)[1])
    result.written_bytes = sum(len(value) for _, value in saver.blobs.values())
    return result


def measure(rounds: int, shape_name: str) -> dict[str, Any]:
    """Return sizes of checkpoints, tokens and CPU seconds."""
    shape = Geometry(SHAPE.vision, LANGUAGE[shape_name], image=336, context_length=4096)
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), shape=shape, dtype=torch.bfloat16)
        model = ChatLlava(model=folder, max_tokens=MAX_TOKENS, temperature=0)
        runs = [
            converse(model, [make_image(3 * number + n) for n in range(3)], handles=True)
            for number in range(rounds + 1)  # the first round warms up
        ]
        inline = converse(model, [make_image(3 * rounds + n) for n in range(3)], handles=False)
        model.close()
    seconds = [min(run.first_token_s[turn] for run in runs[1:]) for turn in range(TURNS)]
    handles = runs[-1]
    return {
        "state_bytes_handles": handles.state_bytes,
        "state_bytes_inline": inline.state_bytes,
        "written_bytes_handles": handles.written_bytes,
        "written_bytes_inline": inline.written_bytes,
        "prompt_tokens_turn_20": handles.prompt[-1],
        "new_tokens_per_turn": statistics.median(handles.new),
        "recomputed_tokens_per_turn": statistics.mean(handles.recomputed[1:]),
        "recomputed_tokens_most": max(handles.recomputed),
        "first_token_s_turn_1": round(seconds[0], 4),
        "first_token_s_turn_2": round(seconds[1], 4),
        "first_token_s_turn_20": round(seconds[-1], 4),
        "first_token_ratio": round(seconds[-1] / seconds[1], 3),
    }


def main() -> None:
    """Measure and print a table, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", choices=LANGUAGE, default="wide")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = measure(options.rounds, options.shape)
    for name, value in figures.items():
        print(f"{name:36}{value:>10}")
    print(json.dumps({"benchmark": "long_conversation", **vars(options), **describe(), **figures}))


if __name__ == "__main__":
    main()
